"""Where a network's knowledge comes from: recorded in its bundle, told on its card."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kfer.bundle import CONFIG, WEIGHTS, Bundle, hash_file

LEARNED = ("data", "excluded", "trained_on")  # see DataFlags.describe_training


def describe_origin(teachers: Sequence[Bundle], start: Bundle | None) -> dict[str, Any]:
    """The bundles that a run learns from and begins with."""
    return {
        "teachers": [describe_bundle(bundle) for bundle in teachers],
        "start": start and describe_bundle(start),
    }


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """With all generations before it."""
    training = read_training(bundle)
    return {
        "name": bundle.name,
        "weights_sha256": hash_file(bundle.folder / WEIGHTS),
        **{key: training.get(key) for key in LEARNED},
        "pretrained": find_pretrained(training),
        "ancestors": find_ancestors(training),
    }


def name_parents(origin: Mapping[str, Any] | None) -> tuple[list[str], str | None]:
    """The weights of teachers and start, whatever their folders are called now."""
    origin = origin or {}
    start = origin.get("start")
    teachers = [bundle["weights_sha256"] for bundle in origin.get("teachers", ())]
    return teachers, start and start["weights_sha256"]


def merge_learned(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a mean has learned, of what its parts say; without ``data`` where one does not."""
    trained_on = {part.get("trained_on") for part in parts}
    data = [part["data"] for part in parts if part.get("data")]
    return {
        **({"data": "; ".join(sorted({*data}))} if len(data) == len(parts) else {}),
        "excluded": all(part.get("excluded", True) for part in parts),
        "trained_on": trained_on.pop() if len(trained_on) == 1 else None,
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


def find_ancestors(training: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By their weights' sha256 the bundles of all generations that it began with or learned from:
    what each is called, and what it learned.
    """
    found: dict[str, dict[str, Any]] = {}
    for bundle in _list_bundles(training):
        found |= bundle.get("ancestors", {})
        found[bundle["weights_sha256"]] = {key: bundle.get(key) for key in ("name", *LEARNED)}
    for part in training.get("averaged") or ():
        found |= find_ancestors(part)
    return found


def count_unrecorded(training: Mapping[str, Any]) -> int:
    """Runs behind a bundle that had teachers of which nothing is recorded."""
    if parts := training.get("averaged"):
        return sum(count_unrecorded(part) for part in parts)
    taught = (training.get("settings") or {}).get("distillation", 0.0) > 0
    return int(taught and not training.get("origin"))


def _list_bundles(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that this generation names; a part of a mean may be one itself."""
    origin = training.get("origin") or {}
    named = [*origin.get("teachers", ()), origin.get("start"), training.get("bundle")]
    return [bundle for bundle in named if bundle]
