"""Losses against other ways to compute them; weights by which rare classes count alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from tests.training.synthetic import CONFIG, build_faces
from training import loop
from training.face_set import FaceSet, iterate_batches
from training.losses import build_balance, compute_loss, weigh_classes, weigh_pictures

CPU = torch.device("cpu")


def make_labels(*counts: int) -> Tensor:
    """One-hot, so many of each class."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return torch.eye(len(counts))[labels]


def test_class_weights_are_scikit_learns_balanced_ones() -> None:
    target = make_labels(30, 5, 1)
    labels = target.argmax(dim=1).numpy()
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert weigh_classes(target).numpy() == pytest.approx(expected, rel=1e-6)


def test_soft_votes_count_by_their_shares_and_a_missing_class_weighs_nothing() -> None:
    target = torch.tensor([[0.75, 0.25, 0.0], [0.75, 0.25, 0.0], [0.0, 0.0, 0.0]])
    assert weigh_classes(target).tolist() == pytest.approx([2 / 3, 2.0, 0.0])


def test_every_class_comes_up_alike_and_unlabelled_pictures_as_usual() -> None:
    target = torch.cat([make_labels(60, 20, 10), torch.zeros(30, 3)])
    odds = weigh_pictures(target)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat(
        [torch.cat(list(iterate_batches(120, 10, generator, odds))) for _ in range(200)]
    )
    classes = torch.where(target.sum(dim=1) > 0, target.argmax(dim=1), 3)[drawn]
    shares = torch.bincount(classes, minlength=4) / len(classes)
    assert shares.tolist() == pytest.approx([0.25, 0.25, 0.25, 0.25], abs=0.015)


def test_weighted_cross_entropy_is_pytorchs() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(9, 4, generator=generator)
    target = torch.rand(9, 4, generator=generator).softmax(dim=1)
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0])
    ours = compute_loss(logits, target, weights, gamma=0)
    by_hand = -(weights * target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert float(ours) == pytest.approx(float(by_hand), rel=1e-6)
    # The focal loss of gamma 0 is the same.
    assert float(compute_loss(logits, target, weights, 1e-9)) == pytest.approx(
        float(ours), rel=1e-5
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_the_focal_loss_of_two_classes_is_torchvisions_binary_one(gamma: float) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(50, 2, generator=generator)
    truth = torch.randint(2, (50,), generator=generator)
    expected = sigmoid_focal_loss(
        logits[:, 1] - logits[:, 0], truth.float(), alpha=-1, gamma=gamma, reduction="mean"
    )
    ours = compute_loss(logits, torch.eye(2)[truth], None, gamma)
    assert float(ours) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_the_focal_loss_of_a_sure_answer_has_gradients(gamma: float) -> None:
    logits = torch.tensor([[30.0, 0.0, -3.0]], requires_grad=True)
    compute_loss(logits, torch.tensor([[1.0, 0.0, 0.0]]), None, gamma).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_smoothing_gives_absent_classes_no_weight() -> None:
    config = replace(
        CONFIG, heads=("fer7:label",), model_args={**CONFIG.model_args, "num_classes": 7},
        label_smoothing=0.1, class_weights=True, balanced_sampling=True,
    )  # fmt: skip
    faces = build_faces(10)
    kept = faces.chosen(faces.labels["fer7"].truths < 3)
    balance = build_balance(config, kept)
    (weights,) = balance.weights
    assert weights is not None
    assert weights.tolist() == pytest.approx([1, 1, 1, 0, 0, 0, 0])
    assert balance.odds is not None
    assert balance.odds.tolist() == pytest.approx([1] * 30)


def make_rare(faces: FaceSet) -> FaceSet:
    """The same faces, and all but two of the last class gone."""
    labels = faces.labels["fer7"].truths
    rare = labels == labels.max()
    keep = ~rare | (np.cumsum(rare) <= 2)
    return faces.chosen(keep)


@pytest.mark.parametrize(
    "changes", [{"class_weights": True}, {"balanced_sampling": True}, {"focal_gamma": 2.0}]
)
def test_a_recipes_balancing_reaches_the_steps(
    changes: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor | None, float]] = []

    def remember(logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
        seen.append((target, weights, gamma))
        return compute_loss(logits, target, weights, gamma)

    monkeypatch.setattr(loop, "compute_loss", remember)
    config = replace(
        CONFIG, heads=("fer7:label",), model_args={**CONFIG.model_args, "num_classes": 7},
        label_smoothing=0.0, mixup=0.0, epochs=12, **changes,
    )  # fmt: skip
    faces = make_rare(build_faces(10))
    loop.train(config, faces, build_faces(2, seed=1), tmp_path, CPU, lambda _: None)
    share = float(torch.cat([target for target, *_ in seen])[:, -1].mean())
    _, weights, gamma = seen[0]
    assert gamma == changes.get("focal_gamma", 0)
    if "balanced_sampling" in changes:
        assert share == pytest.approx(1 / 7, abs=0.05)
    else:
        assert share == pytest.approx(2 / len(faces), abs=0.02)
    if "class_weights" in changes:
        assert weights is not None
        assert float(weights[-1] / weights[0]) == pytest.approx(5)
    else:
        assert weights is None
