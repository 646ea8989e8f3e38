"""A folder per class, with or without one per part above -> manifest."""

from pathlib import Path

import pandas as pd

from kfer.labels import TAXONOMIES, Taxonomy
from training.errors import DataError
from training.manifest import TEST, TRAIN, UNKNOWN, VALIDATION, extract_persons, normalize

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".heic", ".heif", ".avif", ".tif", ".tiff"}
# How data sets of this field name their parts.
PART_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
# What they call classes, beside our Korean and English names.
_ALIASES = {
    "기쁨": ("happy", "happiness", "joy"),
    "당황": ("embarrassed", "embarrassment", "emb", "fluster", "panic"),
    "분노": ("angry", "anger"),
    "불안": ("anxious", "anxiety", "unrest"),
    "상처": ("hurt", "pain", "wound"),
    "슬픔": ("sad", "sadness"),
    "중립": ("neutral", "normal"),
    "놀람": ("surprise", "surprised", "suprise"),
    "공포": ("fear", "fearful"),
    "혐오": ("disgust", "disgusted"),
    "경멸": ("contempt",),
}
_LABELS = {name: label for label, names in _ALIASES.items() for name in (label, *names)}


def read_folders(root: Path, taxonomy: Taxonomy, person: str | None = None) -> pd.DataFrame:
    """Every picture below ``root``, its label the nearest folder above that names a class.

    A folder UNKNOWN is kept apart. ``person`` is a regular expression whose first group is the
    person in a file name. Raises DataError for a folder of pictures that names no class of the
    taxonomy, and where there is no picture at all.
    """
    rows = []
    for file in sorted(root.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        place = file.relative_to(root)
        rows.append(
            {
                "path": place.as_posix(),
                "label": _find_class(place, root, taxonomy),
                "part": _find_part(place),
            }
        )
    if not rows:
        raise DataError(f"--input {root}: holds no picture ({', '.join(sorted(SUFFIXES))}).")
    table = pd.DataFrame(rows)
    missing = [label for label in taxonomy.labels if label not in set(table["label"])]
    if missing:
        raise DataError(
            f"--input {root}: has no picture of {', '.join(missing)}; {taxonomy.name} needs all of "
            f"{', '.join(taxonomy.labels)}. Taxonomies: {', '.join(TAXONOMIES)}."
        )
    table["person"] = extract_persons(table["path"], person) if person else ""
    return table


def _find_class(place: Path, root: Path, taxonomy: Taxonomy) -> str:
    for folder in reversed(place.parent.parts):
        if folder.upper() == UNKNOWN:
            return UNKNOWN
        label = _LABELS.get(normalize(folder).lower())
        if label in taxonomy.labels:
            return label
    raise DataError(
        f"--input {root}: {place} lies below no folder that names a class of {taxonomy.name}: "
        f"{', '.join(taxonomy.labels)}."
    )


def _find_part(place: Path) -> str:
    parts = [PART_NAMES[name.lower()] for name in place.parent.parts if name.lower() in PART_NAMES]
    return parts[0] if parts else ""
