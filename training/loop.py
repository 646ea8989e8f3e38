"""The training story: faces in memory -> batches -> steps -> EMA -> checkpoint -> best weights."""

import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.optim import create_optimizer_v2
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from training.augment import augment, build_rand_augment, mix
from training.checkpoint import BEST, LAST, SETTINGS, read_state, save_checkpoint
from training.config import TrainConfig
from training.distributed import ALONE, Draws, Processes
from training.errors import CheckpointError, ConfigError, DataError, DivergedError
from training.face_set import FaceSet, iterate_batches, place, to_tensor, transform_faces
from training.files import replace_text
from training.history import Epoch, History, note_environment
from training.losses import Balance, blend, build_balance, build_targets, compute_loss
from training.network import (
    MEAN,
    STD,
    build_model,
    build_pretrained_cfg,
    check_outputs,
    describe_error,
    freeze_features,
    load_start,
    predict_logits,
)
from training.sharpness import move_to_worst

Teach = Callable[[Tensor], Sequence[Tensor]]  # see distill.Teachers

_log = logging.getLogger(__name__)


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
    learned: Mapping[str, Any] | None = None,
    processes: Processes = ALONE,
    compiled: bool = False,
) -> Path:
    """Train, or go on with the run in ``out``; returns the path of the best weights.

    ``teachers`` answer to every batch, as it is before bad light, JPEG, blur and noise spoil it,
    and the targets take the share ``config.distillation`` of that; ``start`` are weights to begin
    with; ``origin`` says where both come from, ``learned`` what ``faces`` are of; both stay
    with the weights. ``compiled``: the network's steps go through ``torch.compile``.

    ``out`` gets config.json, environment.json, epochs.csv, tensorboard/, last.pt (to go on from)
    and best.pt (averaged weights), all written by the first of the ``processes``.
    Every epoch draws from a generator seeded by (seed, epoch), so that a resumed run repeats an
    uninterrupted one, wherever that was interrupted.

    Raises:
        ConfigError, DataError, CheckpointError, DivergedError.
    """
    _check_faces(config, faces, validation)
    check_parents(config, taught=teachers is not None, started=start is not None)
    if processes.first:
        _warn_of_untaught(config, faces)
    processes.check_batch(config.batch_size)
    if config.rand_augment:
        build_rand_augment(config.rand_augment, config.channels)
    torch.manual_seed(config.seed)
    torch.backends.cudnn.deterministic = True  # a resumed run is to repeat an uninterrupted one
    run = Run(config, len(faces), device, start, teachers, processes, compiled)
    targets, balance = build_targets(config, faces), build_balance(config, faces)
    beginning = {
        "config": config.to_dict(),
        "data": _hash_faces(config, faces, validation),
        "origin": origin,
        "learned": learned,
    }
    last, best = out / LAST, out / BEST
    epochs: list[Epoch] = []
    if state := processes.broadcast(read_state(out, beginning) if processes.first else None):
        epochs = run.load(state, last)
    history = _open_history(config, out, epochs, device, processes)
    mine = np.arange(len(validation)) % processes.count == processes.rank
    images = transform_faces(validation.chosen(mine), build_pretrained_cfg(config))
    pixels = place(to_tensor(faces.pixels), device)
    with history or nullcontext():
        for epoch in range(len(epochs), config.epochs):
            started = time.monotonic()
            loss = run.train_epoch(pixels, targets, balance, epoch)
            accuracies = _score(run.predict(images, len(validation)), validation, config)
            seconds = time.monotonic() - started
            result = Epoch(epoch + 1, loss, run.rate(epoch + 1.0), accuracies, seconds)
            improved = result.score > max((past.score for past in epochs), default=-1.0)
            epochs.append(result)
            if history:
                if improved:
                    weights = run.average.state_dict()
                    save_checkpoint(best, {**beginning, "epoch": epoch + 1, "model": weights})
                history.append(result)
                # Last: a run that is done has nothing left to write.
                save_checkpoint(last, {**beginning, **run.state(epochs)})
                report(result)
    return best


def _hash_faces(config: TrainConfig, *parts: FaceSet) -> str:
    """Of all that a run learns from and chooses by."""
    digest = hashlib.sha256()
    for faces in parts:
        digest.update(np.ascontiguousarray(faces.pixels).data)
        digest.update(np.ascontiguousarray(faces.twin_of_held_out).data)
        for spec in config.head_specs:
            labels = faces.labels[spec.taxonomy.name]
            digest.update(np.ascontiguousarray(labels.targets).data)
            digest.update(np.ascontiguousarray(labels.truths).data)
    return digest.hexdigest()


def _open_history(
    config: TrainConfig,
    out: Path,
    epochs: Sequence[Epoch],
    device: torch.device,
    processes: Processes,
) -> History | None:
    """In the process that writes, unless the run is done; what it is goes to its folder."""
    if not processes.first or len(epochs) == config.epochs:
        return None
    out.mkdir(parents=True, exist_ok=True)
    replace_text(out / SETTINGS, config.to_json())
    note_environment(out, device, processes, len(epochs))
    return History(out, epochs)


