"""``python -m training COMMAND``: from labelled photos to a model bundle.

    python -m training train --recipe kfer-teacher --data fer2013 --votes ferplus_votes.csv \\
        --exclude exclude_from_training.csv --out runs/kfer-teacher
    python -m training evaluate --bundle models/kfer-default --data fer2013 --votes ...
"""

import errno
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from kfer.errors import KferError
from training.cli_bundle import bundle_app
from training.cli_data import ExcludeOption, VotesOption, data_app
from training.cli_options import (
    CropsOption,
    DataOption,
    DeviceOption,
    ImagesOption,
    RecipeOption,
    choose_device,
    describe_device,
    report_epoch,
    resumable,
    warn_left_out,
    warn_shared,
)
from training.cli_report import report_app
from training.errors import ConfigError
from training.torchrun import count_processes, is_first

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    help="Train and measure KFER's models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _refuse_processes(context: typer.Context) -> None:
    """Raises ConfigError under torchrun, for what would be done several times over."""
    command = context.invoked_subcommand
    if command != "train" and count_processes() > 1:
        raise ConfigError(
            f"{command}: is no work for several processes; only `train` goes with torchrun."
        )


app.add_typer(data_app)
app.add_typer(report_app)
app.add_typer(bundle_app)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run there goes on.")],
    data: DataOption = None,
    votes: VotesOption = None,
    manifest: CropsOption = None,
    images: ImagesOption = None,
    exclude: ExcludeOption = None,
    recipe: RecipeOption = "kfer-teacher",
    bundle: Annotated[
        Path | None, typer.Option(help="Where the bundle goes; default: OUT/bundle.")
    ] = None,
    device: DeviceOption = "auto",
    teacher: Annotated[
        list[Path] | None, typer.Option(help="A bundle to learn from; may be given several times.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="A bundle whose weights to begin with.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Let torch.compile make the steps faster.")
    ] = False,
) -> None:
    """Train by a recipe, then write the bundle with its temperatures fitted on validation.

    Under torchrun all processes share every batch of the recipe.
    """
    import torch
    from joblib import cpu_count

    from training.average import check_kept
    from training.checkpoint import claim_run
    from training.data_flags import DataFlags
    from training.distill import Teachers, load_parent, read_start
    from training.distributed import join_processes
    from training.export import export_bundle
    from training.loop import check_parents
    from training.loop import train as run
    from training.manifest import TRAIN, VALIDATION
    from training.origin import describe_origin
    from training.recipe import load_recipe

    # What cannot be done is said now, not after hours.
    config = load_recipe(recipe)
    flags = DataFlags(data, votes, manifest, images, exclude)
    flags.check()
    target = _find_target(out, bundle)
    parents = [*(teacher or ()), *([start] if start else ())]
    chosen = choose_device(device)
    check_parents(config, taught=bool(teacher), started=bool(start), whole=_name_whole(recipe))
    check_kept(parents, out, target, "a --teacher or --start bundle")
    bundles = [load_parent(folder, "--teacher") for folder in teacher or ()]
    taxonomies = [spec.taxonomy for spec in config.head_specs]
    teachers = Teachers(bundles, taxonomies, chosen, bf16=config.bf16) if bundles else None
    first = load_parent(start, "--start") if start else None
    faces, validation = flags.load(config.head_specs, config.channels, TRAIN, VALIDATION)
    with claim_run(out) if is_first() else nullcontext():
        with join_processes(chosen) as processes:
            if processes.first:
                warn_shared(flags.find_shared_persons())
                warn_left_out(flags.count_left_out(config.head_specs, TRAIN, VALIDATION))
                typer.echo(
                    f"{len(faces)} training and {len(validation)} validation pictures, on "
                    f"{describe_device(chosen)} ({processes.count} processes)"
                )
            with resumable():
                best = run(
                    config, faces, validation, out, chosen, report_epoch,
                    teachers=teachers,
                    start=read_start(first, config.head_specs) if first else None,
                    origin=describe_origin(bundles, first),
                    learned=flags.describe_training(),
                    processes=processes,
                    compiled=compiled,
                )  # fmt: skip
        if processes.first:  # which the others, and their GPUs, need not wait for
            if processes.count > 1:  # torchrun leaves one thread to each
                torch.set_num_threads(cpu_count())
            export_bundle(config, best, validation, target)
            typer.echo(f"bundle written to {target}")


