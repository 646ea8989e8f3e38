"""The table that the stages hand on: a row per picture, as CSV in UTF-8.

Columns, of which a stage adds its own and keeps the others:

- ``path``: the picture, relative to the image folder, with "/" between folders; unique
- ``url``: where it can be had
- ``label``: what most annotators say (canonical Korean name of any taxonomy), or UNKNOWN
- ``vote_LABEL``: how many annotators say LABEL
- ``person``: who is on it; empty where nobody knows
- ``left``, ``top``, ``right``, ``bottom``: the face, in pixels of the upright photo; may be empty
- ``pixels``: sha256 of the decoded pixels
- ``photo``: of a crop, the same where the upright photos are the same, whatever was cut of them
- ``margin``, ``align``: how a picture that is a crop already frames its face (kfer's CropSpec)
- ``twin_of_held_out``: whether its copy stands in a data set's secret part
- ``part``: train, validation or test; empty for pictures that belong to none
- ``fold``: 0 to k - 1, for cross-validation
"""

import logging
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from kfer.files import replacing
from kfer.labels import TAXONOMIES
from training.errors import ConfigError, DataError
from training.files import read_csv

_log = logging.getLogger(__name__)

Cell = str | int | float | bool

UNKNOWN = "UNKNOWN"  # the label of pictures on which the annotators disagree; never trained on
VOTE = "vote_"
TWIN = "twin_of_held_out"
LABELS = tuple(dict.fromkeys(label for each in TAXONOMIES.values() for label in each.labels))
BOX = ["left", "top", "right", "bottom"]
TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")
_TEXT = ["path", "url", "label", "person", "pixels", "photo", "part"]


def normalize(text: str) -> str:
    """Korean in composed form: macOS writes file names decomposed, everyone else composed."""
    return unicodedata.normalize("NFC", text.strip())


def read_manifest(path: Path, *needed: str) -> pd.DataFrame:
    """Raises DataError when it cannot be read, lacks a needed column, has no rows, names a path
    twice, or holds a cell that makes no sense.
    """
    table = read_csv(
        path,
        "--manifest",
        dtype=dict.fromkeys(_TEXT, "str"),
        keep_default_na=False,
        na_values={column: [""] for column in [*BOX, "fold"]},
    )
    missing = [column for column in ("path", "label", *needed) if column not in table]
    if missing:
        raise DataError(
            f"--manifest {path}: has no column {', '.join(missing)}; it has "
            f"{', '.join(map(str, table.columns))}."
        )
    if table.empty:
        raise DataError(f"--manifest {path}: has no rows; it needs one for each picture.")
    check_paths(table["path"], f"--manifest {path}")
    allowed = ", ".join((*LABELS, UNKNOWN))
    table["label"] = _read_column(table, "label", path, _read_label, allowed).astype("str")
    for column in BOX:
        if column in table and not is_numeric_dtype(table[column]):  # else pandas has read it
            table[column] = _read_column(table, column, path, float, "numbers and nothing")
    for column in list_vote_columns(table):
        table[column] = _read_column(table, column, path, _read_count, "whole numbers from 0 on")
    if "part" in needed:  # else it may be of another way to divide it, and is not asked
        parts = f"{', '.join(PARTS)} and nothing"
        table["part"] = _read_column(table, "part", path, _read_part, parts)
    if TWIN in table:
        table[TWIN] = _read_column(table, TWIN, path, _read_truth, "True, False and nothing")
    return table


def check_paths(paths: pd.Series, source: str) -> None:
    """Raises DataError, which names the source, for what cannot be one file each of its folder."""
    outside = paths[paths.str.contains(r"^/|(?:^|/)\.\.(?:/|$)|\\\\", regex=True)]
    if len(outside):
        raise DataError(f"{source}: {outside.iloc[0]} lies outside of the image folder.")
    nameless = paths[paths.str.contains(r"^$|\x00", regex=True)]
    if len(nameless):
        raise DataError(f"{source}: {nameless.iloc[0]!r} is no file's name.")
    twice = paths[paths.duplicated()]
    if len(twice):
        raise DataError(f"{source}: names {twice.iloc[0]} twice.")


