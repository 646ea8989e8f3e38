"""AI Hub's "한국인 감정인식을 위한 복합 영상" (data set 82) -> manifest, in both its layouts.

The older release is a TSV with a row per picture; the public one is JSON, an array per emotion and
part. Both carry three annotators' emotions and face boxes, in pixels of the upright photo.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kfer.labels import get_taxonomy
from training.boxes import Box, choose_closest, merge_boxes
from training.errors import DataError
from training.manifest import BOX, UNKNOWN, VOTE, normalize
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


@dataclass(frozen=True)
class Refused:
    """An entry that was left out; ``line`` is the TSV's, or the JSON array's index from 1."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Annotated:
    """One picture as annotators left it: one emotion and any number of boxes from each."""

    name: str
    url: str
    emotions: tuple[str, ...]
    boxes: list[list[Box]]


@dataclass
class _Entries:
    """Columns that grow with every entry."""

    names: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    emotions: list[tuple[str, ...]] = field(default_factory=list)
    boxes: list[list[Box | None]] = field(default_factory=list)


def read_tsv(path: Path, person: str = PERSON) -> tuple[pd.DataFrame, list[Refused]]:
    """The manifest, and the rows that are malformed. Raises DataError when the file is no such TSV.

    ``person`` is a regular expression whose first group is the person in a file name.
    """
    return _build(_number(read_rows(path), parse_row), path, person)


def read_json(paths: Sequence[Path], person: str = PERSON) -> tuple[pd.DataFrame, list[Refused]]:
    """Several arrays as one manifest. Raises DataError for a file that holds no array."""
    parts = [_build(_number(_read_array(path), parse_entry), path, person) for path in paths]
    manifest = pd.concat([table for table, _ in parts], ignore_index=True)
    refused = [each for _, several in parts for each in several]
    twice = manifest["path"].duplicated()
    refused += [
        Refused("", 0, f"{path} stands in several files") for path in manifest["path"][twice]
    ]
    return manifest[~twice].reset_index(drop=True), refused


