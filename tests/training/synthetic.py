"""A FER2013 in small that can be learned: every class is a pattern, drawn in noise."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kfer.labels import get_taxonomy
from training.config import TrainConfig
from training.face_set import FaceSet, Labels
from training.sources.fer2013 import CROP, FOLDERS, VOTE_COLUMNS
from training.votes import FERPLUS_COLUMNS

FER7, FERPLUS8 = get_taxonomy("fer7"), get_taxonomy("ferplus8")
CLASSES = len(FER7.labels)
NETWORK = {
    "in_chans": 1,
    "num_classes": 15,
    "layers": [1, 1, 1, 1],
    "channels": [16, 16, 32, 32],
}
CONFIG = TrainConfig(
    architecture="resnet18",
    model_args=NETWORK,
    input_size=32,
    epochs=3,
    batch_size=16,
    warmup_epochs=1,
)
# Nothing that makes the task harder.
PLAIN = replace(
    CONFIG,
    weight_decay=0.0,
    label_smoothing=0.0,
    mixup=0.0,
    rotation=0.0,
    scale=0.0,
    translate=0.0,
    erasing=0.0,
    contrast=0.0,
    blur=0.0,
    noise=0.0,
)

# Good enough to be right more often than wrong.
TRAINED = replace(PLAIN, epochs=3, batch_size=8, learning_rate=0.01, ema_decay=0.8)


@dataclass(frozen=True)
class SyntheticData:
    """Paths of a folder in the Kaggle layout, its votes and its exclusions."""

    folder: Path
    votes: Path
    exclude: Path

    @property
    def flags(self) -> list[str]:
        names = {"--data": self.folder, "--votes": self.votes, "--exclude": self.exclude}
        return [str(part) for pair in names.items() for part in pair]


def draw_face(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(48, 48) grey: stripes across or down, coarse or fine, and three chessboards."""
    wave = {
        period: np.sign(np.sin(2 * np.pi * (np.arange(48) + 0.5) / period)) for period in (8, 24)
    }
    across, down = np.ones((1, 48)), np.ones((48, 1))
    pattern = [
        wave[24][:, None] * across,
        wave[8][:, None] * across,
        wave[24] * down,
        wave[8] * down,
        wave[24][:, None] * wave[24],
        wave[8][:, None] * wave[8],
        wave[24][:, None] * wave[8],
    ][label]
    face = 128 + rng.uniform(50, 80) * pattern + rng.normal(0, 15, (48, 48))
    return np.clip(face, 0, 255).astype(np.uint8)


def build_faces(per_class: int, seed: int = 0) -> FaceSet:
    """Faces in memory. Nine of ten raters agree with the label; every fifth has no votes."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(CLASSES), per_class)
    without = np.arange(len(labels)) % 5 == 0
    votes = np.zeros((len(labels), len(FERPLUS8.labels)), dtype=np.float32)
    votes[np.arange(len(labels)), labels] = 0.9
    votes[:, -1] = 0.1
    votes[without] = 0
    return FaceSet(
        paths=[f"{index}.jpg" for index in range(len(labels))],
        persons=[""] * len(labels),
        pixels=np.stack([draw_face(label, rng) for label in labels]),
        labels={
            FER7.name: Labels(np.eye(CLASSES, dtype=np.float32)[labels], labels),
            FERPLUS8.name: Labels(votes, np.where(without, -1, labels)),
        },
        twin_of_held_out=np.arange(len(labels)) % 11 == 3,
        crop=CROP,
        source="patterns in noise",
    )


def build_answered() -> tuple[FaceSet, NDArray[np.float32]]:
    """28 faces, each with a truth in both label sets, and logits that are right about all."""
    faces = relabel(build_faces(4), "ferplus8", truths=np.repeat(np.arange(CLASSES), 4))
    clean = np.eye(CLASSES, dtype=np.float32)[faces.labels["fer7"].truths]
    return faces, np.hstack([clean, clean, np.zeros((28, 1), dtype=np.float32)])


def relabel(faces: FaceSet, taxonomy: str, **changes: NDArray[Any]) -> FaceSet:
    """The faces with other ``truths`` or ``targets`` in one taxonomy."""
    return replace(
        faces, labels={**faces.labels, taxonomy: replace(faces.labels[taxonomy], **changes)}
    )


def write_fer2013(root: Path, per_class: dict[str, int]) -> SyntheticData:
    """The same on disk. ``per_class`` is the number of pictures by folder, train and test."""
    rng = np.random.default_rng(7)
    data = SyntheticData(root / "fer2013", root / "votes.csv", root / "exclude.csv")
    rows = []
    for part, prefix in (("train", "Training"), ("test", "PublicTest")):
        for label, name in enumerate(FOLDERS):
            (data.folder / part / name).mkdir(parents=True)
            for index in range(per_class[part]):
                path = f"{part}/{name}/{prefix}_{label}{index}.jpg"
                Image.fromarray(draw_face(label, rng)).save(data.folder / path, quality=95)
                rows.append({"file": path, **_vote(FOLDERS[name], without=index % 5 == 4)})
    _write_csv(data.votes, ["file", *VOTE_COLUMNS], rows)
    twin = {"file": "test/happy/PublicTest_30.jpg", "identical_to": "held-out split"}
    _write_csv(data.exclude, ["file", "identical_to"], [twin])
    return data


def _vote(label: str, *, without: bool) -> dict[str, int]:
    votes = dict.fromkeys(VOTE_COLUMNS, 0)
    column = next(column for column, korean in FERPLUS_COLUMNS.items() if korean == label)
    votes[column] = 2 if without else 7
    votes["unknown"] = 8 if without else 1
    votes["contempt"] = 0 if without else 2
    return votes


def _write_csv(path: Path, columns: list[str], rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
