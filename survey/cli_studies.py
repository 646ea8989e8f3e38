"""``python -m survey studies ...``"""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from survey.console import Errors, now, open_engine

if TYPE_CHECKING:
    from survey.records import Candidate

studies_app = typer.Typer(help="List, create, close and tidy studies.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of your choice.")]


@studies_app.command("list")
def list_studies() -> None:
    """Every version of every study, and how many have finished it."""
    from survey import store, studies
    from survey.database import transaction

    with Errors(), transaction(open_engine(), writes=False) as session:
        listed = studies.list_studies(session)
        if not listed:
            typer.echo("There is no study yet; see: python -m survey studies create --help")
        for study in listed:
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
        list[str] | None,
        typer.Option("--set", help="Image sets to draw from; default: all but the demo's."),
    ] = None,
) -> None:
    """Draw a balanced choice of images and open the study; of a known name, a new version."""
    from survey import studies
    from survey.database import transaction
    from survey.records import build_definition
    from survey.sampling import (
        choose_images,
        choose_practice,
        plan_counts,
        require_different,
    )

    with Errors():
        read = build_definition(_read_toml(definition), definition.name)
        with transaction(open_engine()) as session:

            def list_images(names: list[str] | None) -> "list[Candidate]":
                for set_name in names or []:
                    taxonomy = studies.find_taxonomy(session, set_name)
                    if taxonomy is None:
                        raise typer.BadParameter(f"there is no image set {set_name!r}")
                    if taxonomy != read.taxonomy:
                        raise typer.BadParameter(
                            f"image set {set_name!r} has labels of {taxonomy}, and the study needs "
                            f"{read.taxonomy}; import it again with --taxonomy {read.taxonomy}"
                        )
                return studies.list_candidates(session, read.taxonomy, names)

            checks = list_images([attention]) if attention else []
            told = {image.pixels_sha256 for image in checks}  # practice tells the answers
            warm_up = list_images([practice]) if practice else []
            warm_up = [image for image in warm_up if image.pixels_sha256 not in told]
            if not practice and read.practice:
                raise typer.BadParameter("--practice names the set that practice images come from")
            if practice and practice == attention:
                raise typer.BadParameter("--practice and --attention need sets of their own")
            # By pixels: the same picture may stand in several sets.
            aside = {image.pixels_sha256 for image in [*checks, *warm_up]}
            pool = [image for image in list_images(sets) if image.pixels_sha256 not in aside]
            require_different(pool)
            chosen = {
                "main": choose_images(pool, plan_counts(read), read.seed),
                "practice": choose_practice(warm_up, read.practice, read.seed),
                "attention": checks,
            }
            ids = {phase: [image.id for image in images] for phase, images in chosen.items()}
            study = studies.add_study(session, name, read, ids, now())
        typer.echo(f"{study.name}: version {study.version} is open, {read.size} images.")


@studies_app.command("close")
def close_study(name: Name) -> None:
    """Nobody can start or go on any more; answers are kept."""
    from survey import studies
    from survey.database import transaction

    with Errors(), transaction(open_engine()) as session:
        for version in studies.close_study(session, name, now()):
            typer.echo(f"{name}: version {version} is closed.")


@studies_app.command("tidy")
def tidy_study(name: Name) -> None:
    """Delete who began, answered nothing, and has not been there for a day."""
    from survey import participation

    with Errors():
        before = now() - timedelta(days=1)
        count = participation.withdraw_unanswered(open_engine(), name, before)
        typer.echo(f"{count} participations without an answer deleted.")


def _read_toml(path: Path) -> dict[str, Any]:
    from survey.errors import StudyError

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"{path}: cannot be read as TOML ({error}).") from None
