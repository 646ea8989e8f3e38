"""Tables of action units: OpenFace 2's output, or any CSV with a column per unit."""

import hashlib
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from kfer.files import replacing
from kfer.labels import TAXONOMIES
from training.errors import DataError
from training.files import read_csv
from training.manifest import UNKNOWN, match_names, normalize

# OpenFace 2: AU01_r is an intensity of 0 to 5, AU01_c presence; others write AU1 or AU01.
_UNIT = re.compile(r"^AU0*(\d+)(_r)?$")
_NAMES = ("path", "filename", "file", "image")
_ENGLISH = {
    label: english
    for taxonomy in reversed(TAXONOMIES.values())
    for label, english in zip(taxonomy.labels, taxonomy.english, strict=True)
}
CONFIDENCE = 0.7  # below it OpenFace's landmarks are too unsure to believe in
OUTPUT = "processed"  # OpenFace's own name for the folder of its results
IMAGE = "algebr/openface:latest"  # the container that OpenFace's documentation names


def read_units(path: Path) -> pd.DataFrame:
    """The units of every picture, by its name: columns AU01, AU02 ... Raises DataError."""
    table = read_csv(path, "--units", skipinitialspace=True)
    if table.empty:
        raise DataError(f"--units {path}: has no rows; it needs one for each picture.")
    names = [column for column in _NAMES if column in table]
    if not names:
        raise DataError(f"--units {path}: needs a column {' or '.join(_NAMES)}.")
    units = _find_units(table, path, "--units")
    units.index = pd.Index([normalize(str(name)) for name in table[names[0]]], name="name")
    twice = units.index[units.index.duplicated()]
    if len(twice):
        raise DataError(f"--units {path}: names {twice[0]} twice.")
    return units


def lay_out(table: pd.DataFrame, images: Path, folder: Path) -> int:
    """One folder per emotion with copies of its pictures, as OpenFace reads them; how many.

    Copies have names of their own, made of the pictures' paths, and folders English ones: OpenFace
    takes no Korean on every system.
    """
    count = 0
    for path, label in _list_known(table):
        target = folder / _ENGLISH.get(label, "other") / f"{_name(path)}{Path(path).suffix.lower()}"
        count += 1
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(target) as unfinished:
                shutil.copyfile(images / path, unfinished)
        except OSError as error:
            raise DataError(
                f"--images {images / path}: cannot be read ({error.strerror})."
            ) from None
    return count


def describe_commands(folder: Path) -> list[str]:
    """The shell lines that run OpenFace 2 on every emotion's folder, in a container or locally."""
    folders = sorted(each for each in folder.iterdir() if each.is_dir() and each.name != OUTPUT)
    lines = ["# OpenFace 2 in a container:"]
    mount = shlex.quote(f"{folder.resolve()}:/faces")
    for each in folders:
        inside = shlex.quote(f"/faces/{each.name}")
        run = f"build/bin/FaceLandmarkImg -fdir {inside} -out_dir /faces/{OUTPUT} -aus"
        lines.append(f"docker run --rm -v {mount} --entrypoint sh {IMAGE} -c {shlex.quote(run)}")
    lines.append("# or an OpenFace 2 of your own:")
    out = shlex.quote(str(folder / OUTPUT))
    lines += [
        f"FaceLandmarkImg -fdir {shlex.quote(str(each))} -out_dir {out} -aus" for each in folders
    ]
    return lines


def merge_openface(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """OpenFace's CSV of every picture, merged: AU columns by the manifest's path.

    Of several faces the surest counts; pictures without a face, or with none that OpenFace is sure
    of, have no row. Raises DataError where there is no CSV at all, or one that cannot be read.
    """
    rows = {}
    for path, _ in _list_known(table):
        file = folder / OUTPUT / f"{_name(path)}.csv"
        if not file.exists():
            continue
        # OpenFace sets a blank before every column's name.
        faces = read_csv(file, "--openface-dir", skipinitialspace=True)
        units = _find_units(faces, file, "--openface-dir")
        if "confidence" in faces:
            faces = faces[faces["confidence"] >= CONFIDENCE].sort_values("confidence")
        if len(faces):
            rows[normalize(path)] = units.loc[faces.index[-1]]
    if not rows:
        raise DataError(
            f"--openface-dir {folder}: holds no face of OpenFace 2 in {OUTPUT}/; run the command "
            "that --prepare prints, then this one again."
        )
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")


def join_units(table: pd.DataFrame, units: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the manifest whose label is known and that have units; the units in their order.

    Names are paths of the manifest or the last part of one. Raises DataError where none fits.
    """
    known = table[table["label"] != UNKNOWN]
    names = match_names(known["path"], set(units.index), "--units")
    there = names != ""
    if not there.any():
        raise DataError(
            f"--units: names no picture of the manifest; it has {units.index[0]}, the manifest "
            f"{table['path'].iloc[0]}."
        )
    joined = units.loc[names[there]].reset_index(drop=True)
    return known[there].reset_index(drop=True), joined


def _list_known(table: pd.DataFrame) -> list[tuple[str, str]]:
    known = table[table["label"] != UNKNOWN]
    return list(zip(known["path"], known["label"], strict=True))


def _name(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def _find_units(table: pd.DataFrame, path: Path, flag: str) -> pd.DataFrame:
    """Intensities named AU01, AU02 ..., in order. Raises DataError."""
    found = {str(column): _UNIT.match(str(column).strip()) for column in table.columns}
    chosen = {name: f"AU{int(match[1]):02d}" for name, match in found.items() if match}
    if not chosen:
        raise DataError(f"{flag} {path}: has no column of an action unit, such as AU01_r or AU01.")
    for unit in chosen.values():
        alike = [name for name, meant in chosen.items() if meant == unit]
        if len(alike) > 1:
            raise DataError(f"{flag} {path}: {' and '.join(alike)} are both {unit}; keep one.")
    units = table[list(chosen)].rename(columns=chosen)
    numbers = units.apply(pd.to_numeric, errors="coerce")
    numbers = numbers.replace([np.inf, -np.inf], np.nan)
    if numbers.isna().any(axis=None):
        column = str(numbers.columns[numbers.isna().any()][0])
        row = int(numbers[column].isna().to_numpy().argmax()) + 2
        raise DataError(f"{flag} {path}: line {row} has no number for {column}.")
    ordered: pd.DataFrame = numbers.reindex(columns=sorted(numbers.columns)).astype("float64")
    return ordered
