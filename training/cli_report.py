"""``python -m training evaluate``: how good a model is."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from training.cli_data import ExcludeOption
from training.cli_options import CropsOption, DataOption, ImagesOption, VotesOption
from training.errors import ConfigError

report_app = typer.Typer()


@report_app.command()
def evaluate(
    bundle: Annotated[Path, typer.Option(help="The bundle to measure.")],
    data: DataOption = None,
    votes: VotesOption = None,
    manifest: CropsOption = None,
    images: ImagesOption = None,
    exclude: ExcludeOption = None,
    part: Annotated[str, typer.Option(help="Of the manifest; FER2013's is PublicTest.")] = "test",
    detector: Annotated[
        str, typer.Option(help="Whose framing of the faces to measure: mtcnn, haar, or none.")
    ] = "none",
    photos: Annotated[
        Path | None,
        typer.Option(help="Photos to read from detection on: a folder with manifest.csv."),
    ] = None,
    taxonomy: Annotated[str, typer.Option(help="Whose labels the manifest has.")] = "korean5",
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report with figures and the worst pictures.")
    ] = None,
) -> None:
    """Measure a bundle, print its card and write it into the bundle."""
    from kfer.bundle import CARD, load_bundle
    from kfer.faces import build_detector
    from kfer.labels import get_taxonomy
    from training.answers import is_fitted_on
    from training.card import write_card
    from training.data import DataFlags
    from training.detection import measure_photos
    from training.evaluate import evaluate as measure
    from training.evaluate import find_head_specs
    from training.manifest import VALIDATION
    from training.report import HTML, check_report_folder, report_evaluation, write_report

    flags = DataFlags(data, votes, manifest, images, exclude)
    flags.check()
    if report:
        check_report_folder(report, bundle, flags.folder)
    if photos and detector == "none":
        raise ConfigError("--photos: faces must be found in them; add --detector mtcnn or haar.")
    loaded = load_bundle(bundle)
    finder = build_detector(detector)
    read = measure_photos(loaded, finder, photos, get_taxonomy(taxonomy)) if photos else None
    channels = 1 if loaded.crop.grey else 3
    measured = VALIDATION if data else part
    (faces,) = flags.load(find_head_specs(loaded), channels, measured)
    # A card names no place of one machine.
    shown = loaded.name if bundle.is_absolute() else bundle
    command = f"python -m training evaluate --bundle {shown} {flags.describe()}"
    if not data:
        command += f" --part {part}"
    if photos:
        command += f" --photos {photos.name if photos.is_absolute() else photos}"
    if detector != "none":
        command += f" --detector {detector}"
    shared = flags.count_shared_persons(measured)
    if shared:
        typer.echo(f"warning: {shared} people stand in the training part too", err=True)
    evaluation, answers = measure(
        loaded,
        faces,
        flags.name(part),
        cross_fitted=is_fitted_on(loaded, faces, measured),
        shared_persons=shared,
        detector=finder,
        photos=read,
    )
    today = datetime.now(UTC).date()
    write_card(loaded, evaluation, today, command)
    typer.echo((bundle / CARD).read_text(encoding="utf-8"))
    if report:
        told = report_evaluation(loaded, evaluation, answers, flags.folder, today, command)
        write_report(told, report)
        typer.echo(f"report written to {report / HTML}; it shows faces of the data", err=True)
