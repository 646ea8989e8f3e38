"""The mean of several runs' weights, as one run: it costs nothing when faces are read.

Works for runs that began with the same weights (``train --start``), or one with another's: their
ends lie in one valley, whose middle is better than its rim (Izmailov et al. 2018, "Averaging
Weights Leads to Wider Optima"; Wortsman et al. 2022, "Model soups").
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kfer.bundle import CONFIG, WEIGHTS
from training.checkpoint import BEST, LAST, SETTINGS, load_checkpoint, save_checkpoint
from training.config import TrainConfig, build_config
from training.distill import load_parent, read_start
from training.errors import CheckpointError, ConfigError
from training.files import replace_text
from training.origin import LEARNED, describe_bundle, merge_learned, read_training


@dataclass(frozen=True)
class Mean:
    """Mixed weights, with where they come from, as ``best.pt`` holds them; the first's settings."""

    config: TrainConfig
    state: dict[str, Any]

    def save(self, out: Path) -> Path:
        """Write ``best.pt``, whose path comes back, and ``config.json`` to ``out``."""
        out.mkdir(parents=True, exist_ok=True)
        replace_text(out / SETTINGS, self.config.to_json())
        save_checkpoint(out / BEST, self.state)
        return out / BEST


def mix_runs(
    runs: Sequence[Path], shares: Sequence[float], out: Path, target: Path | None = None
) -> Mean:
    """The mean of runs, which neither ``out`` nor ``target``, of its bundle, may write over.

    Each of the ``runs`` is a run's folder or its bundle; ``shares`` say how much of the mean it is,
    and need not sum to 1. The mean is shown pictures of the size that the first run was shown.
    Raises ConfigError, CheckpointError or, for a bundle that cannot be used, DataError.
    """
    if len(runs) < 2:
        raise ConfigError(f"--run: needs two runs or more, but got {len(runs)}.")
    if len(shares) != len(runs) or not all(math.isfinite(each) and each > 0 for each in shares):
        raise ConfigError(
            f"--share: needs a number above 0 for each of the {len(runs)} runs, or none at all; "
            f"got {', '.join(f'{share:g}' for share in shares)}."
        )
    check_kept(runs, out, target, "one of the runs")
    if (out / WEIGHTS).exists() or (out / LAST).exists():
        raise ConfigError(
            f"--out {out}: holds a bundle or a training run, which would be written over; name "
            "another folder."
        )
    found = [_read_run(run) for run in runs]
    configs, states = [config for config, _ in found], [state for _, state in found]
    for run, config, state in zip(runs, configs, states, strict=True):
        _check_heads(run, config, configs[0])
        _check_shapes(run, state["model"], states[0]["model"])
    parts = [
        {
            "settings": config.to_dict(),
            "origin": state.get("origin"),
            "averaged": state.get("averaged"),
            "bundle": state.get("bundle"),
            "epoch": state["epoch"],
            "share": float(share),
        }
        for config, state, share in zip(configs, states, shares, strict=True)
    ]
    state = {
        "config": configs[0].to_dict(),
        "epoch": states[0]["epoch"],
        "model": average([state["model"] for state in states], shares),
        "averaged": parts,
        "learned": merge_learned([state.get("learned") or {} for state in states]),
    }
    return Mean(configs[0], state)


def average(weights: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Running statistics too; counters are those of the first."""
    total = sum(shares)

    def mix(name: str) -> Tensor:
        first = weights[0][name]
        if not first.is_floating_point():
            return first
        terms = [each[name] * (share / total) for each, share in zip(weights, shares, strict=True)]
        return sum(terms[1:], terms[0])

    return {name: mix(name) for name in weights[0]}


def check_kept(kept: Sequence[Path], out: Path, target: Path | None, what: str) -> None:
    """What is averaged, or learned from, must still be there afterwards. Raises ConfigError."""
    for folder in kept:
        for flag, place in (("--out", out), ("--bundle", target)):
            if place and _overlap(place.resolve(), folder.resolve()):
                raise ConfigError(
                    f"{flag} {place}: is {what}, {folder}, or lies in it, or holds it, and would "
                    "be written over; name another folder."
                )


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _check_heads(run: Path, config: TrainConfig, first: TrainConfig) -> None:
    if config.heads != first.heads:
        raise ConfigError(
            f"--run {run}: its heads are {', '.join(config.heads)}, the first run's "
            f"{', '.join(first.heads)}; only runs with the same labels can be averaged."
        )


def _check_shapes(run: Path, weights: Mapping[str, Tensor], first: Mapping[str, Tensor]) -> None:
    """The settings may differ: the size of the pictures, say, or the rate of dropout."""
    for name in sorted({*weights, *first}):
        shapes = [tuple(each[name].shape) if name in each else None for each in (weights, first)]
        if shapes[0] != shapes[1]:
            raise ConfigError(
                f"--run {run}: its {name} has shape {shapes[0]}, the first run's {shapes[1]}; only "
                "runs of one network can be averaged."
            )


def _read_run(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """The settings of a run and its best weights, with where they come from."""
    if (folder / WEIGHTS).exists():
        return _read_bundle(folder)
    path = folder / SETTINGS
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"--run {folder}: {path.name} cannot be read ({error}).") from None
    config = build_config(settings, str(path))
    return config, load_checkpoint(folder / BEST, config.to_dict())


def _read_bundle(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    bundle = load_parent(folder, "--run")
    training = read_training(bundle)
    if "settings" not in training:
        raise ConfigError(
            f"--run {folder}: this bundle does not say how it was trained; give bundles that "
            "`train` or `average` wrote, or run folders."
        )
    config = build_config(training["settings"], str(folder / CONFIG))
    state = {
        "model": read_start(bundle, config.head_specs),
        "origin": training.get("origin"),
        "averaged": training.get("averaged"),
        "bundle": describe_bundle(bundle),
        "learned": {key: training[key] for key in LEARNED if key in training},
        "epoch": training["best_epoch"],
    }
    return config, state
