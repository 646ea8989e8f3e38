"""Manifest -> tensors in memory: pixels, hard fer7 targets, soft ferplus8 targets."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kfer.classifier import build_transform
from kfer.labels import get_taxonomy
from training.sources.fer2013 import load_pixels
from training.votes import FERPLUS_COLUMNS, NO_EMOTION_COLUMNS, find_plurality, soften

FER7 = get_taxonomy("fer7")
FERPLUS8 = get_taxonomy("ferplus8")


@dataclass(frozen=True)
class FaceSet:
    """Faces of one part of the manifest, all in memory.

    ``pixels`` (n, 48, 48) uint8; ``fer7`` (n,) class indices; ``votes`` (n, 8) shares of raters,
    zeros where unusable; ``plurality`` (n,) index of the raters' clear winner or -1.
    """

    paths: list[str]
    pixels: NDArray[np.uint8]
    fer7: NDArray[np.int64]
    votes: NDArray[np.float32]
    plurality: NDArray[np.int64]
    twin_of_held_out: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.paths)

    def chosen(self, mask: NDArray[np.bool_]) -> "FaceSet":
        return FaceSet(
            paths=[path for path, wanted in zip(self.paths, mask, strict=True) if wanted],
            pixels=self.pixels[mask],
            fer7=self.fer7[mask],
            votes=self.votes[mask],
            plurality=self.plurality[mask],
            twin_of_held_out=self.twin_of_held_out[mask],
        )

    def mirrored(self) -> "FaceSet":
        return replace(self, pixels=np.ascontiguousarray(self.pixels[:, :, ::-1]))


def build_face_set(data: Path, manifest: pd.DataFrame, part: str) -> FaceSet:
    rows = manifest[manifest["part"] == part]
    order = {label: column for column, label in FERPLUS_COLUMNS.items()}
    emotions = rows[[order[label] for label in FERPLUS8.labels]].to_numpy()
    others = rows[list(NO_EMOTION_COLUMNS)].to_numpy()
    return FaceSet(
        paths=list(rows["path"]),
        pixels=load_pixels(data, rows),
        fer7=rows["label"].map(FER7.labels.index).to_numpy(copy=True),
        votes=soften(emotions, others),
        plurality=find_plurality(emotions, others),
        twin_of_held_out=rows["twin_of_held_out"].to_numpy(),
    )


def iterate_batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Shuffled indices of full batches; what is left over comes up in another epoch's shuffle."""
    order = torch.randperm(n, generator=generator)
    for start in range(0, n - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def transform_faces(faces: FaceSet, pretrained_cfg: dict[str, object]) -> Tensor:
    """(n, 1, size, size) normalised floats, made by the transform that the app uses."""
    transform = build_transform(pretrained_cfg)
    return torch.stack([transform(Image.fromarray(face)) for face in faces.pixels])
