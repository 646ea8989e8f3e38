"""The training story: faces in memory -> batches -> steps -> EMA -> checkpoint -> best weights."""

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from training.augment import augment, mix
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import LABEL, TrainConfig
from training.dataset import FaceSet, iterate_batches, to_tensor, transform_faces
from training.errors import CheckpointError, ConfigError, DataError, DivergedError
from training.files import replace_text
from training.network import (
    MEAN,
    STD,
    build_model,
    build_pretrained_cfg,
    check_outputs,
    describe_error,
    load_start,
    predict_logits,
)
from training.sharpness import move_to_worst

Teach = Callable[[Tensor], Sequence[Tensor]]  # see distill.Teachers


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


def train(
    config: TrainConfig,
    faces: FaceSet,
    validation: FaceSet,
    out: Path,
    device: torch.device,
    report: Callable[[Epoch], None],
    *,
    teachers: Teach | None = None,
    start: Mapping[str, Tensor] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Train, or go on with the run in ``out``; returns the path of the best weights.

    ``teachers`` answer to every batch, and the targets take the share ``config.distillation`` of
    it; ``start`` are weights to begin with; ``origin`` says where both come from, and stays with
    the weights.

    ``out`` gets config.json, epochs.csv, last.pt (to go on from) and best.pt (averaged weights).
    Every epoch draws from a generator seeded by (seed, epoch), so that a resumed run repeats an
    uninterrupted one, wherever that was interrupted.

    Raises:
        ConfigError, DataError, CheckpointError, DivergedError.
    """
    _check_faces(config, faces, validation)
    check_teaching(config, teachers is not None)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    run = Run(config, len(faces), device, start, teachers)
    targets = build_targets(config, faces)
    settings = json.loads(config.to_json())
    last, best = out / "last.pt", out / "best.pt"
    history = run.load(load_checkpoint(last, settings), last) if last.exists() else []
    if history and not best.exists():
        raise CheckpointError(
            f"{best} is missing, though {last.name} stands beside it; bring it back, or name "
            "another --out folder to begin again."
        )
    replace_text(out / "config.json", config.to_json())
    _write_history(out / "epochs.csv", history)
    images = transform_faces(validation, build_pretrained_cfg(config))
    pixels = to_tensor(faces.pixels).to(device)
    for epoch in range(len(history), config.epochs):
        started = time.monotonic()
        loss = run.train_epoch(pixels, targets, epoch)
        accuracies = _score(predict_logits(run.average, images, device), validation, config)
        seconds = time.monotonic() - started
        result = Epoch(epoch + 1, loss, run.rate(epoch + 1.0), accuracies, seconds)
        if result.score > max((past.score for past in history), default=-1.0):
            save_checkpoint(
                best,
                {
                    "config": settings,
                    "epoch": epoch + 1,
                    "model": run.average.state_dict(),
                    "origin": origin,
                },
            )
        history.append(result)
        save_checkpoint(last, {"config": settings, **run.state(history)})
        _write_history(out / "epochs.csv", history)
        report(result)
    return best


def check_teaching(config: TrainConfig, taught: bool) -> None:
    """Raises ConfigError when the recipe asks for teachers and there are none, or conversely."""
    if taught != (config.distillation > 0):
        raise ConfigError(
            f"The recipe's distillation is {config.distillation}, and there is "
            f"{'a' if taught else 'no'} --teacher; give both or neither."
        )


def build_targets(config: TrainConfig, faces: FaceSet) -> list[Tensor]:
    """Distributions to learn, (n, classes) for each head; labels are smoothed, votes are not.

    Rows of zeros are pictures of which the head learns nothing: raters saw no emotion, say.
    """
    targets = []
    for spec in config.head_specs:
        target = torch.from_numpy(faces.labels[spec.taxonomy.name].targets)
        if spec.source == LABEL:
            known = target.sum(dim=1, keepdim=True)
            smoothing = config.label_smoothing
            target = target * (1 - smoothing) + known * smoothing / target.shape[1]
        targets.append(target)
    return targets


def blend(targets: Sequence[Tensor], taught: Sequence[Tensor], share: float) -> list[Tensor]:
    """Targets of which ``share`` is what teachers say; they do not fill missing ones."""
    # A row sums to less than 1 where a picture without a target is mixed in.
    return [
        target.lerp(answer * target.sum(dim=1, keepdim=True), share)
        for target, answer in zip(targets, taught, strict=True)
    ]


class Run:
    """The mutable state of a run: network, averaged network and optimiser."""

    def __init__(
        self,
        config: TrainConfig,
        n_faces: int,
        device: torch.device,
        start: Mapping[str, Tensor] | None,
        teachers: Teach | None,
    ) -> None:
        self.config = config
        self.teachers = teachers
        self.device = device
        self.steps_per_epoch = n_faces // config.batch_size
        if self.steps_per_epoch == 0:
            raise ConfigError(
                f"batch_size {config.batch_size} is more than the {n_faces} training pictures; "
                "lower it in the recipe."
            )
        model = build_model(config, pretrained=config.pretrained and start is None)
        check_outputs(model, config)
        if start is not None:
            load_start(model, start, config)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=True)
        self.optimizer = create_optimizer_v2(
            self.model,
            opt=self.config.optimizer,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.updates = 0

    @property
    def average(self) -> nn.Module:
        network: nn.Module = self.ema.module
        return network

    def rate(self, epochs_done: float) -> float:
        """Learning rate: linear warm-up, then a cosine down to 0."""
        config = self.config
        if epochs_done < config.warmup_epochs:
            return config.learning_rate * epochs_done / config.warmup_epochs
        share = (epochs_done - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
        return config.learning_rate * (1 + math.cos(math.pi * share)) / 2

    def train_epoch(self, pixels: Tensor, targets: Sequence[Tensor], epoch: int) -> float:
        """Mean loss of the epoch. Raises DivergedError when it, or a weight, is not a number."""
        config = self.config.at_epoch(epoch)
        seed = config.seed * 100_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout takes no generator
        everything = [target.to(self.device) for target in targets]
        self.model.train()
        total = torch.zeros((), device=self.device)
        batches = iterate_batches(len(pixels), config.batch_size, generator)
        for step, chosen in enumerate(batches):
            chosen = chosen.to(self.device)
            images = augment(pixels[chosen].float().div_(255), config, generator)
            images, wanted = mix(
                images, [target[chosen] for target in everything], config, generator
            )
            if self.teachers:
                wanted = blend(wanted, self.teachers(images), config.distillation)
            rate = self.rate(epoch + (step + 1) / self.steps_per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self._step((images - MEAN) / STD, wanted)
            total += loss
        mean = float(total) / self.steps_per_epoch
        if not (math.isfinite(mean) and self._is_finite()):
            left = "the checkpoint before it still stands" if epoch else "nothing was saved"
            raise DivergedError(
                f"The run diverged in epoch {epoch + 1} (mean loss {mean}); {left}. Lower "
                f"learning_rate (now {self.config.learning_rate}) in the recipe and name another "
                "--out folder."
            )
        return mean

    def _is_finite(self) -> bool:
        """The last step can spoil the weights after a loss that was still a number."""
        return all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values())

    def _step(self, images: Tensor, targets: Sequence[Tensor]) -> Tensor:
        loss = self._backward(images, targets)
        if self.config.sam_rho:
            with move_to_worst(self.model, self.config.sam_rho):
                self._backward(images, targets)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.updates += 1
        self.ema.update(self.model, step=self.updates)
        return loss

    def _backward(self, images: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """The loss, summed over heads, with its gradients left in the weights."""
        with self._autocast():
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
        answers = logits.float().split([target.shape[1] for target in targets], dim=1)
        loss = torch.stack(
            [
                F.cross_entropy(answer, target)
                for answer, target in zip(answers, targets, strict=True)
            ]
        ).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def state(self, history: list[Epoch]) -> dict[str, Any]:
        return {
            "history": [dataclasses.asdict(epoch) for epoch in history],
            "updates": self.updates,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any], path: Path) -> list[Epoch]:
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.updates = state["updates"]
            return [Epoch(**epoch) for epoch in state["history"]]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: its state does not fit architecture {self.config.architecture!r} "
                f"({describe_error(error)}); name another --out folder."
            ) from error


def _check_faces(config: TrainConfig, faces: FaceSet, validation: FaceSet) -> None:
    """Raises ConfigError where network and pictures differ in colour, DataError for a head that
    nothing can be learned of, or that cannot be scored.
    """
    channels = to_tensor(faces.pixels[:1]).shape[1]
    if channels != config.channels:
        raise ConfigError(
            f"model_args: in_chans is {config.channels}, and the pictures have {channels}: "
            f"{'grey' if channels == 1 else 'colour'}."
        )
    for spec in config.head_specs:
        name = spec.taxonomy.name
        if name not in faces.labels or name not in validation.labels:
            raise DataError(
                f"heads: the data has no labels for {name}; it has {', '.join(faces.labels)}."
            )
        if not (faces.labels[name].targets > 0).any():
            raise DataError(f"No training picture has a label for head {name}.")
        if not (validation.labels[name].truths >= 0).any():
            raise DataError(
                f"No validation picture has a label, or a clear plurality of votes, for head "
                f"{name}, so it cannot be scored."
            )


def _score(logits: Tensor, faces: FaceSet, config: TrainConfig) -> dict[str, float]:
    """Accuracy of every head. Twins of held-out pictures have no say in which weights are best."""
    accuracies = {}
    for spec in config.head_specs:
        truths = faces.labels[spec.taxonomy.name].truths
        counted = ~faces.twin_of_held_out & (truths >= 0)
        answers = logits[:, spec.start : spec.stop].argmax(1).numpy()
        accuracies[spec.taxonomy.name] = float(np.mean((answers == truths)[counted]))
    return accuracies


def _write_history(path: Path, history: list[Epoch]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        rows = [epoch.flat() for epoch in history]
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["epoch"])
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)