def _find_target(out: Path, bundle: Path | None) -> Path:
    """Where the bundle of the run goes. Raises ConfigError where either cannot be written."""
    from kfer.bundle import OF_A_RUN
    from training.export import check_target
    from training.files import check_folder

    target = bundle or out / OF_A_RUN
    check_folder(out)
    check_target(target)
    if out.resolve().is_relative_to(target.resolve()):
        raise ConfigError(f"--bundle {target}: --out {out} is in it; name another folder.")
    return target


def _name_whole(recipe: str) -> str:
    """The command that runs all steps of a recipe, if it has some."""
    from training.recipe import read_recipe

    return (
        f"python -m training reproduce {shlex.quote(recipe)}" if read_recipe(recipe).about else ""
    )


@app.command()
def average(
    run: Annotated[
        list[Path],
        typer.Option(help="Run folder or bundle; give two or more, begun with the same weights."),
    ],
    out: Annotated[Path, typer.Option(help="Run folder of the mean.")],
    data: DataOption = None,
    votes: VotesOption = None,
    manifest: CropsOption = None,
    images: ImagesOption = None,
    exclude: ExcludeOption = None,
    share: Annotated[
        list[float] | None, typer.Option(help="Of each run in the mean; default: all the same.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Where the bundle goes; default: OUT/bundle.")
    ] = None,
) -> None:
    """Write the mean of several runs' weights as a bundle, its temperatures fitted anew."""
    from training.average import mix_runs
    from training.data_flags import DataFlags
    from training.export import export_bundle
    from training.manifest import VALIDATION

    flags = DataFlags(data, votes, manifest, images, exclude)
    flags.check()
    target = _find_target(out, bundle)
    mean = mix_runs(run, share or [1.0] * len(run), out, target)
    (validation,) = flags.load(mean.config.head_specs, mean.config.channels, VALIDATION)
    export_bundle(mean.config, mean.save(out), validation, target)
    typer.echo(f"bundle written to {target}")


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this one's steps and settings.")] = None,
) -> None:
    """List the systems that can be trained, those of others with the figure to compare with."""
    from training.recipe import list_recipes, read_recipe

    if name is None:
        for recipe in list_recipes():
            network = recipe.config.architecture if recipe.config else "no network"
            typer.echo(f"{recipe.name:<28}{network}")
            if recipe.about:
                typer.echo(f"    {recipe.about.system}; to compare with: {recipe.about.figure}")
        return
    recipe = read_recipe(name)
    if recipe.about:
        typer.echo(f"{recipe.about.system}\nto compare with: {recipe.about.figure}\n")
        for step in recipe.about.steps:
            typer.echo(f"python -m training {step}")
        typer.echo()
    if recipe.config:
        typer.echo(recipe.config.to_json())


@app.command()
def reproduce(
    recipe: Annotated[str, typer.Argument(help="A name in training/recipes.")],
) -> None:
    """Run all steps of a recipe, in the folder that holds what they name.

    The same command goes on where it was interrupted.
    """
    from training.recipe import read_recipe

    about = read_recipe(recipe).about
    if about is None:
        raise ConfigError(f"{recipe}: has no steps; `train --recipe {recipe}` trains it.")
    for number, step in enumerate(about.steps, start=1):
        typer.echo(f"[{number}/{len(about.steps)}] python -m training {step}")
        status = app(shlex.split(step), standalone_mode=False)
        if status and step.startswith("download "):
            typer.echo("warning: going on without the files that could not be fetched", err=True)
        elif status:
            raise typer.Exit(status)


def _describe(error: OSError) -> str:
    """The file, what happened to it, and what to do."""
    if not (error.filename and error.strerror):
        return str(error)
    advice = "See that the path is right and open to you, then start the same command again."
    if error.errno in FULL:
        advice = "Free some space and start the same command again: a run goes on where it stopped."
    elif isinstance(error, FileExistsError | NotADirectoryError):
        advice = "A file stands where a folder should be: name another place."
    return f"{os.fsdecode(error.filename)}: {error.strerror}. {advice}"


def main() -> None:
    """Exit status: 0 done, 1 the work failed, 2 a flag or a recipe asks for what cannot be."""
    try:
        app()
    except KferError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except OSError as error:
        typer.echo(f"error: {_describe(error)}", err=True)
        sys.exit(1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported yet
            raise
        typer.echo(
            f"error: the GPU's memory is full ({str(error).splitlines()[0]}); lower batch_size or "
            "input_size in the recipe, or add --device cpu.",
            err=True,
        )
        sys.exit(1)
