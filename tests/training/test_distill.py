"""What teachers say of the training pictures, and what becomes of it in the targets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from kfer.bundle import Bundle
from tests.training.synthetic import CONFIG, PLAIN, TRAINED, build_faces
from training.distill import read_start, teach
from training.errors import ConfigError
from training.export import compute_logits
from training.loop import build_model, build_targets, train

CPU = torch.device("cpu")


def test_a_teacher_is_asked_about_the_picture_and_its_mirror_image(bundle: Bundle) -> None:
    faces = build_faces(2)
    flipped = replace(faces, pixels=faces.pixels[:, :, ::-1])
    logits = [compute_logits(bundle, face_set) for face_set in (faces, flipped)]
    fer7, ferplus8 = teach([bundle], faces)
    expected = np.mean([softmax(each[:, :7], axis=1) for each in logits], axis=0)
    assert np.allclose(fer7, expected, atol=1e-6)
    expected = np.mean([softmax(each[:, 7:], axis=1) for each in logits], axis=0)
    assert np.allclose(ferplus8, expected, atol=1e-6)
    for one, other in zip(teach([bundle], flipped), (fer7, ferplus8), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_teachers_count_alike(bundle: Bundle) -> None:
    faces = build_faces(1)
    one, twice = teach([bundle], faces), teach([bundle, bundle], faces)
    assert torch.allclose(one[0], twice[0])
    assert torch.allclose(one[1], twice[1])


def test_a_teacher_needs_both_heads(bundle: Bundle) -> None:
    only = replace(bundle, heads=bundle.heads[:1])
    with pytest.raises(ConfigError, match=r"has no head fer7; a teacher needs fer7 and ferplus8"):
        teach([only], build_faces(1))


def test_targets_take_the_teachers_share() -> None:
    faces = build_faces(1)
    config = replace(CONFIG, label_smoothing=0.0, distillation=0.25)
    teaching = torch.full((7, 7), 1 / 7), torch.full((7, 8), 1 / 8)
    hard, soft = build_targets(config, faces, teaching)
    for row, label in enumerate(faces.fer7):
        expected = np.full(7, 0.25 / 7)
        expected[label] += 0.75
        assert np.allclose(hard[row], expected)
    assert np.allclose(soft[1], 0.75 * faces.votes[1] + 0.25 / 8)
    # Every fifth picture has no votes: no teacher makes up for raters who saw no emotion.
    assert torch.equal(soft[0], torch.zeros(8))
    assert np.allclose(soft.sum(1), (faces.votes.sum(1) > 0).astype(float))


@pytest.mark.parametrize("distillation", [0.0, 0.5])
def test_teachers_and_their_share_come_together(distillation: float) -> None:
    teaching = None if distillation else (torch.zeros(7, 7), torch.zeros(7, 8))
    with pytest.raises(ConfigError, match="give both or neither"):
        build_targets(replace(CONFIG, distillation=distillation), build_faces(1), teaching)


def test_a_run_starts_from_the_bundles_weights(bundle: Bundle, tmp_path: Path) -> None:
    still = replace(TRAINED, epochs=1, warmup_epochs=0, learning_rate=1e-12, ema_decay=0.0)
    faces, validation = build_faces(8), build_faces(5, seed=1)
    start = read_start(bundle)
    best = train(still, faces, validation, tmp_path, CPU, lambda _: None, start=start)
    trained = torch.load(best, weights_only=True)["model"]
    for name, parameter in build_model(still).named_parameters():
        assert torch.allclose(trained[name], start[name], atol=1e-6), name
        assert parameter.dtype == start[name].dtype


def test_weights_of_another_network_are_no_start(bundle: Bundle, tmp_path: Path) -> None:
    wider = replace(PLAIN, model_args={**PLAIN.model_args, "channels": [16, 16, 32, 64]})
    with pytest.raises(ConfigError, match=r"--start: its weights do not fit architecture"):
        train(
            wider, build_faces(8), build_faces(5, seed=1), tmp_path / "run", CPU, print,
            start=read_start(bundle),
        )  # fmt: skip
