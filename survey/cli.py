"""``python -m survey ...``: image sets and studies, for the researcher.

The one survey module that may bring in the recogniser; nothing heavy is imported for ``--help``.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfer.labels import TAXONOMIES, get_taxonomy
from survey.cli_studies import Name, studies_app
from survey.console import Errors, get_stderr, get_study, now, open_engine

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from kfer.labels import Taxonomy
    from survey.image_sets import Report
    from survey.records import ModelVersion, StudyRecord

app = typer.Typer(
    help="Run studies in which people label faces: image sets, studies, frozen predictions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(studies_app, name="studies")

TaxonomyName = StrEnum("TaxonomyName", {name: name for name in TAXONOMIES})  # type: ignore[misc]
KOREAN5 = TaxonomyName("korean5")
SHOWN = 10  # pictures left out that the report names one by one


class Visibility(StrEnum):
    public = "public"
    private = "private"


@app.command("import")
def import_(
    name: Name,
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder per emotion, a folder with manifest.csv (filename, label, person), "
            "or a zip of either."
        ),
    ],
    visibility: Annotated[Visibility, typer.Option(help="Which of the two sets they belong to.")],
    taxonomy: Annotated[TaxonomyName, typer.Option(help="The labels.")] = KOREAN5,
    exclude: Annotated[
        Path | None, typer.Option(help="Text file of pictures to leave out, one path per line.")
    ] = None,
    face: Annotated[bool, typer.Option("--face", help="Show the face alone, cut out.")] = False,
    grey: Annotated[bool, typer.Option("--grey", help="Show them in grey.")] = False,
    size: Annotated[int, typer.Option(help="Side of the square they are shown in, px.")] = 384,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only.")] = False,
) -> None:
    """Check a set of labelled pictures, say what is in it, and import it."""
    from survey.database import transaction
    from survey.image_sets import Presentation, import_set, prepare, reject_taken
    from survey.sources import list_entries

    with Errors():
        engine = open_engine()
        if not dry_run:
            with transaction(engine, writes=False) as session:
                reject_taken(session, name)
        labels = get_taxonomy(taxonomy)
        presentation = Presentation(size, grey, face)
        excluded = _read_lines(exclude) if exclude else set()
        entries = list_entries(source, labels)
        with typer.progressbar(length=len(entries), label="pictures", file=get_stderr()) as bar:

            def advance(items: Any) -> Any:
                for item in items:
                    yield item
                    bar.update(1)

            report = prepare(
                entries, presentation, excluded, _build_cropper() if face else None, advance
            )
        _print_report(report, visibility, labels.name, engine)
        if dry_run:
            typer.echo("Nothing was written (--dry-run).")
            return
        import_set(engine, name, visibility, labels, presentation, report.prepared, now())
        typer.echo(f"Imported {len(report.prepared)} pictures as {name!r} ({visibility}).")


@app.command()
def freeze(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="Only its images; default: all of the taxonomy."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            envvar="KFER_MODEL",
            help="A model folder, hf-hub:owner/name[@revision], or a .csv of another system's "
            "predictions on a study's images.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What to call the system of a .csv; default: the file's name."),
    ] = None,
    taxonomy: Annotated[
        TaxonomyName, typer.Option(help="Of the sets, where no study is named.")
    ] = KOREAN5,
) -> None:
    """Store a model's answers for every image that has none of it yet."""
    from survey.records import find_mapping

    with Errors():
        engine = open_engine()
        record = get_study(engine, study) if study else None
        labels = record.definition.labels if record else get_taxonomy(taxonomy)
        if model and model.endswith(".csv"):
            from survey.outside_models import freeze_file

            if record is None:
                raise typer.BadParameter("a .csv belongs to a study: freeze STUDY --model FILE.csv")
            version, done = freeze_file(engine, Path(model), name, record, now())
        else:
            if name:
                raise typer.BadParameter("--name is for a .csv; a model has its own name")
            version, done = _freeze_model(engine, model, labels, record)
        typer.echo(f"{version.identity}: {done} predictions frozen.")
        mapping = find_mapping(version.source, labels)
        if mapping:
            typer.echo(mapping.describe())


@app.command("images")
def hand_out_images(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The study.")],
    out: Annotated[Path, typer.Option(help="A folder that does not exist yet.")],
) -> None:
    """Write a study's images, and a CSV to fill in, for a system that KFER cannot load.

    Keep them as closely as the originals: participants must not see them before they answer.
    """
    from survey.outside_models import hand_out

    with Errors():
        engine = open_engine()
        count = hand_out(engine, get_study(engine, study), out)
        typer.echo(f"{count} images and predictions.csv in {out}.")


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study.")],
    out: Annotated[Path, typer.Option(help="Where answers go: a .csv or .parquet file.")],
    version: Annotated[
        int | None, typer.Option(help="Of the study; default: the latest version.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Practice, repeats and attention images, too.")
    ] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="Where the models' frozen answers go: .csv or .parquet.")
    ] = None,
) -> None:
    """Write every answer of a study as a row; docs/study.md says what the columns mean."""
    from survey import store, studies
    from survey.database import transaction
    from survey.export import check_suffix, save_table, tabulate_predictions, tabulate_responses

    with Errors():
        for path in filter(None, (out, predictions)):
            check_suffix(path)
        with transaction(open_engine(), writes=False) as session:
            study = studies.get_study(session, name, version)
            responses = store.list_responses(session, study)
            flags = store.list_flags(session, study)
            answers = studies.list_model_answers(session, study)
            images = studies.list_study_images(session, study, "main")
        chosen = [each for each in responses if every or each.phase == "main"]
        save_table(tabulate_responses(study, chosen, flags), out)
        people = len({response.participation_id for response in chosen})
        flagged = len({each.participation_id for each in chosen} & set(flags))
        typer.echo(
            f"{study.name}, version {study.version}: {len(chosen)} responses of {people} "
            f"participants, {flagged} of them flagged, in {out}."
        )
        if predictions:
            save_table(tabulate_predictions(study, answers, images), predictions)
            typer.echo(f"{len(answers)} frozen predictions in {predictions}.")