def place(name: str) -> str:
    """Where a picture lies in the image folder: below the emotion that its own name carries."""
    return f"{_find_label(name) or UNKNOWN}/{name}"


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Every row with its line number: by column, or as a reason why that cannot be said.

    A first line without column names is data. More columns than the known ones are allowed.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t")
            columns: Sequence[str] = TSV_COLUMNS
            for row in reader:
                if reader.line_num == 1 and "url" in row:
                    columns = row
                    if missing := [name for name in ("name", "url") if name not in columns]:
                        raise DataError(f"--input {path}: has no column {', '.join(missing)}.")
                elif len(row) < len(columns):
                    yield reader.line_num, f"has {len(row)} columns instead of {len(columns)}"
                elif row:
                    yield reader.line_num, dict(zip(columns, row, strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"--input {path}: cannot be read as TSV ({error}).") from None


def parse_row(row: dict[str, str]) -> Annotated:
    """Raises ValueError, KeyError or TypeError for what cannot be understood."""
    return Annotated(
        row["name"],
        row["url"],
        tuple(row[f"Task{each}_emotion"] for each in ANNOTATORS),
        [_parse_boxes(_load_cell(row[f"Task{each}_result"])) for each in ANNOTATORS],
    )


def parse_entry(entry: dict[str, Any]) -> Annotated:
    """Raises ValueError, KeyError or TypeError for what cannot be understood."""
    annotators = [entry[f"annot_{each}"] for each in ANNOTATORS]
    return Annotated(
        entry["filename"],
        "",
        tuple(str(annotator["faceExp"]) for annotator in annotators),
        [_parse_boxes(annotator) for annotator in annotators],
    )


def check_name(name: str) -> str:
    """A file name that can be used as one. Raises ValueError."""
    name = normalize(name)
    if not name or name in (".", "..") or re.search(r"[/\\\0]", name):
        raise ValueError(f"name {name!r} is no file name")
    return name


def write_refused(refused: Sequence[Refused], log: Path) -> None:
    """A line for each, or no file where there is none."""
    if not refused:
        log.unlink(missing_ok=True)
        return
    lines = [f"{each.file}:{each.line}: {each.reason}\n" for each in refused]
    log.write_text("".join(lines), encoding="utf-8")


def _load_cell(text: str) -> Any:
    """JSON as the TSV holds it: plain, in quotes, or with every quote doubled."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return json.loads(text.replace('""', '"') if '""' in text else text)


def _parse_boxes(drawn: Any) -> list[Box]:
    """``{"boxes": [...]}``, ``{"boxes": {...}}`` or a bare array, as all three occur."""
    boxes = drawn["boxes"] if isinstance(drawn, dict) else drawn
    if isinstance(boxes, dict):
        boxes = [boxes]
    parsed = []
    for box in boxes:
        left, top, right, bottom = (float(box[corner]) for corner in _CORNERS)
        if not (left < right and top < bottom):  # false for NaN too
            raise ValueError(f"box {left:g}, {top:g}, {right:g}, {bottom:g} is empty")
        parsed.append((left, top, right, bottom))
    return parsed


def _read_array(path: Path) -> Iterator[tuple[int, Any]]:
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
    return enumerate(entries, start=1)


def _number(
    rows: Iterable[tuple[int, Any]], parse: Callable[[Any], Annotated]
) -> Iterator[tuple[int, Annotated | str]]:
    """Every entry with its number: understood, or as the reason why not."""
    for number, row in rows:
        if isinstance(row, str):
            yield number, row
            continue
        try:
            yield number, parse(row)
        except KeyError as error:
            yield number, f"has no {error.args[0]}"
        except (ValueError, TypeError) as error:
            yield number, str(error)


def _build(
    entries: Iterable[tuple[int, Annotated | str]], path: Path, person: str
) -> tuple[pd.DataFrame, list[Refused]]:
    kept, refused, seen = _Entries(), [], set()
    for number, entry in entries:
        if isinstance(entry, str):
            refused.append(Refused(path.name, number, entry))
            continue
        try:
            name = check_name(entry.name)
            if name in seen:
                raise ValueError(f"{name} was named before")
            if not any(entry.boxes):
                raise ValueError("no annotator drew a box")
        except ValueError as error:
            refused.append(Refused(path.name, number, str(error)))
            continue
        seen.add(name)
        kept.names.append(name)
        kept.urls.append(entry.url.strip())
        kept.emotions.append(entry.emotions)
        several = any(len(boxes) > 1 for boxes in entry.boxes)
        kept.boxes.append(
            choose_closest(entry.boxes)
            if several
            else [boxes[0] if boxes else None for boxes in entry.boxes]
        )
    return _tabulate(kept, person), refused


def _tabulate(entries: _Entries, person: str) -> pd.DataFrame:
    nowhere = (np.nan,) * 4
    drawn = np.array(
        [[box or nowhere for box in boxes] for boxes in entries.boxes], dtype=np.float64
    ).reshape(len(entries.names), len(ANNOTATORS), 4)
    table = pd.DataFrame({"path": entries.names}, dtype="str")
    names = table["path"]
    table["url"] = entries.urls
    counts = count_votes(_encode(entries.emotions), len(AIHUB7.labels))
    labels = np.array([*AIHUB7.labels, UNKNOWN], dtype=object)
    table["label"] = labels[find_majority(counts)]  # -1 is the last: UNKNOWN
    table["person"] = names.str.extract(person, expand=False).fillna("")
    for column, label in enumerate(AIHUB7.labels):
        table[VOTE + label] = counts[:, column]
    table[BOX] = merge_boxes(drawn)
    table["path"] = [place(name) for name in entries.names]
    return table


def _encode(emotions: list[tuple[str, ...]]) -> np.ndarray:
    """(pictures, annotators) indices in aihub7, -1 for anything else."""
    codes = {
        text: AIHUB7.labels.index(label) if (label := _find_label(text)) else -1
        for text in {text for answers in emotions for text in answers}
    }
    return np.array(
        [[codes[text] for text in answers] for answers in emotions], dtype=np.int64
    ).reshape(len(emotions), len(ANNOTATORS))


def _find_label(text: str) -> str | None:
    """The one emotion that a text names: "기쁨", or a file name with it."""
    named = [label for label in AIHUB7.labels if label in normalize(text)]
    return named[0] if len(named) == 1 else None
