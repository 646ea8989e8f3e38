"""The folder of a run: its state is saved and loaded there, so that it goes on where it stopped.

Tensors and plain values only: loaded with ``weights_only``, never unpickled.
"""

import errno
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from kfer.files import replacing
from training.config import fill_defaults
from training.errors import CheckpointError
from training.files import check_folder
from training.origin import name_parents

# In a run's folder: the best averaged weights, what a run goes on from, its recipe's settings.
BEST, LAST, SETTINGS = "best.pt", "last.pt", "config.json"
LOCK = ".lock"


@contextmanager
def claim_run(out: Path) -> Iterator[None]:
    """The run's folder, made if need be, for one process at a time.

    Raises CheckpointError where another one is at it, ConfigError where a file stands in the way.
    """
    check_folder(out)
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
        with replacing(path) as target, target.open("wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:
        # torch stumbles over what a full disk has left; the disk's own reason is the error before.
        first = error if isinstance(error, OSError) else error.__context__
        reason = (first.strerror or first) if isinstance(first, OSError) else error
        stands = "; the older one still stands" if path.exists() else ""
        raise CheckpointError(
            f"{path}: the checkpoint could not be written ({reason}){stands}. Free some space, or "
            "let the folder be written to, and start the same command again."
        ) from error


def load_checkpoint(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Raises CheckpointError for a file that is damaged or cannot be read, or of other settings."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        settings = dict(state["config"])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: is missing; the run has not finished an epoch.") from None
    except Exception as error:  # torch raises a different type for every kind of damage
        # Of the disk or the machine; but where a file is cut short, torch seeks before its start.
        if isinstance(error, OSError | MemoryError) and error.args[:1] != (errno.EINVAL,):
            raise CheckpointError(
                f"{path}: cannot be read now ({str(error) or type(error).__name__}); nothing was "
                "changed. Start the same command again."
            ) from error
        raise CheckpointError(
            # Not PyTorch's own words: they advise to unpickle what cannot be trusted.
            f"{path}: damaged, or not a checkpoint of this program ({type(error).__name__}); bring "
            f"a whole copy back, name another --out folder, or delete {path.parent} to begin anew."
        ) from error
    saved = fill_defaults(settings)
    changed = [
        f"{key} was {saved.get(key)!r}, is {config[key]!r}"
        for key in sorted(config)
        if saved.get(key) != config[key]
    ]
    if changed:
        raise CheckpointError(
            f"{path}: belongs to a run with other settings ({'; '.join(changed)}); "
            "name another --out folder or the recipe that it was begun with."
        )
    return state


def read_state(out: Path, beginning: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the run in ``out`` goes on from, if anything; its best weights are whole too.

    Raises CheckpointError, also for a run that did not begin with ``beginning``.
    """
    last, best = out / LAST, out / BEST
    if not last.exists():
        if best.exists():
            _check_alone(best, beginning)
        return None
    state = load_checkpoint(last, beginning["config"])
    same_data = state.get("data") == beginning["data"]
    same_parents = name_parents(state.get("origin")) == name_parents(beginning["origin"])
    for same, what in (
        (same_data, "pictures or labels"),
        (same_parents, "--teacher or --start bundles"),
    ):
        if not same:
            raise CheckpointError(
                f"{last}: was begun with other {what}; name another --out folder, or give those "
                "that it was begun with."
            )
    if not best.exists():
        raise CheckpointError(
            f"{best} is missing, though {last.name} stands beside it; bring it back, name another "
            f"--out folder, or delete {out} to begin anew."
        )
    load_checkpoint(best, beginning["config"])  # its damage would show after all epochs only
    return state


def _check_alone(best: Path, beginning: Mapping[str, Any]) -> None:
    """Best weights without a state: of a run that was interrupted as it first wrote, or to be kept.

    Raises CheckpointError for the latter.
    """
    found = load_checkpoint(best, beginning["config"])
    if found.get("data") != beginning["data"]:
        raise CheckpointError(
            f"{best}: is the mean of other runs, or of another run; name another --out folder."
        )
    if found["epoch"] > 1:
        raise CheckpointError(
            f"{best}: is of epoch {found['epoch']} and would be written over, for {LAST} is "
            f"missing; bring that back, name another --out folder, or delete {best.parent} to "
            "begin anew."
        )
