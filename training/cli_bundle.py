"""``python -m training explain`` and ``publish``: what becomes of a trained bundle."""

from pathlib import Path
from typing import Annotated

import typer

from training.cli_data import ExcludeOption, ImagesOption, ManifestOption, leave_out
from training.config import MOST_SEED
from training.errors import ConfigError

bundle_app = typer.Typer()


@bundle_app.command()
def explain(
    manifest: ManifestOption,
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    units: Annotated[
        Path | None, typer.Option(help="CSV: a row per picture, a column per action unit.")
    ] = None,
    openface_dir: Annotated[
        Path | None, typer.Option(help="Folder for OpenFace 2: pictures by emotion, its results.")
    ] = None,
    prepare: Annotated[
        bool, typer.Option(help="Fill --openface-dir and print the lines that run OpenFace 2.")
    ] = False,
    images: ImagesOption = Path(),
    exclude: ExcludeOption = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Explain this model's answers instead of the labels.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="Finds the faces for --bundle; none where pictures are crops.")
    ] = "none",
    taxonomy: Annotated[str, typer.Option(help="Whose labels the manifest has.")] = "aihub7",
    rendered: Annotated[
        bool, typer.Option(help="The faces are rendered: page and card say so.")
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Of the folds and of the intervals.")
    ] = 0,
) -> None:
    """Action units -> emotions: coefficients with intervals, and each picture's contributions."""
    from kfer.bundle import load_bundle
    from kfer.labels import get_taxonomy
    from training.action_units import (
        describe_commands,
        join_units,
        lay_out,
        merge_openface,
        read_units,
    )
    from training.card import update_card
    from training.explain_au import describe, explain_labels, explain_network, write_explanation
    from training.files import check_folder
    from training.manifest import read_manifest

    if bool(units) == bool(openface_dir):
        raise ConfigError("--units and --openface-dir: give one of them.")
    check_folder(out)
    table = leave_out(read_manifest(manifest), exclude)
    if openface_dir and prepare:
        typer.echo(f"{lay_out(table, images, openface_dir)} pictures in {openface_dir}", err=True)
        typer.echo("\n".join(describe_commands(openface_dir)))
        return
    scores = read_units(units) if units else merge_openface(table, openface_dir or Path())
    known, intensities = join_units(table, scores)
    wanted = get_taxonomy(taxonomy)
    if bundle:
        surrogate = explain_network(
            load_bundle(bundle), known, intensities, wanted, images, detector, rendered, seed
        )
    else:
        surrogate = explain_labels(known, intensities, wanted, rendered, seed)
    write_explanation(surrogate, known, intensities, out, bundle)
    if bundle:
        update_card(bundle, surrogate)
    typer.echo(describe(surrogate))
    if len(known) < len(table):
        typer.echo(f"{len(table) - len(known)} pictures have no action units", err=True)
    if surrogate.pictures < len(known):
        typer.echo(
            f"{len(known) - surrogate.pictures} pictures were left out: the network gives their "
            "answers on too few people to explain them",
            err=True,
        )


@bundle_app.command()
def publish(
    bundle: Annotated[Path, typer.Option(help="The bundle, with the card that evaluate wrote.")],
    repo: Annotated[str, typer.Option(help="OWNER/NAME on the Hugging Face Hub.")],
    out: Annotated[Path, typer.Option(help="Folder for what goes up.")],
    license: Annotated[str, typer.Option(help="The Hub's name of the licence.")] = "mit",
    data_terms: Annotated[
        str | None, typer.Option(help="On what terms the data may be used, for the card.")
    ] = None,
    private: Annotated[bool, typer.Option(help="For your eyes only.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else it is only shown.")] = False,
) -> None:
    """Make a Hugging Face Hub repository this bundle and read it back; without --yes, only show."""
    from kfer.bundle import load_bundle
    from training.publish import compare, find_surplus, prepare, push

    publication = prepare(load_bundle(bundle), out, repo, license, data_terms, private)
    typer.echo(publication.describe())
    for name in find_surplus(publication):
        typer.echo(f"{name:20} {'removed':>12}")
    if not yes:
        typer.echo("nothing was sent; add --yes to do it", err=True)
        return
    commit = push(publication)
    difference = compare(publication, commit)
    typer.echo(f"hf-hub:{repo}@{commit}: comes back, logits differ by {difference:g} at most")