def _read_column(
    table: pd.DataFrame,
    column: str,
    path: Path,
    read: Callable[[str], Cell],
    allowed: str,
) -> "pd.Series[Any]":
    """Every cell read; raises DataError for the first that cannot be."""
    known: dict[object, Cell] = {}
    for value in table[column].unique():
        try:
            known[value] = read(str(value))
        except ValueError:
            row = table["path"][table[column] == value].iloc[0]
            raise DataError(
                f"--manifest {path}: {column} of {row} is {str(value)!r:.40}; allowed are "
                f"{allowed}."
            ) from None
    return table[column].map(known)


def _read_label(cell: str) -> str:
    label = normalize(cell)
    if label not in (*LABELS, UNKNOWN):
        raise ValueError(cell)
    return label


def _read_count(cell: str) -> int:
    number = float(cell)
    if number < 0 or not number.is_integer():
        raise ValueError(cell)
    return int(number)


def _read_part(cell: str) -> str:
    if cell not in (*PARTS, ""):
        raise ValueError(cell)
    return cell


def _read_truth(cell: str) -> bool:
    if cell not in ("True", "False", ""):
        raise ValueError(cell)
    return cell == "True"


def write_manifest(table: pd.DataFrame, path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as target:
        table.to_csv(target, index=False, encoding="utf-8", lineterminator="\n")


def list_vote_columns(table: pd.DataFrame) -> list[str]:
    return [str(column) for column in table.columns if str(column).startswith(VOTE)]


def drop_excluded(table: pd.DataFrame, exclude: Path | None) -> pd.DataFrame:
    """Without the pictures that the first column of ``exclude`` names, a CSV with a header.

    Names of what is not there, or no longer, do no harm, so that one list serves every stage.
    Raises DataError for a file that cannot be read or has no header, for a name that may mean
    several pictures, and where no picture is left.
    """
    if exclude is None:
        return table
    listed = read_csv(exclude, "--exclude", usecols=[0], dtype="str").iloc[:, 0].dropna()
    if listed.name not in ("file", "path"):  # most likely a picture's name, which would be lost
        raise DataError(
            f"--exclude {exclude}: its first line begins with {listed.name!r:.40}, but must begin "
            "with the column's name: file, or path."
        )
    names = {normalize(name) for name in listed}
    left = table[match_names(table["path"], names, "--exclude") == ""].reset_index(drop=True)
    if len(left) == len(table):
        _log.warning("warning: --exclude %s names none of these pictures", exclude)
    if left.empty:
        raise DataError(f"--exclude {exclude}: names every picture; none is left.")
    return left


def match_names(paths: pd.Series, names: set[str], flag: str) -> pd.Series:
    """For each path the one of ``names`` that means it, or "".

    A name is the whole path, or the last part of a single one; a crop also answers to its photo's.
    Raises DataError for a last part that several paths share.
    """
    composed = paths.map(normalize)
    photos = composed.str.removesuffix(".jpg")
    matched = pd.Series("", index=paths.index, dtype="str")
    for whole in (photos, composed):
        matched = matched.mask(whole.isin(names), whole)
    free = names - set(matched)
    for whole in (composed, photos):
        last = _find_last_parts(whole)
        meant = last.isin(free) & (matched == "")
        several = last[meant][last[meant].duplicated()]
        if len(several):
            raise DataError(
                f"{flag}: {several.iloc[0]} may be several pictures; name its folder too."
            )
        matched = matched.mask(meant, last)
    return matched


def extract_persons(paths: pd.Series, pattern: str) -> pd.Series:
    """The pattern's first group in each file name, or "". Raises ConfigError for a wrong one."""
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:  # the last two: absurd numbers
        raise ConfigError(
            f"--person {pattern}: must be a regular expression with one group ({error})."
        ) from None
    if expression.groups != 1:
        raise ConfigError(
            f"--person {pattern}: must be a regular expression with one group; it has "
            f"{expression.groups}."
        )
    found = (expression.search(name) for name in _find_last_parts(paths).tolist())
    persons = [match[1] or "" if match else "" for match in found]
    return pd.Series(persons, index=paths.index, dtype="str")


def _find_last_parts(paths: pd.Series) -> pd.Series:
    return paths.astype("str").str.replace("(?s)^.*/", "", regex=True)
