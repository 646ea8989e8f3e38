"""The training story: faces in memory -> batches -> steps -> EMA -> checkpoint -> best weights."""

import csv
import dataclasses
import json
import math
import textwrap
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from training.augment import augment, mix
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.dataset import FER7, FERPLUS8, FaceSet, iterate_batches, transform_faces
from training.errors import CheckpointError, ConfigError, DataError, DivergedError
from training.sharpness import move_to_worst

Teach = Callable[[Tensor], tuple[Tensor, Tensor]]  # see distill.Teachers
MEAN, STD = 0.5, 0.25  # grey level and spread that the network sees as 0 and 1
EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; accuracies of the averaged weights on validation, 0-1."""

    epoch: int
    loss: float
    learning_rate: float
    fer7: float
    ferplus8: float
    seconds: float

    @property
    def score(self) -> float:
        """What the best checkpoint is chosen by: the mean of both heads' accuracies."""
        return (self.fer7 + self.ferplus8) / 2


def build_pretrained_cfg(config: TrainConfig) -> dict[str, Any]:
    """The preprocessing that stands in the bundle and that training's evaluation uses."""
    return {
        "input_size": (1, config.input_size, config.input_size),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": (MEAN,),
        "std": (STD,),
    }


def build_model(config: TrainConfig, *, pretrained: bool = False) -> nn.Module:
    """The network, with random weights, or with those that timm loads from the Hub (or its cache).

    Raises ConfigError when timm cannot build it, or has no such weights, or cannot reach them.
    """
    try:
        model: nn.Module = timm.create_model(
            config.architecture, pretrained=pretrained, **config.model_args
        )
    except Exception as error:  # networks raise many types for arguments that do not suit them
        raise ConfigError(
            f"timm cannot build architecture {config.architecture!r} with model_args "
            f"{dict(config.model_args)}{' with its pretrained weights' if pretrained else ''}: "
            f"{describe_error(error)}."
        ) from error
    return model


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
    if not (validation.plurality >= 0).any():
        raise DataError(
            "--votes: no validation picture has a clear plurality of raters for an emotion, so the "
            "ferplus8 head cannot be scored."
        )
    check_teaching(config, teachers is not None)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    run = _Run(config, len(faces), device, start, teachers)
    targets = build_targets(config, faces)
    settings = json.loads(config.to_json())
    last, best = out / "last.pt", out / "best.pt"
    history = run.load(load_checkpoint(last, settings), last) if last.exists() else []
    if history and not best.exists():
        raise CheckpointError(
            f"{best} is missing, though {last.name} stands beside it; bring it back, or name "
            "another --out folder to begin again."
        )
    _replace_text(out / "config.json", config.to_json())
    _write_history(out / "epochs.csv", history)
    images = transform_faces(validation, build_pretrained_cfg(config))
    pixels = torch.from_numpy(faces.pixels)[:, None].to(device)
    for epoch in range(len(history), config.epochs):
        started = time.monotonic()
        loss = run.train_epoch(pixels, targets, epoch)
        fer7, ferplus8 = _score(predict_logits(run.average, images, device), validation)
        result = Epoch(
            epoch + 1, loss, run.rate(epoch + 1.0), fer7, ferplus8, time.monotonic() - started
        )
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


def build_targets(config: TrainConfig, faces: FaceSet) -> tuple[Tensor, Tensor]:
    """Distributions to learn, (n, 7) and (n, 8): the labels, smoothed, and the raters' votes.

    Rows of zeros in the votes are pictures whose raters saw no emotion.
    """
    hard = F.one_hot(torch.from_numpy(faces.fer7), len(FER7.labels)).float()
    hard = hard * (1 - config.label_smoothing) + config.label_smoothing / len(FER7.labels)
    return hard, torch.from_numpy(faces.votes)


def blend(
    hard: Tensor, soft: Tensor, taught: tuple[Tensor, Tensor], share: float
) -> tuple[Tensor, Tensor]:
    """Targets of which ``share`` is what teachers say; they do not fill missing votes."""
    usable = soft.sum(dim=1, keepdim=True)  # below 1 where a picture without votes is mixed in
    return hard.lerp(taught[0], share), soft.lerp(taught[1] * usable, share)


