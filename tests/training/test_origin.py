"""What a bundle and its card say of the networks that it learned from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kfer.bundle import CONFIG, WEIGHTS, Bundle, hash_file, load_bundle
from tests.training.synthetic import PLAIN, build_faces
from tests.training.test_card import COMMAND, EVALUATED, TODAY
from training.average import average_runs
from training.card import build_card
from training.dataset import FER7, FERPLUS8
from training.distill import Teachers, read_start
from training.export import export_bundle
from training.loop import train
from training.origin import describe_origin, find_ancestors, find_pretrained, read_training

NAME = "resnet18.a1_in1k"
LEARNING = replace(PLAIN, epochs=1, warmup_epochs=0, distillation=0.5)


@pytest.fixture
def pretrained(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The small bundle, as if it had begun with timm's weights."""
    folder = tmp_path / "pretrained"
    shutil.copytree(bundle.folder, folder)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["kfer"]["training"]["settings"] |= {"architecture": NAME, "pretrained": True}
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
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
    average_runs([tmp_path / "student", tmp_path / "grandchild"], [1, 1], tmp_path / "mean")
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
    assert find_ancestors(read_training(mean)) == dict.fromkeys(
        ("pretrained", "small", "bundle"), "patterns in noise"
    )
    told = "or learned from them: `pretrained`, `small`.\nThey learned from patterns in noise."
    assert told in build_card(student, EVALUATED, TODAY, COMMAND)


def test_a_card_says_when_there_is_nothing_else_behind_it(bundle: Bundle) -> None:
    card = build_card(bundle, EVALUATED, TODAY, COMMAND)
    assert "It began with random weights and has seen no other pictures." in card
