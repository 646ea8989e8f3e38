"""Where a network's knowledge comes from: recorded in its bundle, told on its card."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kfer.bundle import CONFIG, WEIGHTS, Bundle, hash_file


def describe_origin(teachers: Sequence[Bundle], start: Bundle | None) -> dict[str, Any]:
    """The bundles that a run learns from and begins with."""
    return {
        "teachers": [_describe(bundle) for bundle in teachers],
        "start": start and _describe(start),
    }


def _describe(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "weights_sha256": hash_file(bundle.folder / WEIGHTS),
        "data": read_training(bundle).get("data"),
        "pretrained": find_pretrained(read_training(bundle)),
    }


def read_training(bundle: Bundle) -> dict[str, Any]:
    """What the bundle says of its training; nothing where it was made elsewhere."""
    config = json.loads((bundle.folder / CONFIG).read_text(encoding="utf-8"))
    return dict(config["kfer"].get("training") or {})


def find_pretrained(training: Mapping[str, Any]) -> list[str]:
    """timm's names of all pretrained weights behind a bundle: its own, its ancestors'."""
    settings = training.get("settings") or {}
    found = {settings["architecture"]} if settings.get("pretrained") else set()
    origin = training.get("origin") or {}
    for bundle in [*origin.get("teachers", ()), origin.get("start")]:
        if bundle:
            found.update(bundle["pretrained"])
    for part in training.get("averaged") or ():
        found.update(find_pretrained(part))
    return sorted(found)


def find_ancestors(training: Mapping[str, Any]) -> dict[str, str | None]:
    """The bundles that it began with or learned from, and what data each of them learned."""
    origin = training.get("origin") or {}
    bundles = [*origin.get("teachers", ()), origin.get("start")]
    found = {bundle["name"]: bundle.get("data") for bundle in bundles if bundle}
    for part in training.get("averaged") or ():
        found |= find_ancestors(part)
    return found
