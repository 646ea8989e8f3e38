"""The folder of a run: its state is saved and loaded there, so that it goes on where it stopped.

Tensors and plain values only: loaded with ``weights_only``, never unpickled.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from kfer.files import replacing
from training.config import fill_defaults
from training.errors import CheckpointError

# In a run's folder: the best averaged weights, what a run goes on from, its recipe's settings.
BEST, LAST, SETTINGS = "best.pt", "last.pt", "config.json"
LOCK = ".lock"


@contextmanager
def claim_run(out: Path) -> Iterator[None]:
    """The run's folder, made if need be, for one process at a time.

    Raises CheckpointError where another one is at it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK, fallback_to_soft=False)
    claim: AbstractContextManager[object]
    try:
        claim = lock.acquire(timeout=0)
    except Timeout:
        raise CheckpointError(
            f"--out {out}: another process is training there; wait for it, or name another folder."
        ) from None
    except (OSError, NotImplementedError):
        # A file system without locks, or where nothing can be written: a run that is done.
        claim = nullcontext()
    with claim:
        yield


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside, then replace: an interrupt or a full disk leaves the older file whole."""
    try:
        with replacing(path) as target:
            torch.save(state, target)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise CheckpointError(
            f"{path}: the checkpoint could not be written ({error}); the older one still stands. "
            "Free some space and start the same command again."
        ) from error


def load_checkpoint(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Raises CheckpointError for a file that is damaged or cannot be read, or of other settings."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        settings = dict(state["config"])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: is missing; the run has not finished an epoch.") from None
    except (OSError, MemoryError) as error:  # of the disk or the machine, not of the file
        raise CheckpointError(
            f"{path}: cannot be read now ({str(error) or type(error).__name__}); nothing was "
            "changed. Start the same command again."
        ) from error
    except Exception as error:  # torch raises a different type for every kind of damage
        raise CheckpointError(
            # Not PyTorch's own words: they advise to unpickle what cannot be trusted.
            f"{path}: not a checkpoint of this program ({type(error).__name__}); move it away or "
            "name another --out folder."
        ) from error
    saved = fill_defaults(settings)
    changed = sorted(key for key in config if saved.get(key) != config[key])
    if changed:
        raise CheckpointError(
            f"{path}: belongs to a run with other settings ({', '.join(changed)}); "
            "name another --out folder or the recipe that it was begun with."
        )
    return state
