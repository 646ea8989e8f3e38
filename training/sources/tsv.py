"""A TSV of text, line by line: no cell reaches over a line, whatever quotes it holds.

A quote that is opened and never closed would otherwise swallow the lines below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from training.errors import DataError
from training.files import write_log

_BLOCK = 1 << 24  # bytes read at once: a few thousand of the longest rows


@dataclass(frozen=True)
class Refused:
    """An entry that was left out; ``line`` is the file's, or an array's index from 1."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def write_refused(refused: Sequence[Refused], log: Path) -> None:
    write_log(log, [str(each) for each in refused])


@dataclass(frozen=True)
class Lines:
    """The rows with as many cells as there are columns; ``numbers`` are their lines from 1."""

    table: pa.Table
    numbers: NDArray[np.int64]
    refused: list[Refused]


def read_lines(path: Path, columns: list[str], needed: tuple[str, ...]) -> Lines:
    """Every cell as text. A first line that names the needed columns replaces ``columns``.

    Raises DataError when the file cannot be read as a TSV, or names some needed columns only.
    """
    header = _read_header(path)
    named = [name for name in needed if name in header]
    if 0 < len(named) < len(needed):
        missing = ", ".join(name for name in needed if name not in header)
        raise DataError(f"--input {path}: has no column {missing}.")
    names = header if named else columns
    first = 2 if named else 1
    try:
        table, short = _read_cells(path, names, first - 1, threads=True)
        if short:  # one thread alone knows the numbers of the rows that it refuses
            table, short = _read_cells(path, names, first - 1, threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"--input {path}: cannot be read as TSV ({error}).") from None
    refused = [
        Refused(path.name, number, f"has {cells} columns instead of {len(names)}")
        for number, cells in short
        if cells > 1  # a line with nothing on it is no row
    ]
    numbers = np.arange(first, first + table.num_rows + len(short))
    numbers = np.delete(numbers, [number - first for number, _ in short])
    filled = np.any([_is_filled(table[name]) for name in needed], axis=0)  # not an empty line
    if not filled.all():
        table, numbers = table.filter(pa.array(filled)), numbers[filled]
    return Lines(table, numbers, refused)


def _read_cells(
    path: Path, names: list[str], skipped: int, *, threads: bool
) -> tuple[pa.Table, list[tuple[int, int]]]:
    """The rows of the right length, and of each other one its line and how many cells it has."""
    short: list[tuple[int, int]] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        short.append((row.number, row.actual_columns))
        return "skip"

    table = pyarrow.csv.read_csv(
        path,
        pyarrow.csv.ReadOptions(
            use_threads=threads, block_size=_BLOCK, column_names=names, skip_rows=skipped
        ),
        pyarrow.csv.ParseOptions(
            delimiter="\t",
            quote_char=False,
            ignore_empty_lines=False,
            invalid_row_handler=refuse,
        ),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    return table, short


def _is_filled(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    filled: NDArray[np.bool_] = pc.not_equal(column, "").to_numpy()
    return filled


def _read_header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--input {path}: cannot be read as TSV ({error}).") from None