class Format(StrEnum):
    html = "html"
    pdf = "pdf"


class Language(StrEnum):
    ko = "ko"
    en = "en"


@app.command()
def report(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The study.")],
    output: Annotated[Path, typer.Option(help="Where the report goes.")],
    kind: Annotated[
        Format, typer.Option("--format", help="pdf needs an installed Chromium.")
    ] = Format.html,
    language: Annotated[Language, typer.Option(help="Of the report.")] = Language.ko,
    version: Annotated[
        int | None, typer.Option(help="Of the study; default: the latest version.")
    ] = None,
    filters: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="What is looked at, as the endpoint /comparison has it: docs/study.md.",
        ),
    ] = None,
) -> None:
    """Write the whole comparison as one file that needs no server and no network."""
    from survey.charts.look import Words
    from survey.comparison import build_filters, compare_study, read_study
    from survey.export import save_file
    from survey.report import build_report, print_pdf

    with Errors():
        data = read_study(open_engine(), study, version)
        chosen = build_filters(_read_json(filters), data)
        comparison = compare_study(data, chosen, may_see_all=True)
        html = build_report(comparison, Words(language), now())
        if kind is Format.pdf:
            print_pdf(html, output)
        else:
            save_file(html.encode(), output)
        typer.echo(f"{study}: {comparison.people} participants, in {output}.")


@app.command()
def withdraw(
    who: Annotated[
        str,
        typer.Argument(
            metavar="CODE", help="The participant's code, or name in exports (the column subj)."
        ),
    ],
) -> None:
    """Delete every row of one participant."""
    from survey import participation
    from survey.records import is_participant

    delete = participation.withdraw_named if is_participant(who) else participation.withdraw
    with Errors():
        typer.echo(f"{delete(open_engine(), who)} rows deleted.")


def _freeze_model(
    engine: "Engine", reference: str | None, labels: "Taxonomy", study: "StudyRecord | None"
) -> "tuple[ModelVersion, int]":
    from kfer.recognizer import Recognizer, locate_bundle
    from survey.freeze import freeze as freeze_images
    from survey.records import ModelVersion

    def advance(starts: Any) -> Any:
        with typer.progressbar(starts, label="pictures", file=get_stderr()) as bar:
            yield from bar

    bundle = locate_bundle(reference)
    source = bundle.get_head(labels).taxonomy.name
    version = ModelVersion(bundle.name, bundle.revision, source)
    predict = Recognizer([bundle]).predict
    return version, freeze_images(engine, predict, version, labels, now(), advance, study)


def _read_json(text: str | None) -> Any:
    from survey.errors import StudyError

    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise StudyError(
            f'--filters is not JSON ({error}); write it as \'{{"leave_out": ["too_fast"]}}\'.'
        ) from None


def _read_lines(path: Path) -> set[str]:
    from survey.errors import ImageSetError
    from survey.sources import normalize

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageSetError(f"--exclude {path}: cannot be read ({error}).") from None
    return {normalize(line.strip()) for line in lines if line.strip() and line[0] != "#"}


def _build_cropper() -> Any:
    from kfer.faces import CropSpec, build_detector, crop_face, detect_faces

    detector = build_detector("mtcnn")
    spec = CropSpec(margin=0.3, size=512, grey=False, align=False)

    def crop(image: Any) -> Any:
        faces = detect_faces(detector, image) if detector else []
        largest = max(faces, key=lambda face: face.area, default=None)
        return None if largest is None else crop_face(image, largest, spec)

    return crop


def _print_report(report: "Report", visibility: str, taxonomy: str, engine: "Engine") -> None:
    from survey import studies
    from survey.database import transaction
    from survey.records import StudyDefinition
    from survey.sampling import describe_shortage

    typer.echo(f"{len(report.prepared)} pictures can be imported.")
    for label, count in sorted(report.by_label.items()):
        typer.echo(f"  {label}\t{count}")
    if report.by_person:
        counts = report.by_person.values()
        typer.echo(f"  of {len(counts)} persons, {min(counts)} to {max(counts)} pictures each")
    if report.left_out:
        typer.echo(f"{len(report.left_out)} stay out:")
        for path, reason in report.left_out[:SHOWN]:
            typer.echo(f"  {path}: {reason}")
        if len(report.left_out) > SHOWN:
            typer.echo(f"  and {len(report.left_out) - SHOWN} more")
    texts = {"en": "-"}
    usual = StudyDefinition(title=texts, consent=texts, taxonomy=taxonomy)
    with transaction(engine, writes=False) as session:
        others = studies.list_candidates(session, taxonomy)
    shortage = report.find_shortage(visibility, others, usual)
    if shortage:
        typer.echo(f"A balanced study of {usual.size} still lacks: {describe_shortage(shortage)}.")
    else:
        typer.echo(f"A balanced study of {usual.size} is possible.")


def main() -> None:
    app()
