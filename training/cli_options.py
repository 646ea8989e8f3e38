"""What several commands take, choose and print."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.errors import ConfigError
from training.torchrun import find_local_rank

if TYPE_CHECKING:
    import torch

    from training.history import Epoch

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="FER2013 in the Kaggle layout: train/ and test/ folders."),
]
CropsOption = Annotated[
    Path | None, typer.Option("--manifest", help="Instead: crops with their parts, of `split`.")
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="The folder that the manifest's paths are in.")
]
RecipeOption = Annotated[str, typer.Option(help="A name in training/recipes, or a .toml file.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]


def choose_device(name: str) -> "torch.device":
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: unknown; allowed are cpu, cuda and auto.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch sees no GPU here; use cpu or auto.")
    if name == "cpu":
        return torch.device(name)
    # torchrun gives every process on a machine a GPU of its own.
    place, gpus = find_local_rank(), torch.cuda.device_count()
    if place >= gpus:
        raise ConfigError(
            f"--device cuda: process {place + 1} of this machine finds {gpus} GPUs; give torchrun "
            f"--nproc-per-node {gpus}, and let every process see all of them."
        )
    return torch.device(name, place)


def describe_device(device: "torch.device") -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def report_epoch(epoch: "Epoch") -> None:
    accuracies = "  ".join(f"{name} {value:.4f}" for name, value in epoch.accuracies.items())
    typer.echo(
        f"epoch {epoch.epoch:3d}  loss {epoch.loss:.4f}  rate {epoch.learning_rate:.2e}  "
        f"{accuracies}  {epoch.seconds:.0f} s"
    )


def warn_shared(why: str | None) -> None:
    """Says why figures will flatter, if they will."""
    if why:
        typer.echo(f"warning: {why}", err=True)


def warn_left_out(counts: Mapping[str, int]) -> None:
    """Says which pictures nothing is learned or measured of, if any."""
    if counts:
        told = ", ".join(f"{count} {label}" for label, count in counts.items())
        typer.echo(f"warning: left out, for no head has their labels or votes: {told}", err=True)


@contextmanager
def resumable() -> Iterator[None]:
    """Says what an interrupt of a run means."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on after the last whole epoch", err=True)
        raise
