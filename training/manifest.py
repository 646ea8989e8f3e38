"""The table that the stages hand on: a row per picture, as CSV in UTF-8.

Columns, of which a stage adds its own and keeps the others:

- ``path``: the picture, relative to the image folder, with "/" between folders; unique
- ``url``: where it can be had
- ``label``: what most annotators say (canonical Korean name), or UNKNOWN
- ``vote_LABEL``: how many annotators say LABEL
- ``person``: who is on it; empty where nobody knows
- ``left``, ``top``, ``right``, ``bottom``: the face, in pixels of the upright photo; may be empty
- ``pixels``: sha256 of the decoded pixels
- ``part``: train, validation or test; empty for pictures that belong to none
- ``fold``: 0 to k - 1, for cross-validation
"""

import unicodedata
from pathlib import Path

import pandas as pd

from training.errors import DataError

UNKNOWN = "UNKNOWN"  # the label of pictures on which the annotators disagree; never trained on
VOTE = "vote_"
BOX = ["left", "top", "right", "bottom"]
TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")
_TEXT = ["path", "url", "label", "person", "pixels", "part"]


def normalize(text: str) -> str:
    """Korean in composed form: macOS writes file names decomposed, everyone else composed."""
    return unicodedata.normalize("NFC", text.strip())


def read_manifest(path: Path, *needed: str) -> pd.DataFrame:
    """Raises DataError when it cannot be read, lacks a needed column, or names a path twice."""
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys(_TEXT, "str"), keep_default_na=False, na_values={
                column: [""] for column in [*BOX, "fold"]
            },
        )  # fmt: skip
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"--manifest {path}: cannot be read as CSV ({error}).") from None
    missing = [column for column in ("path", "label", *needed) if column not in table]
    if missing:
        raise DataError(
            f"--manifest {path}: has no column {', '.join(missing)}; it has "
            f"{', '.join(map(str, table.columns))}."
        )
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise DataError(f"--manifest {path}: names {twice.iloc[0]} twice.")
    return table


def write_manifest(table: pd.DataFrame, path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    table.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
    temporary.replace(path)


def list_vote_columns(table: pd.DataFrame) -> list[str]:
    return [str(column) for column in table.columns if str(column).startswith(VOTE)]


def drop_excluded(table: pd.DataFrame, exclude: Path | None) -> pd.DataFrame:
    """Without the pictures that the first column of ``exclude`` names, a CSV with a header.

    A name may be a path of the manifest or the last part of one. Raises DataError for a file that
    cannot be read, or that names a picture that is not there.
    """
    if exclude is None:
        return table
    try:
        listed = pd.read_csv(exclude, usecols=[0], dtype="str").iloc[:, 0].dropna()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"--exclude {exclude}: cannot be read as CSV ({error}).") from None
    names = {normalize(name) for name in listed}
    last_parts = table["path"].str.rsplit("/", n=1).str[-1]
    unknown = names - set(table["path"]) - set(last_parts)
    if unknown:
        raise DataError(
            f"--exclude {exclude}: names {len(unknown)} pictures that are not in the manifest, "
            f"the first is {min(unknown)}."
        )
    return table[~(table["path"].isin(names) | last_parts.isin(names))].reset_index(drop=True)
