"""Where a network's knowledge comes from: recorded in its bundle, told on its card."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kfer.bundle import CONFIG, WEIGHTS, Bundle, hash_file


def describe_origin(teachers: Sequence[Bundle], start: Bundle | None) -> dict[str, Any]:
    """The bundles that a run learns from and begins with."""
    return {
        "teachers": [describe_bundle(bundle) for bundle in teachers],
        "start": start and describe_bundle(start),
    }


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
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
    for bundle in _list_bundles(training):
        found.update(bundle["pretrained"])
    for part in training.get("averaged") or ():
        found.update(find_pretrained(part))
    return sorted(found)


def find_ancestors(training: Mapping[str, Any]) -> dict[str, str | None]:
    """The bundles that it began with or learned from, and what data each of them learned."""
    found = {bundle["name"]: bundle.get("data") for bundle in _list_bundles(training)}
    for part in training.get("averaged") or ():
        found |= find_ancestors(part)
    return found


def _list_bundles(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that this generation names; a part of a mean may be one itself."""
    origin = training.get("origin") or {}
    named = [*origin.get("teachers", ()), origin.get("start"), training.get("bundle")]
    return [bundle for bundle in named if bundle]
