"""Boxes found one way against boxes found another way, and against the faces that are there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_IOU = 0.5  # from here two boxes are the same face
MIN_TRUE_IOU = 0.3  # with the square where a face was drawn; detectors cut faces differently
MUST_PX, MUST_SHARE = 40, 0.02  # no face may be lost whose longer side is at least both

Boxes = NDArray[np.float64]  # (faces, 4): left, top, right, bottom in pixels of the photo


@dataclass(frozen=True)
class Comparison:
    """Two detectors on one photo; pairs are (plain, ours)."""

    found: tuple[int, int]
    false_alarms: tuple[int, int]
    lost: int  # large enough that it must not be
    lost_small: int
    gained: int


def compare(plain: Boxes, ours: Boxes, shown: Boxes, long_side: int) -> Comparison:
    """Faces that only one of the two found. A box where no face was drawn is a false alarm."""
    faces, own_faces = (keep_true(boxes, shown) for boxes in (plain, ours))
    pairs = match(faces, own_faces)
    lost = np.setdiff1d(np.arange(len(faces)), [pair[0] for pair in pairs])
    sides = (faces[lost, 2:] - faces[lost, :2]).max(axis=1, initial=0)
    must = int((sides >= max(MUST_PX, MUST_SHARE * long_side)).sum())
    return Comparison(
        found=(len(faces), len(own_faces)),
        false_alarms=(len(plain) - len(faces), len(ours) - len(own_faces)),
        lost=must,
        lost_small=len(lost) - must,
        gained=len(own_faces) - len(pairs),
    )


def keep_true(boxes: Boxes, shown: Boxes) -> Boxes:
    true: Boxes = boxes[compute_iou(boxes, shown).max(axis=1, initial=0) >= MIN_TRUE_IOU]
    return true


def match(plain: Boxes, ours: Boxes) -> Sequence[tuple[int, int]]:
    """Pairs of boxes that overlap by MIN_IOU, best first, each box once."""
    overlap = compute_iou(plain, ours)
    pairs = []
    while overlap.max(initial=0) >= MIN_IOU:
        row, column = divmod(int(overlap.argmax()), len(ours))
        pairs.append((row, column))
        overlap[row, :] = overlap[:, column] = 0
    return pairs


def compute_iou(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """(first, second) intersection over union."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    iou: NDArray[np.float64] = np.divide(shared, areas[0][:, None] + areas[1][None] - shared)
    return iou
