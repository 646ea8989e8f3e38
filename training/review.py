"""Suspicious crops on contact sheets, for somebody to look at and to leave out."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import log_softmax

from kfer.bundle import Bundle
from training.config import LABEL, HeadSpec
from training.crop_folder import CropFolder, load_faces
from training.errors import ConfigError, DataError
from training.export import compute_logits
from training.files import replace_text
from training.manifest import BOX, write_manifest
from training.templating import ENVIRONMENT

SHEETS, TABLE = "review.html", "suspicious.csv"
TINY = 40  # px: the longer side of a face that is smaller holds less than a crop
OFF_CENTRE = 0.5  # of the way from the photo's centre to its border
DOUBTFUL = 0.9  # of a detector's score
AT_ONCE = 4096  # crops in memory

REASONS = {
    "loss": "The model is surest that the label is wrong",
    "duplicate": "The same picture as another, or cut out of the same photo",
    "several": "More than one face in the photo",
    "tiny": f"Faces below {TINY} px",
    "off-centre": "Far from the photo's centre",
    "doubtful": f"The detector's score is below {DOUBTFUL}",
}


@dataclass(frozen=True)
class Suspicion:
    """``value`` is what the crops of one reason are ordered by, the worst first."""

    path: str
    label: str
    reason: str
    value: float


def find_suspicious(table: pd.DataFrame, losses: Mapping[str, float]) -> list[Suspicion]:
    """Of `training crop`'s manifest, with each picture's loss by path where a model has read it.

    What a manifest has no columns for is not looked for. Ordered by reason, the worst first.
    Raises DataError for a cell that is no number.
    """
    measures = {"score", "faces", "width", "height"} & set(table)
    table = table.assign(**{column: _read_numbers(table, column) for column in sorted(measures)})
    found: list[Suspicion] = []

    def note(reason: str, values: pd.Series, *, largest_first: bool = True) -> None:
        ordered = values.sort_values(ascending=not largest_first, kind="stable")
        rows = table.loc[ordered.index]
        for path, label, value in zip(rows["path"], rows["label"], ordered, strict=True):
            found.append(Suspicion(path, label, reason, float(value)))

    loss = table["path"].map(losses).dropna()
    note("loss", loss[loss > np.log(2)])  # the label has less than half of the probability
    copies = pd.Series(0, index=table.index)
    for column in {"pixels", "photo"} & set(table):
        known = table.loc[table[column].fillna("") != "", column]
        counts = known.groupby(known).cumcount().reindex(table.index, fill_value=0)
        copies = copies.where(copies >= counts, counts)
    note("duplicate", copies[copies > 0])
    if "faces" in table:
        note("several", table.loc[table["faces"] > 1, "faces"])
    if set(BOX) <= set(table):
        sides = table[BOX].to_numpy(dtype=np.float64)
        longer = pd.Series((sides[:, 2:] - sides[:, :2]).max(axis=1), index=table.index)
        note("tiny", longer[longer < TINY], largest_first=False)
        if {"width", "height"} <= set(table):
            away = pd.Series(_measure_distance(table), index=table.index)
            note("off-centre", away[away > OFF_CENTRE])
    if "score" in table:
        note("doubtful", table.loc[table["score"] < DOUBTFUL, "score"], largest_first=False)
    return found


def measure_losses(bundle: Bundle, table: pd.DataFrame, images: Path) -> dict[str, float]:
    """-log of the probability that the bundle's default head gives to each picture's label.

    Raises DataError for pictures that cannot be read.
    """
    head = bundle.heads[0]
    spec = HeadSpec(head.taxonomy, LABEL, head.start)
    channels = 1 if bundle.crop.grey else 3
    known = table[table["label"].isin(head.taxonomy.labels)].assign(part="all")
    if known.empty:
        raise DataError(f"--manifest: no picture has a label in {head.taxonomy.name}.")
    folder = CropFolder.read(images)
    losses: dict[str, float] = {}
    for start in range(0, len(known), AT_ONCE):
        chosen = known.iloc[start : start + AT_ONCE]
        faces = load_faces(chosen, folder, "all", (spec,), channels)
        logits = compute_logits(bundle, faces)[:, head.start : head.stop]
        shares = log_softmax(logits.astype(np.float64) / head.temperature, axis=1)
        truths = faces.labels[head.taxonomy.name].truths
        found = -shares[np.arange(len(truths)), truths]
        losses |= dict(zip(faces.paths, found.tolist(), strict=True))
    return losses


def write_review(found: list[Suspicion], images: Path, out: Path, most: int) -> None:
    """suspicious.csv with all, review.html with the ``most`` worst of each reason.

    The page shows the crops where they lie, and writes the list for ``--exclude`` of those that are
    ticked. Raises ConfigError when ``out`` is the image folder.
    """
    if out.resolve() == images.resolve():
        raise ConfigError(f"--out {out}: is the image folder; name another.")
    columns = ["file", "label", "reason", "value"]
    rows = [(each.path, each.label, each.reason, each.value) for each in found]
    write_manifest(pd.DataFrame(rows, columns=columns), out / TABLE)
    sheets = []
    for reason, title in REASONS.items():
        chosen = [each for each in found if each.reason == reason]
        if chosen:
            sheets.append({"title": title, "count": len(chosen), "crops": chosen[:most]})
    places = {each.path: _link(images, each.path, out) for each in found}
    page = ENVIRONMENT.get_template(SHEETS).render(sheets=sheets, places=places)
    replace_text(out / SHEETS, page)


def _read_numbers(table: pd.DataFrame, column: str) -> pd.Series:
    numbers = pd.to_numeric(table[column], errors="coerce")
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        row = table[wrong].iloc[0]
        raise DataError(
            f"--manifest: {column} of {row['path']} is {str(row[column])!r:.40}; allowed are "
            "numbers. Mend it, or take the column out."
        )
    return numbers


def _measure_distance(table: pd.DataFrame) -> NDArray[np.float64]:
    """From the photo's centre to the face's, as a share of the way to the border."""
    left, top, right, bottom = table[BOX].to_numpy(dtype=np.float64).T
    across = np.abs((left + right) / table["width"].to_numpy() - 1)
    down = np.abs((top + bottom) / table["height"].to_numpy() - 1)
    furthest: NDArray[np.float64] = np.maximum(across, down)
    return furthest


def _link(images: Path, path: str, out: Path) -> str:
    """Relative, so that the folders can be moved together."""
    place = os.path.relpath(images.resolve() / path, out.resolve())
    return quote(Path(place).as_posix())
