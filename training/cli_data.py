"""The commands that make a manifest of labelled crops: download, votes, crop, review, split."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.config import MOST_SEED
from training.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

data_app = typer.Typer()

ENGINES = ("processes", "ray")
LAYOUTS = ("tsv", "json", "folders", "fer2013")
VOTES_LOG = "votes.error.log"
MOST_MARGIN = 3.0  # a crop four times as wide as the face; above it, a percentage is meant
ManifestOption = Annotated[Path, typer.Option("--manifest", help="The table of an earlier stage.")]
ImagesOption = Annotated[Path, typer.Option("--images", help="The folder that its paths are in.")]
ExcludeOption = Annotated[
    Path | None,
    typer.Option("--exclude", help="CSV; its first column, file, names what to leave out."),
]
VotesOption = Annotated[Path | None, typer.Option("--votes", help="FER+ votes as CSV.")]
WorkersOption = Annotated[int, typer.Option(min=1, help="How many at once.")]
PersonOption = Annotated[
    str | None,
    typer.Option(help="Regular expression; its first group is the person in a file name."),
]


@data_app.command()
def download(
    source: Annotated[
        Path,
        typer.Option("--input", help="AI Hub's TSV, or a download.error.log."),
    ],
    out: Annotated[Path, typer.Option(help="Image folder; what is there is not fetched again.")],
    workers: WorkersOption = 16,
) -> None:
    """Fetch the pictures that a TSV names; what failed, now or before, stands in OUT's two logs."""
    from training.download import DOWNLOAD_LOG, PARSE_LOG, read_wanted
    from training.download import download as run

    wanted, refused = read_wanted(source)
    with _progress("download", len(wanted)) as advance:
        summary = run(source, wanted, refused, out, workers, lambda _: advance())
    typer.echo(
        f"{summary.fetched} fetched, {summary.present} there before, {summary.failed} failed, "
        f"{summary.malformed} malformed rows"
    )
    if (out / DOWNLOAD_LOG).exists():
        typer.echo(f"to try the failed ones again: --input {out / DOWNLOAD_LOG}", err=True)
    if summary.malformed:
        typer.echo(f"malformed rows: {out / PARSE_LOG}", err=True)
    if summary.failed:
        raise typer.Exit(1)


@data_app.command()
def votes(
    source: Annotated[
        list[Path],
        typer.Option("--input", help="A TSV, class folders, JSON files or a folder of them."),
    ],
    out: Annotated[Path, typer.Option(help="Where the manifest goes, a CSV.")],
    layout: Annotated[str, typer.Option(help=f"One of {', '.join(LAYOUTS)}.")] = "tsv",
    taxonomy: Annotated[str, typer.Option(help="Of class folders.")] = "aihub7",
    person: PersonOption = None,
    ferplus: VotesOption = None,
    exclude: ExcludeOption = None,
) -> None:
    """Read labels in any layout into a manifest; three annotators become a majority, or UNKNOWN."""
    from kfer.labels import get_taxonomy
    from training.manifest import write_manifest
    from training.sources.aihub import PERSON, read_json, read_tsv
    from training.sources.fer2013 import read_fer2013
    from training.sources.folders import read_folders
    from training.sources.tsv import Refused, write_refused

    if layout not in LAYOUTS:
        raise ConfigError(f"--layout {layout}: unknown; allowed are {', '.join(LAYOUTS)}.")
    if layout != "json" and len(source) > 1:
        raise ConfigError(f"--layout {layout}: takes one --input, but got {len(source)}.")
    if (layout == "fer2013") != bool(ferplus):
        raise ConfigError("--votes: goes with --layout fer2013, which needs it; give both.")
    refused: list[Refused] = []
    if ferplus:
        table = read_fer2013(source[0], ferplus, exclude, "--input")
    elif layout == "folders":
        table = read_folders(source[0], get_taxonomy(taxonomy), person)
    elif layout == "json":
        table, refused = read_json(source, person or PERSON)
    else:
        table, refused = read_tsv(source[0], person or PERSON)
    if not ferplus:  # FER2013's list also marks pictures that stay
        table = leave_out(table, exclude)
    write_manifest(table, out)
    log = out.with_name(VOTES_LOG)
    write_refused(refused, log)
    _show_counts(table, "label")
    if refused:
        typer.echo(f"{len(refused)} malformed entries: {log}", err=True)


