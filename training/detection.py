"""What becomes of faces that the app finds by itself: FER2013's pictures, and whole photos."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from kfer.bundle import Bundle
from kfer.classifier import Classifier
from kfer.errors import PhotoError
from kfer.faces import Detector, crop_face, crop_whole, detect_faces
from kfer.labels import Taxonomy
from kfer.metrics import Estimate, compute_confusion, estimate_accuracy
from kfer.photos import load_photo
from kfer.pipeline import analyze
from training.errors import DataError
from training.face_set import FaceSet
from training.manifest import check_paths

ENLARGED = 192  # px, four times FER2013's 48: detectors are made for faces in photos
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class PhotoFigures:
    """How whole photos were read, by the largest face of each or, where none was found, as one.

    ``found`` is the share of photos with a face, 0-1; ``confusion`` has a row per truth.
    """

    folder: str
    taxonomy: str
    found: float
    accuracy: Estimate
    confusion: list[list[int]]


@dataclass(frozen=True)
class PhotoReading:
    """The top label; ``found`` unless the whole photo had to be read as one face."""

    label: str
    found: bool


def frame_faces(
    bundle: Bundle, detector: Detector, faces: FaceSet
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits (faces, outputs) of the detector's own crops, and which faces it found.

    Rows of faces that it did not find are those of the whole picture, as the app reads it.
    """
    classifier = Classifier(bundle)
    logits, found = [], []
    for chunk in np.array_split(faces.pixels, max(len(faces) // 128, 1)):
        crops = []
        for pixels in chunk:
            picture = Image.fromarray(pixels)
            times = max(ENLARGED // picture.width, 1)
            size = (picture.width * times, picture.height * times)
            photo = picture.resize(size, Image.Resampling.BICUBIC).convert("RGB")
            seen = detect_faces(detector, photo)
            found.append(bool(seen))
            if seen:
                largest = max(seen, key=lambda face: face.area)
                crops.append(crop_face(photo, largest, bundle.crop))
            else:
                crops.append(crop_whole(picture, bundle.crop))
        logits.append(classifier.compute_logits(crops).numpy())
    return np.concatenate(logits), np.array(found)


def measure_photos(
    bundle: Bundle, detector: Detector | None, folder: Path, taxonomy: Taxonomy
) -> PhotoFigures:
    """Read the photos of ``folder``, whose manifest.csv says ``filename`` and ``label``.

    Raises DataError for a manifest that cannot be used, or a photo that cannot be read.
    """
    rows = _read_manifest(folder, taxonomy)
    readings = read_photos(bundle, detector, [folder / name for name, _ in rows], taxonomy)
    truth = [taxonomy.labels.index(label) for _, label in rows]
    answers = [taxonomy.labels.index(reading.label) for reading in readings]
    return PhotoFigures(
        folder=folder.name,
        taxonomy=taxonomy.name,
        found=float(np.mean([reading.found for reading in readings])),
        accuracy=estimate_accuracy(truth, answers),
        confusion=compute_confusion(truth, answers, len(taxonomy.labels)).tolist(),
    )


def read_photos(
    bundle: Bundle, detector: Detector | None, photos: Sequence[Path], taxonomy: Taxonomy
) -> list[PhotoReading]:
    """What the app says of each photo's largest face. Raises DataError for one that is damaged."""
    classifier = Classifier(bundle)
    readings = []
    for path in photos:
        try:
            photo = load_photo(path)
        except PhotoError as error:
            raise DataError(f"{path}: {error}") from error
        analysis = analyze(photo, classifier, detector, taxonomy)
        readings.append(PhotoReading(analysis.largest.prediction.label, not analysis.whole))
    return readings


def _read_manifest(folder: Path, taxonomy: Taxonomy) -> list[tuple[str, str]]:
    path = folder / MANIFEST
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"--photos {folder}: its {MANIFEST} cannot be read ({error}).") from None
    if not rows or not {"filename", "label"} <= set(rows[0]):
        raise DataError(
            f"--photos {folder}: its {MANIFEST} needs the columns filename and label, and a row."
        )
    for number, row in enumerate(rows, start=2):
        if row["label"] not in taxonomy.labels:
            raise DataError(
                f"--photos {folder}: line {number} of {MANIFEST} says {row['label']!r}; "
                f"{taxonomy.name} has {', '.join(taxonomy.labels)}."
            )
    names = [row["filename"] or "" for row in rows]
    check_paths(pd.Series(names, dtype="str"), f"--photos {folder}: its {MANIFEST}")
    return [(name, row["label"]) for name, row in zip(names, rows, strict=True)]
