"""AI Hub's "한국인 감정인식을 위한 복합 영상" (data set 82) -> manifest, in both its layouts.

The older release is a TSV with a row per picture; the public one is JSON, an array per emotion and
part. Both carry three annotators' emotions and face boxes, in pixels of the upright photo. Half a
million rows are read by column: cells as nearly all are written are cut out by one expression, and
only the others are looked at one by one.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from kfer.labels import get_taxonomy
from training.boxes import Box, choose_closest, merge_boxes
from training.errors import DataError
from training.manifest import BOX, UNKNOWN, VOTE, extract_persons, normalize
from training.sources.tsv import Refused, read_lines
from training.votes import count_votes, find_majority

AIHUB7 = get_taxonomy("aihub7")
ANNOTATORS = ("A", "B", "C")
TSV_COLUMNS = [
    "name",
    "url",
    *(f"Task{each}_{what}" for what in ("emotion", "background", "result") for each in ANNOTATORS),
]
PERSON = r"^([0-9a-fA-F]{8,})"  # the file name's long hexadecimal beginning behaves as a person
_CORNERS = ("minX", "minY", "maxX", "maxY")
_NOWHERE = (np.nan,) * 4
_NOT_A_NAME = r"[/\\\x00]|^\.{0,2}$"


@dataclass(frozen=True)
class _Entries:
    """By column: what n pictures are called, and what three annotators say and draw.

    ``numbers`` are lines or indices, ``problems`` why a picture cannot be used, or "".
    """

    names: pa.Array
    urls: pa.Array
    emotions: NDArray[np.int64]
    boxes: NDArray[np.float64]
    numbers: NDArray[np.int64]
    problems: NDArray[np.object_]


def read_tsv(path: Path, person: str = PERSON) -> tuple[pd.DataFrame, list[Refused]]:
    """The manifest, and the rows that are malformed. Raises DataError when the file is no such TSV.

    ``person`` is a regular expression whose first group is the person in a file name.
    """
    lines = read_lines(path, TSV_COLUMNS, ("name", "url"))
    table = lines.table
    needed = [name for name in TSV_COLUMNS if "background" not in name]
    if missing := [name for name in needed if name not in table.column_names]:
        raise DataError(f"--input {path}: has no column {', '.join(missing)}.")
    n = table.num_rows
    problems = np.full(n, "", dtype=object)
    cells = [table[f"Task{each}_result"] for each in ANNOTATORS]
    with ThreadPoolExecutor() as threads:  # Arrow computes without holding the others up
        cut = threads.map(_cut_out, [chunk for column in cells for chunk in column.chunks])
        names = clean_names(table["name"].combine_chunks())
        emotions = [_encode(table[f"Task{each}_emotion"].combine_chunks()) for each in ANNOTATORS]
    drawn, known = zip((np.empty((0, 4)), np.empty(0, dtype=bool)), *cut, strict=True)
    boxes = np.concatenate(drawn).reshape(len(cells), n, 4).swapaxes(0, 1)
    odd = ~np.concatenate(known).reshape(len(cells), n).all(axis=0)
    for row in np.flatnonzero(odd):
        try:
            several = [_parse_boxes(_load_cell(column[int(row)].as_py())) for column in cells]
            boxes[row] = _choose(several)
        except (KeyError, ValueError, TypeError) as error:
            problems[row] = _describe(error)
    entries = _Entries(
        names,
        pc.utf8_trim_whitespace(table["url"].combine_chunks()),
        np.stack(emotions, axis=1),
        boxes,
        lines.numbers,
        problems,
    )
    manifest, refused = _tabulate(entries, path, person)
    if manifest.empty:
        raise DataError(f"--input {path}: holds no row that can be used; is it a TSV of AI Hub?")
    return manifest, sorted(lines.refused + refused, key=lambda each: each.line)


def read_json(paths: Sequence[Path], person: str = PERSON) -> tuple[pd.DataFrame, list[Refused]]:
    """Several arrays as one manifest; of a folder, all files in it that end in .json.

    Raises DataError for a file that holds no array, or a folder without one.
    """
    files = [file for path in paths for file in _list_files(path)]
    parts = [_tabulate(_read_array(file), file, person) for file in files]
    manifest = pd.concat([table for table, _ in parts], ignore_index=True)
    if manifest.empty:
        named = ", ".join(str(path) for path in paths)
        raise DataError(f"--input {named}: holds no entry that can be used; is it AI Hub's JSON?")
    refused = [each for _, several in parts for each in several]
    twice = manifest["path"].duplicated()
    refused += [
        Refused("", 0, f"{path} stands in several files") for path in manifest["path"][twice]
    ]
    return manifest[~twice].reset_index(drop=True), refused


def _list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if files := sorted(path.rglob("*.json")):
        return files
    raise DataError(f"--input {path}: there is no .json file in it.")


def clean_names(names: pa.Array) -> pa.Array:
    """Korean composed, without blanks round it."""
    trimmed = pc.utf8_trim_whitespace(names)
    # Composing costs more than everything else; most files are composed already.
    if pc.any(pc.match_substring_regex(trimmed, "[\u0300-\u036f\u1100-\u11ff]")).as_py():
        return pc.utf8_normalize(trimmed, form="NFC")
    return trimmed


def find_name_problems(names: pa.Array) -> NDArray[np.object_]:
    """Why a name cannot be that of a new file, or "". ``names`` are clean."""
    series = pd.Series(names.to_pandas())
    problems = np.full(len(series), "", dtype=object)
    twice = series.duplicated().to_numpy()
    problems[twice] = [f"{name} was named before" for name in series[twice]]
    wrong = pc.match_substring_regex(names, _NOT_A_NAME).to_numpy(zero_copy_only=False)
    problems[wrong] = [f"name {name!r} is no file name" for name in series[wrong]]
    return problems


def place(names: pa.Array) -> pa.Array:
    """Where pictures lie in the image folder: below the emotion that their own name carries."""
    found = pc.extract_regex(names, f"(?P<label>{'|'.join(AIHUB7.labels)})")
    labels = pc.fill_null(pc.struct_field(found, "label"), UNKNOWN)
    return pc.binary_join_element_wise(labels, names, "/")


def _cut_out(cells: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n, 4) of the cells that hold one box, corners in the order of the first; which they are."""
    boxes = np.full((len(cells), 4), np.nan)
    orders = (_find_order(cell.as_py()) for cell in cells.slice(0, 100))
    order = next((order for order in orders if order), None)
    if order is None:
        return boxes, np.zeros(len(cells), dtype=bool)
    comma, colon = r"\s*,\s*", r"\s*:\s*"
    box = comma.join(rf'""?{key}""?{colon}(?P<{key}>-?[0-9]+(?:\.[0-9]+)?)' for key in order)
    # The box alone in its array, with its name or without, in quotes or without.
    array = rf'(?P<name>\{{\s*""?boxes""?{colon})?\[\s*\{{\s*{box}\s*\}}\s*\]\s*(?P<end>\}})?'
    found = pc.extract_regex(cells, rf"""^(?P<open>['"]?)\s*{array}\s*(?P<close>['"]?)$""")
    name, end, opening, closing = (
        pc.struct_field(found, part) for part in ("name", "end", "open", "close")
    )
    whole = pc.and_(
        pc.equal(pc.not_equal(name, ""), pc.not_equal(end, "")), pc.equal(opening, closing)
    )
    known = pc.fill_null(whole, False).to_numpy(zero_copy_only=False)
    for column, corner in enumerate(_CORNERS):
        values = pc.cast(pc.struct_field(found, corner), pa.float64())
        boxes[:, column] = values.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        known &= (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    return boxes, known


def _find_order(cell: str) -> list[str] | None:
    """The corners' order in a cell with one box, or None."""
    keys = re.findall("|".join(_CORNERS), cell)
    return keys if sorted(keys) == sorted(_CORNERS) else None


def _load_cell(text: str) -> Any:
    """JSON as the TSV holds it: plain, in quotes, or with every quote doubled."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return json.loads(text.replace('""', '"') if '""' in text else text)


def _describe(error: Exception) -> str:
    return f"has no {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _parse_boxes(drawn: Any) -> list[Box]:
    """``{"boxes": [...]}``, ``{"boxes": {...}}`` or a bare array, as all three occur; or null."""
    boxes = drawn["boxes"] if isinstance(drawn, dict) else drawn
    if isinstance(boxes, dict):
        boxes = [boxes]
    parsed = []
    for box in boxes or ():
        left, top, right, bottom = (float(box[corner]) for corner in _CORNERS)
        if not (
            left < right < math.inf and -math.inf < left and -math.inf < top < bottom < math.inf
        ):
            raise ValueError(f"box {left:g}, {top:g}, {right:g}, {bottom:g} is empty")
        parsed.append((left, top, right, bottom))
    return parsed


def _choose(drawn: list[list[Box]]) -> list[Box]:
    """One box per annotator, NaN where there is none."""
    if any(len(boxes) > 1 for boxes in drawn):
        return [box or _NOWHERE for box in choose_closest(drawn)]
    return [boxes[0] if boxes else _NOWHERE for boxes in drawn]


def _read_array(path: Path) -> _Entries:
    names: list[str] = []
    emotions: list[tuple[str, ...]] = []
    boxes: list[list[Box]] = []
    problems: list[str] = []
    for entry in _load_array(path):
        name, problem = "", ""
        answers: tuple[str, ...] = ("",) * len(ANNOTATORS)
        drawn: list[Box] = [_NOWHERE] * len(ANNOTATORS)
        try:
            if not isinstance(entry["filename"], str):
                raise TypeError(f"filename is {entry['filename']!r}")
            name = entry["filename"]
            annotators = [entry[f"annot_{each}"] for each in ANNOTATORS]
            answers = tuple(str(annotator["faceExp"]) for annotator in annotators)
            drawn = _choose([_parse_boxes(annotator) for annotator in annotators])
        except (KeyError, ValueError, TypeError) as error:
            problem = _describe(error)
        names.append(name)
        emotions.append(answers)
        boxes.append(drawn)
        problems.append(problem)
    columns = zip(*emotions, strict=True) if emotions else [()] * len(ANNOTATORS)
    return _Entries(
        clean_names(pa.array(names, pa.string())),
        pa.array([""] * len(names), pa.string()),
        np.stack([_encode(pa.array(column, pa.string())) for column in columns], axis=1),
        np.array(boxes, dtype=np.float64).reshape(len(names), len(ANNOTATORS), 4),
        np.arange(1, len(names) + 1),
        np.array(problems, dtype=object),
    )


def _load_array(path: Path) -> Iterable[Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"--input {path}: cannot be read ({error.strerror}).") from None
    for encoding in ("utf-8-sig", "cp949"):  # the release has both
        try:
            entries = json.loads(data.decode(encoding))
            break
        except UnicodeDecodeError:
            continue
        except ValueError as error:
            raise DataError(f"--input {path}: is no JSON ({error}).") from None
    else:
        raise DataError(f"--input {path}: is neither UTF-8 nor CP949.")
    if not isinstance(entries, list):
        raise DataError(f"--input {path}: holds no array of pictures.")
    return entries


def _tabulate(entries: _Entries, path: Path, person: str) -> tuple[pd.DataFrame, list[Refused]]:
    """The pictures that can be used, and what is wrong with the others; the first fault counts."""
    drawn = ~np.isnan(entries.boxes[:, :, 0]).all(axis=1)
    problems = np.where(drawn, "", "no annotator drew a box")
    for more in (find_name_problems(entries.names), entries.problems):
        problems = np.where(more != "", more, problems)
    good = problems == ""
    refused = [
        Refused(path.name, int(number), problem)
        for number, problem in zip(entries.numbers[~good], problems[~good], strict=True)
    ]
    names = entries.names.filter(pa.array(good))
    counts = count_votes(entries.emotions[good], len(AIHUB7.labels))
    labels = np.array([*AIHUB7.labels, UNKNOWN], dtype=object)
    table = pd.DataFrame({"path": pd.Series(place(names).to_pandas(), dtype="str")})
    table["url"] = pd.Series(entries.urls.filter(pa.array(good)).to_pandas(), dtype="str")
    table["label"] = pd.Series(labels[find_majority(counts)], dtype="str")  # -1, the last: UNKNOWN
    table["person"] = extract_persons(table["path"], person)
    for column, label in enumerate(AIHUB7.labels):
        table[VOTE + label] = counts[:, column]
    table[BOX] = merge_boxes(entries.boxes[good])
    return table, refused


def _encode(answers: pa.Array) -> NDArray[np.int64]:
    """Indices in aihub7 of the one emotion that each answer names, -1 for anything else."""
    different = answers.dictionary_encode()
    codes = np.array([_find_label(text.as_py()) for text in different.dictionary], dtype=np.int64)
    indices: NDArray[np.int64] = codes[different.indices.to_numpy()]
    return indices


def _find_label(answer: str) -> int:
    named = [index for index, label in enumerate(AIHUB7.labels) if label in normalize(answer)]
    return named[0] if len(named) == 1 else -1
