"""``python -m kfer predict PHOTO...``: read faces in photo files.

Typer alone is imported here; torch and the rest only once a command really runs.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from kfer.errors import KferError, PhotoError
from kfer.files import replacing
from kfer.labels import TAXONOMIES

if TYPE_CHECKING:
    from kfer.bundle import Bundle
    from kfer.recognizer import Recognizer

app = typer.Typer(
    help="Recognise facial expressions: a photo goes in, calibrated emotions come out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would take [@revision] for markup, and cut long choices
)


class DetectorName(StrEnum):
    mtcnn = "mtcnn"
    haar = "haar"
    yolo = "yolo"
    none = "none"


class Format(StrEnum):
    json = "json"
    csv = "csv"
    table = "table"


TaxonomyName = StrEnum("TaxonomyName", {name: name for name in TAXONOMIES})  # type: ignore[misc]


@app.callback()
def _commands() -> None:
    """Keeps ``predict`` a named command while it is the only one."""


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Photo files.")],
    model: Annotated[
        str | None,
        typer.Option(
            envvar="KFER_MODEL",
            help="A model folder or hf-hub:owner/name[@revision]; default: the bundled model.",
        ),
    ] = None,
    detector: Annotated[
        DetectorName, typer.Option(help="'none' reads each photo as one face.")
    ] = DetectorName.mtcnn,
    detector_weights: Annotated[
        Path, typer.Option(help="Weights file for --detector yolo.")
    ] = Path("yolo-face.pt"),
    taxonomy: Annotated[
        TaxonomyName | None,
        typer.Option(help="Labels to answer in; approximate unless they are the model's own."),
    ] = None,
    output: Annotated[
        Format, typer.Option("--format", help="json: one object per line and photo.")
    ] = Format.json,
    out: Annotated[
        Path | None,
        typer.Option(help="A file for it instead of the shell; CSV so that spreadsheets open it."),
    ] = None,
) -> None:
    """Print what the model reads in every face of every PHOTO.

    Exit status: 0 all read, 1 some photo or the model could not be read, 2 wrong usage.
    """
    if out and out.resolve() in {photo.resolve() for photo in photos}:
        raise typer.BadParameter(f"--out {out} is one of the photos.")
    try:
        objects = _read_photos(photos, model, detector, detector_weights, taxonomy)
        with _open_output(out, output) as file:
            failed = _print_objects(objects, output, file)
    except KferError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(1 if failed else 0)


def _read_photos(
    photos: list[Path],
    model: str | None,
    detector: DetectorName,
    weights: Path,
    taxonomy: TaxonomyName | None,
) -> Iterator[dict[str, Any]]:
    from kfer.recognizer import Recognizer, locate_bundle

    recognizer = Recognizer([locate_bundle(model)], weights)
    _say_if_approximate(recognizer.get_bundle(None), taxonomy)
    with typer.progressbar(
        photos, file=sys.stderr, label="photos", hidden=len(photos) == 1 or not sys.stderr.isatty()
    ) as progress:
        for path in progress:
            yield _read_photo(recognizer, path, detector.value, taxonomy)


def _say_if_approximate(bundle: "Bundle", taxonomy: str | None) -> None:
    from kfer.labels import get_taxonomy

    wanted = get_taxonomy(taxonomy) if taxonomy else bundle.default_taxonomy
    mapping = bundle.get_mapping(wanted)
    if mapping.approximate:
        typer.echo(f"note: {mapping.describe()}", err=True)


def _read_photo(
    recognizer: "Recognizer", path: Path, detector: str, taxonomy: str | None
) -> dict[str, Any]:
    from kfer.photos import load_photo
    from kfer.pipeline import describe

    # Names of old archives may not be UTF-8; what cannot be written is replaced.
    name = os.fsencode(path).decode("utf-8", "replace")
    try:
        photo = load_photo(path)
    except PhotoError as error:
        typer.echo(f"{name}: {error}", err=True)
        return {"file": name, "error": str(error)}
    return describe(recognizer.analyze(photo, None, detector, taxonomy), name)


@contextmanager
def _open_output(out: Path | None, output: Format) -> Iterator[IO[str]]:
    if out is None:
        yield sys.stdout
        return
    # Spreadsheets take a CSV for UTF-8 by its mark alone.
    encoding = "utf-8-sig" if output is Format.csv else "utf-8"
    try:
        with replacing(out) as target, target.open("w", encoding=encoding, newline="") as file:
            yield file
    except OSError as error:
        raise KferError(f"--out {out} cannot be written ({error.strerror}).") from None


def _print_objects(objects: Iterator[dict[str, Any]], output: Format, file: IO[str]) -> bool:
    """Prints in the order given; True when any object is an error."""
    from kfer.render import build_rows, write_csv

    failed = False
    rows = []
    for described in objects:
        failed = failed or "error" in described
        if output is Format.json:
            typer.echo(json.dumps(described, ensure_ascii=False), file)
        else:
            rows += build_rows(described)
    if output is Format.csv:
        typer.echo(write_csv(rows), file, nl=False)
    elif output is Format.table:
        _print_table(rows, file)
    return failed


def _print_table(rows: list[dict[str, Any]], file: IO[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("file", "face", "x y w h", "label", "%", "note")
    for row in rows:
        if "error" in row:
            table.add_row(escape(row["file"]), "", "", "", "", escape(row["error"]))
            continue
        table.add_row(
            escape(row["file"]),
            str(row["face"]),
            " ".join(f"{row[key]:.0f}" for key in "xywh"),
            f"{row['label']} {row['label_en']}{'?' * bool(row['unsure'])}",
            f"{'≈' * row['approximate']}{row[row['label']] * 100:.0f}",
            escape(row["note"] or ""),
        )
    # Wide enough for file names when the output goes into a file or a pipe.
    Console(file=file, width=None if file.isatty() else 160).print(table)


def main() -> None:
    app()
