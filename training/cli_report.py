"""``python -m training evaluate`` and ``crossval``: how good a model, or a recipe, is."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from training import cli_data
from training.cli_data import ExcludeOption, VotesOption
from training.cli_options import (
    CropsOption,
    DataOption,
    DeviceOption,
    ImagesOption,
    RecipeOption,
    choose_device,
    report_epoch,
    resumable,
    warn_left_out,
)
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
    from training.data_flags import DataFlags
    from training.detection import measure_photos
    from training.evaluate import evaluate as measure
    from training.evaluate import find_head_specs
    from training.manifest import VALIDATION
    from training.report import HTML, check_report_folder, report_evaluation, write_report

    flags = DataFlags(data, votes, manifest, images, exclude)
    flags.check()
    if report:
        check_report_folder(report, bundle)
    if photos and detector == "none":
        raise ConfigError("--photos: faces must be found in them; add --detector mtcnn or haar.")
    loaded = load_bundle(bundle)
    finder = build_detector(detector)
    read = measure_photos(loaded, finder, photos, get_taxonomy(taxonomy)) if photos else None
    channels = 1 if loaded.crop.grey else 3
    measured = VALIDATION if data else part
    (faces,) = flags.load(find_head_specs(loaded), channels, measured)
    warn_left_out(flags.count_left_out(find_head_specs(loaded), measured))
    command = f"python -m training evaluate --bundle {_name_place(bundle)} {flags.describe()}"
    if not data:
        command += f" --part {part}"
    if photos:
        command += f" --photos {_name_place(photos)}"
        if taxonomy != "korean5":
            command += f" --taxonomy {taxonomy}"
    if detector != "none":
        command += f" --detector {detector}"
    trained = flags.list_trained_persons(loaded)
    evaluation, answers = measure(
        loaded,
        faces,
        flags.name(part),
        cross_fitted=is_fitted_on(loaded, faces, measured),
        trained_persons=trained,
        detector=finder,
        photos=read,
    )
    if trained is None:
        typer.echo(
            "warning: whether the bundle, or one behind it, has learned any of these people is not "
            "known",
            err=True,
        )
    elif shared := max(head.shared_persons or 0 for head in evaluation.heads):
        typer.echo(f"warning: {shared} people stand in the training part too", err=True)
    today = datetime.now(UTC).date()
    write_card(loaded, evaluation, today, command)
    typer.echo((bundle / CARD).read_text(encoding="utf-8"))
    if report:
        told = report_evaluation(loaded, evaluation, answers, flags.folder, today, command)
        write_report(told, report)
        typer.echo(f"report written to {report / HTML}; it shows faces of the data", err=True)


def _name_place(place: Path) -> str:
    """A card names no place of one machine."""
    return place.name if place.is_absolute() else str(place)


@report_app.command()
def crossval(
    manifest: cli_data.ManifestOption,
    images: cli_data.ImagesOption,
    out: Annotated[Path, typer.Option(help="Folder of the runs; unfinished ones there go on.")],
    recipe: RecipeOption,
    exclude: ExcludeOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Train by a recipe once without each fold, and report what is answered to those held out."""
    from training.crossval import Folds, answer_fold, check_recipe, pool_folds, report_folds
    from training.files import check_folder
    from training.recipe import load_recipe
    from training.report import HTML, write_report

    config = load_recipe(recipe)
    check_recipe(config)
    check_folder(out)
    chosen = choose_device(device)
    folds = Folds.read(manifest, images, exclude)
    if shared := folds.list_shared_persons():
        typer.echo(
            f"warning: {len(shared)} people stand in several folds; the figures will flatter.",
            err=True,
        )
    warn_left_out(folds.count_left_out(config.head_specs))
    answered = []
    with resumable():
        for fold in range(folds.count):
            typer.echo(f"fold {fold} of {folds.count} held out")
            run = out / f"fold-{fold}"
            answered.append(answer_fold(folds, fold, config, run, chosen, report_epoch))
    figures, answers = pool_folds(folds, answered)
    name = Path(recipe).stem
    command = f"python -m training crossval --manifest MANIFEST --images IMAGES --recipe {name}"
    if exclude:
        command += " --exclude EXCLUDE"
    today = datetime.now(UTC).date()
    write_report(report_folds(folds, figures, answers, name, today, command), out / "report")
    for taxonomy, mean in figures.means.items():
        spread = figures.deviations[taxonomy]
        typer.echo(f"{taxonomy}: {mean:.2%} ± {spread:.2%} over {folds.count} folds")
    typer.echo(f"report written to {out / 'report' / HTML}; it shows faces of the data", err=True)
