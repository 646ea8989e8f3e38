"""What a bundle and its card say of the networks that it learned from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kfer.bundle import CONFIG, WEIGHTS, Bundle, hash_file, load_bundle
from tests.training.synthetic import FER7, FERPLUS8, PLAIN, build_faces
from tests.training.test_card import COMMAND, EVALUATED, TODAY
from training.average import mix_runs
from training.card import build_card
from training.distill import Teachers, read_start
from training.export import export_bundle
from training.loop import train
from training.origin import describe_origin, find_ancestors, find_pretrained, read_training

NAME = "resnet18.a1_in1k"
LEARNING = replace(PLAIN, epochs=1, warmup_epochs=0, distillation=0.5)


@pytest.fixture
def pretrained(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The small bundle, as if it had begun with timm's weights."""
    settings = read_training(bundle)["settings"] | {"architecture": NAME, "pretrained": True}
    return note(bundle, tmp_path / "pretrained", settings=settings)


def note(bundle: Bundle, folder: Path, **training: object) -> Bundle:
    """A copy of other weights, with other notes of its training."""
    shutil.copytree(bundle.folder, folder)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["kfer"]["training"] |= training
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    weights = load_file(folder / WEIGHTS)
    weights["fc.bias"] += len(str(folder))
    save_file(weights, folder / WEIGHTS)
    return load_bundle(folder)


def learn(teacher: Bundle, start: Bundle, out: Path) -> Bundle:
    faces, validation = build_faces(8), build_faces(5, seed=1)
    best = train(
        LEARNING, faces, validation, out, torch.device("cpu"), lambda _: None,
        teachers=Teachers([teacher], (FER7, FERPLUS8), torch.device("cpu")),
        start=read_start(start, LEARNING.head_specs),
        origin=describe_origin([teacher], start),
    )  # fmt: skip
    return export_bundle(LEARNING, best, validation, out / "bundle")


def test_pretrained_weights_are_told_of_over_generations(
    bundle: Bundle, pretrained: Bundle, tmp_path: Path
) -> None:
    student = learn(pretrained, bundle, tmp_path / "student")
    origin = read_training(student)["origin"]
    assert [teacher["name"] for teacher in origin["teachers"]] == ["pretrained"]
    assert origin["start"]["weights_sha256"] == hash_file(bundle.folder / WEIGHTS)
    assert (origin["start"]["pretrained"], find_pretrained(read_training(bundle))) == ([], [])
    grandchild = learn(bundle, student, tmp_path / "grandchild")
    mean = tmp_path / "mean"
    mix_runs([tmp_path / "student", tmp_path / "grandchild"], [1, 1], mean).save(mean)
    mean = export_bundle(
        LEARNING,
        tmp_path / "mean" / "best.pt",
        build_faces(5, seed=1),
        tmp_path / "mean" / "bundle",
    )
    for each in (pretrained, student, grandchild, mean):
        assert find_pretrained(read_training(each)) == [NAME], each.name
        card = build_card(each, EVALUATED, TODAY, COMMAND)
        assert f"began with timm's pretrained weights\n`{NAME}`" in card.replace(
            "weights `", "weights\n`"
        )
    found = find_ancestors(read_training(mean))
    assert [found[hash_file(each.folder / WEIGHTS)] for each in (pretrained, bundle, student)] == [
        {"name": name, "data": "patterns in noise", "excluded": None, "trained_on": None}
        for name in ("pretrained", "small", "student")
    ]
    assert len(found) == 3
    told = "or learned from them: {}.\nThey learned from patterns in noise."
    names = f"`{pretrained.identity}`, `{bundle.identity}`"
    assert told.format(names) in build_card(student, EVALUATED, TODAY, COMMAND)


def test_teachers_of_whom_nothing_is_recorded_are_told_of(bundle: Bundle, tmp_path: Path) -> None:
    taught, untaught = {"distillation": 0.5}, {"distillation": 0.0}
    known = {"settings": taught, "origin": describe_origin([bundle], None)}
    lost, alone = {"settings": taught, "origin": None}, {"settings": untaught, "origin": None}

    def describe(*parts: dict[str, object]) -> str:
        # A mean has the settings of its first run beside its parts.
        mean = note(bundle, tmp_path / str(len(parts)), settings=taught, averaged=[*parts])
        return " ".join(build_card(mean, EVALUATED, TODAY, COMMAND).split())

    told = "behind it had teachers that were not recorded."
    assert f"1 run {told}" in describe(known, lost, alone)
    assert f"2 of the runs {told}" in describe(known, {"averaged": [lost, lost]})
    assert told not in describe(known)


def test_all_generations_are_named_though_they_are_called_alike(
    bundle: Bundle, tmp_path: Path
) -> None:
    first = note(bundle, tmp_path / "1" / "model", data="faces one", trained_on="1")
    second = note(
        bundle, tmp_path / "second" / "model", data="faces two", trained_on="2",
        origin=describe_origin([first], None),
    )  # fmt: skip
    third = note(
        bundle, tmp_path / "the third" / "model", data="faces three",
        averaged=[{"origin": describe_origin([], second)}],
    )  # fmt: skip
    found = find_ancestors(read_training(third))
    assert {key[:12]: each["data"] for key, each in found.items()} == {
        first.revision: "faces one",
        second.revision: "faces two",
    }
    assert [each["trained_on"] for each in found.values()] == ["1", "2"]
    card = build_card(third, EVALUATED, TODAY, COMMAND)
    assert (
        f"`{first.identity}`, `{second.identity}`.\nThey learned from faces one; faces two." in card
    )


def test_a_card_says_when_there_is_nothing_else_behind_it(bundle: Bundle) -> None:
    card = build_card(bundle, EVALUATED, TODAY, COMMAND)
    assert "It began with random weights and has seen no other pictures." in card