def predict_logits(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """(n, outputs) float32 logits in evaluation mode, without autocast."""
    model.eval()
    with torch.inference_mode():
        return torch.cat(
            [
                model(batch.to(device, memory_format=torch.channels_last)).float().cpu()
                for batch in images.split(EVALUATION_BATCH)
            ]
        )


class _Run:
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
        _check_outputs(model, config)
        if start is not None:
            _load_start(model, start, config)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=True)
        self.optimizer = create_optimizer_v2(
            self.model,
            opt="adamw",
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

    def train_epoch(self, pixels: Tensor, targets: tuple[Tensor, Tensor], epoch: int) -> float:
        """Mean loss of the epoch. Raises DivergedError when it, or a weight, is not a number."""
        config = self.config.at_epoch(epoch)
        seed = config.seed * 100_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout takes no generator
        fer7, ferplus8 = (target.to(self.device) for target in targets)
        self.model.train()
        total = torch.zeros((), device=self.device)
        batches = iterate_batches(len(pixels), config.batch_size, generator)
        for step, chosen in enumerate(batches):
            chosen = chosen.to(self.device)
            images = augment(pixels[chosen].float().div_(255), config, generator)
            images, (hard, soft) = mix(images, [fer7[chosen], ferplus8[chosen]], config, generator)
            if self.teachers:
                hard, soft = blend(hard, soft, self.teachers(images), config.distillation)
            rate = self.rate(epoch + (step + 1) / self.steps_per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self._step((images - MEAN) / STD, hard, soft)
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

    def _step(self, images: Tensor, hard: Tensor, soft: Tensor) -> Tensor:
        loss = self._backward(images, hard, soft)
        if self.config.sam_rho:
            with move_to_worst(self.model, self.config.sam_rho):
                self._backward(images, hard, soft)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.updates += 1
        self.ema.update(self.model, step=self.updates)
        return loss

    def _backward(self, images: Tensor, hard: Tensor, soft: Tensor) -> Tensor:
        """The loss, with its gradients left in the weights."""
        with self._autocast():
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
        logits = logits.float()
        split = len(FER7.labels)
        # Rows of zeros are pictures whose raters saw no emotion: they add nothing to the second.
        loss = F.cross_entropy(logits[:, :split], hard)
        loss = loss + F.cross_entropy(logits[:, split:], soft)
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


def _load_start(model: nn.Module, start: Mapping[str, Tensor], config: TrainConfig) -> None:
    try:
        model.load_state_dict(dict(start))
    except RuntimeError as error:
        raise ConfigError(
            f"--start: its weights do not fit architecture {config.architecture!r} with model_args "
            f"{dict(config.model_args)} ({describe_error(error)})."
        ) from error


def _check_outputs(model: nn.Module, config: TrainConfig) -> None:
    """Raises ConfigError unless the network turns a grey face into one logit per label."""
    given = f"architecture {config.architecture!r} with model_args {dict(config.model_args)}"
    face = torch.zeros(1, 1, config.input_size, config.input_size)
    try:
        with torch.inference_mode():
            shape = tuple(model.eval()(face).shape)
    except Exception as error:  # as many types as there are networks
        raise ConfigError(
            f"{given} cannot read grey pictures (in_chans = 1) of input_size "
            f"{config.input_size}: {describe_error(error)}."
        ) from error
    labels = len(FER7.labels) + len(FERPLUS8.labels)
    if shape != (1, labels):
        raise ConfigError(
            f"{given} answers with shape {shape}; it needs num_classes = {labels}: "
            f"{len(FER7.labels)} fer7 and {len(FERPLUS8.labels)} ferplus8 labels."
        )


def describe_error(error: Exception) -> str:
    """Kind and message on one line: PyTorch's can run over pages."""
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}"


def _score(logits: Tensor, faces: FaceSet) -> tuple[float, float]:
    """Both heads' accuracies. Twins of held-out pictures have no say in which weights are best."""
    split = len(FER7.labels)
    own = ~faces.twin_of_held_out
    fer7 = (logits[:, :split].argmax(1).numpy() == faces.fer7)[own]
    clear = own & (faces.plurality >= 0)
    ferplus8 = logits[:, split:].argmax(1).numpy()[clear] == faces.plurality[clear]
    return float(np.mean(fer7)), float(np.mean(ferplus8))


def _write_history(path: Path, history: list[Epoch]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Epoch)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(epoch) for epoch in history)
    temporary.replace(path)


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