def check_parents(config: TrainConfig, *, taught: bool, started: bool, whole: str = "") -> None:
    """Raises ConfigError when the recipe asks for teachers and there are none, or conversely.

    Also where only a classifier is to be learned, of nothing. ``whole`` is the command that makes
    the teachers too, if there is one.
    """
    if taught != (config.distillation > 0):
        instead = f", or run: {whole}" if whole and not taught else "."
        raise ConfigError(
            f"The recipe's distillation is {config.distillation}, and there is "
            f"{'a' if taught else 'no'} --teacher; give both or neither{instead}"
        )
    if config.linear_probe and not (config.pretrained or started):
        raise ConfigError(
            "The recipe's linear_probe learns the classifier alone, and what comes before it would "
            "stay random; set pretrained = true in it, or give a bundle by --start."
        )


class Run:
    """The mutable state of a run: network, averaged network and optimiser."""

    def __init__(
        self,
        config: TrainConfig,
        n_faces: int,
        device: torch.device,
        start: Mapping[str, Tensor] | None = None,
        teachers: Teach | None = None,
        processes: Processes = ALONE,
        compiled: bool = False,
    ) -> None:
        self.config = config
        self.teachers = teachers
        self.device = device
        self.processes = processes
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
        if config.linear_probe:
            freeze_features(model)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        wrapped = processes.wrap(self.model)
        self.network = torch.compile(wrapped) if compiled else wrapped
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

    def predict(self, mine: Tensor, count: int) -> Tensor:
        """Logits of the averaged weights on ``count`` pictures, of which these are its own."""
        logits = predict_logits(self.average, mine, self.device)
        return self.processes.gather_rows(logits.to(self.device), count).cpu()

    def train_epoch(
        self, pixels: Tensor, targets: Sequence[Tensor], balance: Balance, epoch: int
    ) -> float:
        """Mean loss of the epoch. Raises DivergedError when it, or a weight, is not a number."""
        config = self.config.at_epoch(epoch)
        unspoilt = config.unspoilt
        seed = config.seed * 100_003 + epoch
        draws = Draws(torch.Generator().manual_seed(seed), self.processes)
        # Dropout takes no generator, and no two processes may drop the same.
        torch.manual_seed(seed + self.processes.rank * 7_919)
        everything = [target.to(self.device) for target in targets]
        weights = [
            weight if weight is None else weight.to(self.device) for weight in balance.weights
        ]
        share = self.processes.find_share(config.batch_size)
        self.model.train()
        if config.linear_probe:
            freeze_features(self.model)
        total = torch.zeros((), device=self.device)
        batches = iterate_batches(len(pixels), config.batch_size, draws.generator, balance.odds)
        for step, batch in enumerate(batches):
            chosen = batch[share]
            # Pictures that stay on the host are chosen there: a GPU's answer would be waited for.
            faces = pixels[chosen.to(pixels.device)].to(self.device, non_blocking=True)
            labels = [target[chosen.to(self.device)] for target in everything]
            beginning = draws.generator.get_state()
            images, wanted = _show(faces, labels, config, draws)
            if self.teachers:
                seen = images
                if unspoilt != config:
                    draws.generator.set_state(beginning)
                    seen, _ = _show(faces, labels, unspoilt, draws)
                wanted = blend(wanted, self.teachers(seen), config.distillation)
            rate = self.rate(epoch + (step + 1) / self.steps_per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss = self._step((images - MEAN) / STD, wanted, weights)
            total += loss
        mean = float(self.processes.sum(total)) / self.processes.count / self.steps_per_epoch
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

    def _step(
        self, images: Tensor, targets: Sequence[Tensor], weights: Sequence[Tensor | None]
    ) -> Tensor:
        with self.processes.synchronized():
            loss = self._backward(images, targets, weights)
            if self.config.sam_rho:
                with move_to_worst(self.model, self.config.sam_rho):
                    self._backward(images, targets, weights)
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.updates += 1
        self.ema.update(self.model, step=self.updates)
        return loss

    def _backward(
        self, images: Tensor, targets: Sequence[Tensor], weights: Sequence[Tensor | None]
    ) -> Tensor:
        """The loss, summed over heads, with its gradients left in the weights."""
        with self._autocast():
            logits = self.network(images.contiguous(memory_format=torch.channels_last))
        answers = logits.float().split([target.shape[1] for target in targets], dim=1)
        losses = [
            compute_loss(answer, target, weight, self.config.focal_gamma)
            for answer, target, weight in zip(answers, targets, weights, strict=True)
        ]
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    def state(self, history: Sequence[Epoch]) -> dict[str, Any]:
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


def _show(
    faces: Tensor, targets: list[Tensor], config: TrainConfig, draws: Draws
) -> tuple[Tensor, list[Tensor]]:
    """(n, c, h, w) bytes, augmented and mixed, in 0-1, with the targets that this leaves them."""
    return mix(augment(faces.float().div_(255), config, draws), targets, config, draws)


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


def _warn_of_untaught(config: TrainConfig, faces: FaceSet) -> None:
    """Few data may lack a rare class, so it is no error."""
    for spec in config.head_specs:
        shares = faces.labels[spec.taxonomy.name].targets.sum(axis=0)
        missing = [spec.taxonomy.labels[index] for index in np.flatnonzero(shares == 0)]
        if missing:
            _log.warning(
                "warning: head %s has no training picture of %s, and will hardly ever answer that; "
                "add such pictures to the training part, or choose heads without it in the recipe",
                spec.taxonomy.name,
                ", ".join(missing),
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