@data_app.command()
def crop(
    manifest: ManifestOption,
    images: ImagesOption,
    out: Annotated[Path, typer.Option(help="Folder of the crops and their manifest.csv.")],
    by: Annotated[
        str, typer.Option(help="boxes (the annotators'), or a detector: mtcnn, haar, yolo.")
    ] = "boxes",
    margin: Annotated[float, typer.Option(help="Added to the longer side, as a share.")] = 0.0,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of the crops, px.")] = 96,
    grey: Annotated[bool, typer.Option(help="Without colour.")] = False,
    align: Annotated[bool, typer.Option(help="Turned until the eyes are level.")] = False,
    exclude: ExcludeOption = None,
    detector_weights: Annotated[
        Path | None, typer.Option(help="Weights file for --by yolo.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="How many at once; default: as many as there are cores."),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="processes of this machine, or ray: a Ray cluster's.")
    ] = "processes",
    cluster: Annotated[
        str,
        typer.Option(envvar="RAY_ADDRESS", help="Ray's address; local: one for this run alone."),
    ] = "local",
) -> None:
    """Cut the face out of every photo; photos without one are listed in OUT/crop.error.log."""
    from joblib import cpu_count

    from kfer.faces import CropSpec
    from training.cluster import build_ray_engine
    from training.crop import LOG, MANIFEST, WAYS, CropSettings, crop_photos, run_processes
    from training.manifest import read_manifest

    if by not in WAYS:
        raise ConfigError(f"--by {by}: finds no faces; allowed are {', '.join(WAYS)}.")
    if engine not in ENGINES:
        raise ConfigError(f"--engine {engine}: unknown; allowed are {', '.join(ENGINES)}.")
    if align and by in ("boxes", "haar"):
        raise ConfigError(f"--align: {by} gives no landmarks to turn by; use --by mtcnn.")
    if not -1 < margin <= MOST_MARGIN:
        raise ConfigError(
            f"--margin {margin:g}: must be above -1 and at most {MOST_MARGIN:g}; 0.2 adds 20 %."
        )
    _check_images(images)
    if out.resolve() == images.resolve():
        raise ConfigError(f"--out {out}: is the image folder; name another.")
    if manifest.resolve() == (out / MANIFEST).resolve():
        raise ConfigError(
            f"--out {out}: the crops' manifest would be written over --manifest; name another "
            "folder."
        )
    table = leave_out(read_manifest(manifest), exclude)
    spec = CropSpec(margin, size, grey, align)
    settings = CropSettings(by, spec, detector_weights and detector_weights.absolute())
    run = build_ray_engine(cluster, workers) if engine == "ray" else run_processes
    with _progress("crop", len(table)) as advance:
        cropped = crop_photos(
            table, images, out, settings, workers or cpu_count(), lambda _: advance(), run
        )
    failed = len(table) - len(cropped)
    typer.echo(f"{len(cropped)} crops in {out}, {failed} photos without one")
    if failed:
        typer.echo(f"why: {out / LOG}", err=True)
    if not len(cropped):
        raise typer.Exit(1)


@data_app.command()
def review(
    manifest: ManifestOption,
    images: ImagesOption,
    out: Annotated[Path, typer.Option(help="Folder of the contact sheets.")],
    bundle: Annotated[
        Path | None, typer.Option(help="A model, to find labels that it holds to be wrong.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Crops on the sheet of a reason.")] = 200,
    exclude: ExcludeOption = None,
) -> None:
    """Show suspicious crops on one page, where those to leave out can be ticked and listed."""
    from kfer.bundle import load_bundle
    from training.manifest import read_manifest
    from training.review import REASONS, SHEETS, find_suspicious, measure_losses, write_review

    _check_images(images)
    table = leave_out(read_manifest(manifest), exclude)
    losses = measure_losses(load_bundle(bundle), table, images) if bundle else {}
    found = find_suspicious(table, losses)
    write_review(found, images, out, most)
    for reason, title in REASONS.items():
        if count := sum(each.reason == reason for each in found):
            typer.echo(f"{count:6d}  {title}")
    typer.echo(f"look at {out / SHEETS}")


@data_app.command()
def split(
    manifest: ManifestOption,
    out: Annotated[Path, typer.Option(help="Where the manifest with parts or folds goes.")],
    ratios: Annotated[str, typer.Option(help="Of train, validation and test.")] = "80/10/10",
    folds: Annotated[int | None, typer.Option(help="Instead of parts: so many folds.")] = None,
    by: Annotated[str, typer.Option(help="What stays together: person or image.")] = "person",
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Another one deals out differently.")
    ] = 0,
    cap: Annotated[
        int | None, typer.Option(min=1, help="At most so many pictures of each label to learn.")
    ] = None,
    undersample: Annotated[
        bool, typer.Option(help="As many pictures of each label to learn as of the rarest.")
    ] = False,
    person: PersonOption = None,
    exclude: ExcludeOption = None,
) -> None:
    """Deal the pictures out to parts or folds so that no person and no picture is in two."""
    from training.manifest import extract_persons, read_manifest, write_manifest
    from training.splits import (
        IMAGE,
        PERSON,
        balance,
        check_disjoint,
        parse_ratios,
        split_folds,
        split_parts,
    )

    if by not in (PERSON, IMAGE):
        raise ConfigError(f"--by {by}: unknown; allowed are {PERSON} and {IMAGE}.")
    if cap and undersample:
        raise ConfigError("--cap and --undersample: both say how many; give one of them.")
    table = leave_out(read_manifest(manifest), exclude)
    if person:
        table["person"] = extract_persons(table["path"], person)
    column, other = ("part", "fold") if folds is None else ("fold", "part")
    table = table.drop(columns=other, errors="ignore")  # of an earlier way to divide it
    if folds is not None:
        table = split_folds(table, folds, seed, by)
    else:
        table = split_parts(table, parse_ratios(ratios), seed, by)
    check_disjoint(table, column, by)
    if cap or undersample:
        table = balance(table, column, cap, seed)
    if by == IMAGE:
        typer.echo(
            "warning: people of the test part may be in training too; such figures flatter.",
            err=True,
        )
    write_manifest(table, out)
    _show_counts(table, "label", column)


def _check_images(images: Path) -> None:
    if not images.is_dir():
        raise ConfigError(f"--images {images}: is no folder; name that of the manifest's pictures.")


def leave_out(table: "pd.DataFrame", exclude: Path | None) -> "pd.DataFrame":
    """Without what ``exclude`` names; says of how many pictures that is."""
    from training.manifest import drop_excluded

    left = drop_excluded(table, exclude)
    if exclude:
        typer.echo(f"{len(table) - len(left)} pictures left out by --exclude {exclude}", err=True)
    return left


def _show_counts(table: "pd.DataFrame", *columns: str) -> None:
    counts = table[list(columns)].value_counts(sort=False)
    text = counts.unstack(fill_value=0) if len(columns) > 1 else counts
    typer.echo(text.to_string())


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on the terminal's error output; nothing where that is a file."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(name, total=total)
        yield lambda: bar.advance(task)
