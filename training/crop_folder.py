"""A manifest of crops -> faces in memory, with what each head of a recipe learns of them."""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from kfer.faces import CropSpec
from training.config import LABEL, HeadSpec
from training.crop import SETTINGS
from training.errors import DataError
from training.face_set import FaceSet, Labels
from training.files import UNREADABLE
from training.manifest import TWIN, UNKNOWN, VOTE, list_vote_columns
from training.splits import PERSON
from training.votes import find_plurality, soften

READERS = 8  # files read at a time; Pillow decodes without holding the others up


@dataclass(frozen=True)
class CropFolder:
    """Where a manifest's paths lead, and how the crops there were cut."""

    images: Path
    spec: CropSpec | None

    @staticmethod
    def read(images: Path) -> "CropFolder":
        """``spec`` is None for pictures that `training crop` did not make. Raises DataError."""
        path = images / SETTINGS
        if not path.exists():
            return CropFolder(images, None)
        try:
            return CropFolder(images, CropSpec(**json.loads(path.read_text("utf-8"))["spec"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"--images {images}: {SETTINGS} cannot be read ({error}).") from None


def load_faces(
    table: pd.DataFrame,
    folder: CropFolder,
    part: str,
    heads: Sequence[HeadSpec],
    channels: int,
    source: str = "",
) -> FaceSet:
    """The pictures of one part, grey or in colour as ``channels`` says; ``source`` is the data set.

    Pictures of which no head learns anything are left out (``count_left_out``).
    Raises DataError: the part is empty, a picture cannot be read or has another size than the
    others, or the manifest has no labels or votes for a head.
    """
    if folder.spec and folder.spec.grey and channels != 1:
        raise DataError(f"--images {folder.images}: its crops are grey; set in_chans = 1.")
    rows = table[(table["part"] == part) & (table["label"] != UNKNOWN)]
    labels = {head.taxonomy.name: _read_labels(rows, head) for head in heads}
    useful = _find_useful(labels.values())
    if not useful.any():
        names = ", ".join(labels)
        raise DataError(
            f"--manifest: no picture of part {part} has a label in {names}; run "
            "`python -m training split`, or name another part or recipe."
        )
    rows = rows[useful]
    pixels = load_pictures([folder.images / path for path in rows["path"]], channels)
    grey = channels == 1
    size = pixels.shape[1]
    margin, align = _find_framing(rows, folder)
    return FaceSet(
        paths=list(rows["path"]),
        persons=list(rows[PERSON].fillna("")) if PERSON in rows else [""] * len(rows),
        pixels=pixels,
        labels={name: each.chosen(useful) for name, each in labels.items()},
        twin_of_held_out=_find_twins(rows),
        crop=CropSpec(margin, size, grey, align),
        source=source,
    )


def count_left_out(
    table: pd.DataFrame, parts: Collection[str], heads: Sequence[HeadSpec]
) -> dict[str, int]:
    """By label, the pictures of the parts that ``load_faces`` leaves out: no head learns of them.

    Raises DataError where the manifest has no votes for a head.
    """
    rows = table[table["part"].isin(parts) & (table["label"] != UNKNOWN)]
    useful = _find_useful([_read_labels(rows, head) for head in heads])
    return {str(label): int(n) for label, n in rows["label"][~useful].value_counts().items()}


def _find_useful(labels: Iterable[Labels]) -> NDArray[np.bool_]:
    known = [(each.truths >= 0) | (each.targets.sum(axis=1) > 0) for each in labels]
    useful: NDArray[np.bool_] = np.any(known, axis=0)
    return useful


def _find_framing(rows: pd.DataFrame, folder: CropFolder) -> tuple[float, bool]:
    """Margin and alignment, by which the app has to cut faces out like these."""
    if folder.spec:
        return folder.spec.margin, folder.spec.align
    if not {"margin", "align"} <= set(rows.columns):
        return 0.0, False
    ways = rows[["margin", "align"]].drop_duplicates()
    if len(ways) > 1:
        raise DataError(
            f"--manifest: its pictures are framed in {len(ways)} ways (columns margin and align); "
            "cut them alike by `training crop`."
        )
    margin, align = map(str, ways.iloc[0])
    number = float(pd.to_numeric(margin, errors="coerce"))
    if not (math.isfinite(number) and align in ("True", "False")):
        raise DataError(
            f"--manifest: its pictures have margin {margin!r:.40} and align {align!r:.40}; allowed "
            "are a number, and True or False. Fill both columns, or take them out."
        )
    return number, align == "True"


def _find_twins(rows: pd.DataFrame) -> NDArray[np.bool_]:
    if TWIN not in rows:
        return np.zeros(len(rows), dtype=bool)
    return rows[TWIN].to_numpy(dtype=bool)


def load_pictures(paths: Sequence[Path], channels: int) -> NDArray[np.uint8]:
    """(n, size, size) grey or (n, size, size, 3). Raises DataError naming the picture."""
    mode = "L" if channels == 1 else "RGB"
    first = _load_picture(paths[0], mode)
    if first.shape[0] != first.shape[1]:
        raise DataError(f"{paths[0]}: is no square; cut faces out by `training crop` first.")
    pixels = np.empty((len(paths), *first.shape), dtype=np.uint8)

    def read(row: int) -> None:
        picture = _load_picture(paths[row], mode)
        if picture.shape != first.shape:
            raise DataError(
                f"{paths[row]}: is {picture.shape[1]}x{picture.shape[0]} px, others are "
                f"{first.shape[1]}x{first.shape[0]}; cut them alike by `training crop`."
            )
        pixels[row] = picture

    with ThreadPoolExecutor(READERS) as threads:
        list(threads.map(read, range(len(paths))))
    return pixels


def _load_picture(path: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except UNREADABLE as error:
        raise DataError(
            f"{path}: cannot be read as a picture ({error}); replace it, or list it in --exclude."
        ) from None


def _read_labels(rows: pd.DataFrame, head: HeadSpec) -> Labels:
    taxonomy = head.taxonomy
    if head.source == LABEL:
        indices = {label: index for index, label in enumerate(taxonomy.labels)}
        truths = np.array([indices.get(label, -1) for label in rows["label"]], dtype=np.int64)
        targets = np.eye(len(taxonomy.labels), dtype=np.float32)[truths]
        targets[truths < 0] = 0
        return Labels(targets, truths)
    columns = [VOTE + label for label in taxonomy.labels]
    missing = [column for column in columns if column not in rows]
    if missing:
        raise DataError(
            f"--manifest: has no column {', '.join(missing)}; head {taxonomy.name}:votes needs it."
        )
    votes = rows[columns].to_numpy(dtype=np.int64)
    rest = [column for column in list_vote_columns(rows) if column not in columns]
    others = rows[rest].to_numpy(dtype=np.int64)
    # Where most annotators say something that the head has no class for, the few teach it nothing.
    return Labels(soften(votes, others), find_plurality(votes, others))
