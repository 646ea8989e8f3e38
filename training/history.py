"""What a run leaves behind beside its weights: a row per epoch, curves, and what it ran on."""

import csv
import dataclasses
import json
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Self

import torch
from torch.utils.tensorboard import SummaryWriter

from kfer.files import replacing
from training.distributed import Processes
from training.errors import CheckpointError
from training.files import replace_text

PACKAGES = ("numpy", "pillow", "timm", "torch", "torchvision")
EPOCHS, CURVES, ENVIRONMENT = "epochs.csv", "tensorboard", "environment.json"


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; accuracies of the averaged weights by head, on validation, 0-1."""

    epoch: int
    loss: float
    learning_rate: float
    accuracies: dict[str, float]
    seconds: float

    @property
    def score(self) -> float:
        """What the best checkpoint is chosen by: the mean of all heads' accuracies."""
        return sum(self.accuracies.values()) / len(self.accuracies)

    def flat(self) -> dict[str, float]:
        """A row of epochs.csv."""
        fields = dataclasses.asdict(self)
        accuracies = fields.pop("accuracies")
        seconds = fields.pop("seconds")
        return {**fields, **accuracies, "seconds": seconds}


class History:
    """The epochs so far, as a table and as TensorBoard's curves.

    Both are written anew when a run goes on, so that they tell what its checkpoint knows.
    """

    def __init__(self, out: Path, epochs: Sequence[Epoch]) -> None:
        self.epochs: list[Epoch] = []
        self._table = out / EPOCHS
        shutil.rmtree(out / CURVES, ignore_errors=True)
        self._curves = SummaryWriter(out / CURVES)
        for epoch in epochs:
            self._draw(epoch)
        self.epochs.extend(epochs)
        self._write_table()

    def append(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        self._write_table()
        self._draw(epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._curves.close()

    def _draw(self, epoch: Epoch) -> None:
        self._curves.add_scalar("loss/train", epoch.loss, epoch.epoch)
        self._curves.add_scalar("learning rate", epoch.learning_rate, epoch.epoch)
        for head, accuracy in epoch.accuracies.items():
            self._curves.add_scalar(f"accuracy/{head}", accuracy, epoch.epoch)
        self._curves.flush()

    def _write_table(self) -> None:
        rows = [epoch.flat() for epoch in self.epochs]
        with replacing(self._table) as target, target.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["epoch"])
            writer.writeheader()
            writer.writerows(rows)


def note_environment(out: Path, device: torch.device, processes: Processes, done: int) -> None:
    """Add to ``out/environment.json`` what the epochs after ``done`` run on.

    Raises CheckpointError when the file there is damaged.
    """
    path = out / ENVIRONMENT
    try:
        starts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        starts = [start for start in starts if start["after_epoch"] < done]
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); move it away.") from None
    cuda = device.type == "cuda"
    starts.append(
        {
            "after_epoch": done,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": find_commit(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
            "cuda": torch.version.cuda if cuda else None,
            "threads": torch.get_num_threads(),
            "processes": processes.count,
        }
    )
    replace_text(path, json.dumps(starts, indent=2))


def find_commit() -> str | None:
    """Of this program, marked where it was changed since; None where it was not cloned."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
