"""``python -m survey ...``: image sets and studies, for the researcher.

The one survey module that may bring in the recogniser; nothing heavy is imported for ``--help``.
"""

import os
import tomllib
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfer.errors import KferError
from kfer.labels import TAXONOMIES, get_taxonomy

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from survey.image_sets import Report

app = typer.Typer(
    help="Run studies in which people label faces: image sets, studies, frozen predictions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
studies_app = typer.Typer(help="List, create and close studies.", no_args_is_help=True)
app.add_typer(studies_app, name="studies")

TaxonomyName = StrEnum("TaxonomyName", {name: name for name in TAXONOMIES})  # type: ignore[misc]
KOREAN5 = TaxonomyName("korean5")
SHOWN = 10  # pictures left out that the report names one by one


class Visibility(StrEnum):
    public = "public"
    private = "private"


Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice.")]


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
    from survey.image_sets import Presentation, import_set, prepare
    from survey.sources import list_entries

    with _Errors():
        labels = get_taxonomy(taxonomy)
        presentation = Presentation(size, grey, face)
        excluded = _read_lines(exclude) if exclude else set()
        entries = list_entries(source, labels)
        with typer.progressbar(length=len(entries), label="pictures", file=_stderr()) as bar:

            def advance(items: Any) -> Any:
                for item in items:
                    yield item
                    bar.update(1)

            report = prepare(
                entries, presentation, excluded, _build_cropper() if face else None, advance
            )
        engine = _open_engine()
        _print_report(report, visibility, labels.name, engine)
        if dry_run:
            typer.echo("Nothing was written (--dry-run).")
            return
        import_set(engine, name, visibility, labels, presentation, report.prepared, _now())
        typer.echo(f"Imported {len(report.prepared)} pictures as {name!r} ({visibility}).")


@studies_app.command("list")
def list_studies() -> None:
    """Every version of every study, and how many have finished it."""
    from survey import store, studies
    from survey.database import transaction

    with _Errors(), transaction(_open_engine(), writes=False) as session:
        for study in studies.list_studies(session):
            state = f"closed {study.closed_at:%Y-%m-%d}" if study.closed_at else "open"
            finished = len(store.list_scores(session, study))
            typer.echo(
                f"{study.name}\tversion {study.version}\t{study.definition.taxonomy}\t"
                f"{study.definition.size} images\t{state}\t{finished} finished"
            )


@studies_app.command("create")
def create_study(
    name: Name,
    definition: Annotated[
        Path, typer.Option(help="TOML file: title, consent, taxonomy, size, public_share ...")
    ],
    practice: Annotated[
        str | None, typer.Option(help="Image set for practice; none of its images is in the study.")
    ] = None,
    attention: Annotated[
        str | None, typer.Option(help="Image set whose every image is an attention check.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Image sets to draw from; default: all.")
    ] = None,
) -> None:
    """Draw a balanced choice of images and open the study; of a known name, a new version."""
    from survey import studies
    from survey.database import transaction
    from survey.records import build_definition
    from survey.sampling import choose_images, choose_practice, plan_counts

    with _Errors():
        read = build_definition(_read_toml(definition), definition.name)
        with transaction(_open_engine()) as session:

            def list_images(names: list[str] | None) -> Any:
                for set_name in names or []:
                    if not studies.has_image_set(session, set_name):
                        raise typer.BadParameter(f"there is no image set {set_name!r}")
                return studies.list_candidates(session, read.taxonomy, names)

            checks = list_images([attention]) if attention else []
            warm_up = list_images([practice]) if practice else []
            if not practice and read.practice:
                raise typer.BadParameter("--practice names the set that practice images come from")
            aside = {image.id for image in [*checks, *warm_up]}
            pool = [image for image in list_images(sets) if image.id not in aside]
            chosen = {
                "main": choose_images(pool, plan_counts(read), read.seed),
                "practice": choose_practice(warm_up, read.practice, read.seed),
                "attention": checks,
            }
            ids = {phase: [image.id for image in images] for phase, images in chosen.items()}
            study = studies.add_study(session, name, read, ids, _now())
        typer.echo(f"{study.name}: version {study.version} is open, {read.size} images.")


@studies_app.command("close")
def close_study(name: Name) -> None:
    """Nobody can start or go on any more; answers are kept."""
    from survey import studies
    from survey.database import transaction

    with _Errors(), transaction(_open_engine()) as session:
        study = studies.get_study(session, name)
        studies.close_study(session, study, _now())
        typer.echo(f"{name}: version {study.version} is closed.")


@app.command()
def freeze(
    model: Annotated[
        str | None,
        typer.Option(envvar="KFER_MODEL", help="A model folder or hf-hub:owner/name[@revision]."),
    ] = None,
    taxonomy: Annotated[TaxonomyName, typer.Option(help="Of the sets.")] = KOREAN5,
) -> None:
    """Store a model's answers for every image that has none of it yet."""
    from survey.freeze import freeze as freeze_images

    with _Errors():
        engine = _open_engine()
        from kfer.recognizer import Recognizer, locate_bundle

        bundle = locate_bundle(model)
        recognizer = Recognizer([bundle])

        def advance(starts: Any) -> Any:
            with typer.progressbar(starts, label="pictures", file=_stderr()) as bar:
                yield from bar

        labels = get_taxonomy(taxonomy)
        done = freeze_images(
            engine, recognizer.predict, bundle.name, bundle.revision, labels, _now(), advance
        )
        typer.echo(f"{bundle.identity}: {done} predictions frozen.")


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

    with _Errors():
        for path in filter(None, (out, predictions)):
            check_suffix(path)
        with transaction(_open_engine(), writes=False) as session:
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


@app.command()
def withdraw(
    code: Annotated[str, typer.Argument(metavar="CODE", help="The participant's code.")],
) -> None:
    """Delete every row of one participant."""
    from survey.participation import withdraw as delete

    with _Errors():
        typer.echo(f"{delete(_open_engine(), code)} rows deleted.")


class _Errors:
    """Turns what is the input's fault into one line and exit status 1."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KferError):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None


def _now() -> datetime:
    return datetime.now(UTC)


def _stderr() -> Any:
    return typer.get_text_stream("stderr")


def _open_engine() -> "Engine":
    from survey.database import locate_database, open_database

    data_dir = Path(os.environ.get("KFER_DATA_DIR") or "data")
    return open_database(locate_database(os.environ.get("KFER_DATABASE_URL"), data_dir))


def _read_toml(path: Path) -> dict[str, Any]:
    from survey.errors import StudyError

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"{path}: cannot be read as TOML ({error}).") from None


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
