"""What a head is to say of a picture, and what it costs to say something else."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.config import LABEL, TrainConfig
from training.face_set import FaceSet


def build_targets(config: TrainConfig, faces: FaceSet) -> list[Tensor]:
    """Distributions to learn, (n, classes) for each head; labels are smoothed, votes are not.

    Rows of zeros are pictures of which the head learns nothing: raters saw no emotion, say.
    """
    targets = []
    for spec in config.head_specs:
        target = torch.from_numpy(faces.labels[spec.taxonomy.name].targets)
        if spec.source == LABEL:
            known = target.sum(dim=1, keepdim=True)
            smoothing = config.label_smoothing
            target = target * (1 - smoothing) + known * smoothing / target.shape[1]
        targets.append(target)
    return targets


def blend(targets: Sequence[Tensor], taught: Sequence[Tensor], share: float) -> list[Tensor]:
    """Targets of which ``share`` is what teachers say; they do not fill missing ones."""
    # A row sums to less than 1 where a picture without a target is mixed in.
    return [
        target.lerp(answer * target.sum(dim=1, keepdim=True), share)
        for target, answer in zip(targets, taught, strict=True)
    ]


@dataclass(frozen=True)
class Balance:
    """What rare classes count: ``weights`` of the classes by head, ``odds`` of the pictures."""

    weights: list[Tensor | None]
    odds: Tensor | None


def build_balance(config: TrainConfig, faces: FaceSet) -> Balance:
    """By the labels and votes themselves: smoothed ones would give absent classes a share."""
    names = [spec.taxonomy.name for spec in config.head_specs]
    plain = [torch.from_numpy(faces.labels[name].targets) for name in names]
    return Balance(
        [weigh_classes(target) if config.class_weights else None for target in plain],
        weigh_pictures(plain[-1]) if config.balanced_sampling else None,
    )


def weigh_classes(target: Tensor) -> Tensor:
    """(n, classes) -> weights that let every class count alike, and a picture 1 on average.

    A class without pictures weighs nothing.
    """
    counts = target.sum(dim=0)
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts)
    return torch.where(present, weights, 0.0)


def weigh_pictures(target: Tensor) -> Tensor:
    """(n,) odds to be drawn, by which every class comes up alike.

    Pictures without a target come up as often as one does on average.
    """
    known = target.sum(dim=1) > 0
    weights = weigh_classes(target)[target.argmax(dim=1)]
    return torch.where(known, weights, weights[known].mean())


def compute_loss(logits: Tensor, target: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """Mean cross-entropy of distributions, each class's share multiplied by its weight.

    ``gamma`` above 0 is the focal loss (Lin et al. 2017, equation 4): what is answered well already
    counts for less.
    """
    if not gamma:
        return F.cross_entropy(logits, target, weight=weights)
    logs = logits.log_softmax(dim=1)
    # At 1 the power of a small gamma has no derivative.
    costs = -target * (1 - logs.exp()).clamp_min(1e-6) ** gamma * logs
    return (costs if weights is None else costs * weights).sum(dim=1).mean()
