"""One frozen dataclass of settings that refuses nonsense; saved beside every result."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfer.labels import TAXONOMIES, Taxonomy
from training.errors import ConfigError

_TYPES: dict[str, tuple[Any, str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "a text"),
    "bool": (bool, "true or false"),
    "tuple": ((list, tuple), "a list"),
}
LARGEST = 1024  # pixels, as `training crop` cuts at most
MOST_SEED = 2**32 - 1  # of NumPy's and scikit-learn's generators


OPTIMIZERS = ("adadelta", "adam", "adamw", "momentum", "radam", "sgd")  # sgd: with Nesterov's
LABEL, VOTES = "label", "votes"
DEFAULT_HEADS = ("fer7:label", "ferplus8:votes")  # FER2013's labels and FER+'s votes


@dataclass(frozen=True)
class HeadSpec:
    """One label set of a network: its logits ``start`` to ``stop``, learned from ``source``."""

    taxonomy: Taxonomy
    source: str
    start: int

    @property
    def stop(self) -> int:
        return self.start + len(self.taxonomy.labels)


def parse_heads(heads: Sequence[str]) -> tuple[HeadSpec, ...]:
    """Raises ConfigError."""
    specs: list[HeadSpec] = []
    for text in heads:
        name, _, source = str(text).partition(":")
        if name not in TAXONOMIES or source not in (LABEL, VOTES):
            raise ConfigError(
                f"heads: must be TAXONOMY:{LABEL} or TAXONOMY:{VOTES}, with one of "
                f"{', '.join(TAXONOMIES)}, but got {text!r}."
            )
        start = specs[-1].stop if specs else 0
        specs.append(HeadSpec(TAXONOMIES[name], source, start))
    names = [spec.taxonomy.name for spec in specs]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"heads: must be one or more different label sets, but got {heads!r}.")
    return tuple(specs)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run. Angles are degrees; other ranges are shares of the picture or of 1.

    ``heads`` are the label sets that the network answers, in the order of its outputs, the default
    one last: ``TAXONOMY:label`` learns the manifest's labels, ``TAXONOMY:votes`` its votes.
    The first ``early_epochs`` are shown at ``early_size`` pixels, which costs less where the
    network has most to learn. The last ``plain_epochs`` do without RandAugment, mixing, erasing,
    blur, JPEG and noise, so that the network ends on pictures like those it will be shown.
    ``balanced_sampling`` draws as many pictures of every class of the default head;
    ``class_weights`` weighs the losses instead, in all heads; ``focal_gamma`` is the focal loss's.
    ``rand_augment`` is timm's way to write it, such as "rand-m9-n2-mstd0.5"; "" is none.
    ``bf16``: networks compute in bfloat16, weights stay in float32. ``pretrained`` begins
    with timm's own weights of the architecture (``NAME.TAG``); ``linear_probe`` learns nothing but
    the classifier on top of them. ``distillation`` is the teachers'
    share of the targets. ``mixup`` and ``cutmix`` are the alphas of their Beta distributions;
    ``mirror`` turns half of the pictures round; ``exposure`` is in stops, up and down; ``blur``,
    ``jpeg`` and ``erasing`` are shares of the pictures. ``sam_rho`` is how far sharpness-aware
    minimisation looks around (L2 over all weights; 0 is none, and half the cost).
    """

    architecture: str
    model_args: Mapping[str, Any]
    input_size: int
    epochs: int
    heads: tuple[str, ...] = DEFAULT_HEADS
    pretrained: bool = False
    linear_probe: bool = False
    bf16: bool = True
    optimizer: str = "adamw"
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_epochs: int = 2
    early_epochs: int = 0
    early_size: int = 64
    plain_epochs: int = 0
    ema_decay: float = 0.998
    label_smoothing: float = 0.1
    distillation: float = 0.0
    sam_rho: float = 0.0
    balanced_sampling: bool = False
    class_weights: bool = False
    focal_gamma: float = 0.0
    rand_augment: str = ""
    mixup: float = 0.2
    cutmix: float = 0.0
    mirror: bool = True
    rotation: float = 15.0
    scale: float = 0.15
    translate: float = 0.1
    erasing: float = 0.3
    contrast: float = 0.3
    exposure: float = 0.0
    jpeg: float = 0.0
    blur: float = 0.15
    noise: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        parse_heads(self.heads)
        self._require("optimizer", self.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}")
        for name in ("input_size", "early_size"):
            self._require(name, 1 <= getattr(self, name) <= LARGEST, f"from 1 to {LARGEST}")
        self._require("epochs", self.epochs >= 1, "at least 1")
        self._require("batch_size", self.batch_size >= 2, "at least 2")  # of one is no variance
        self._require("seed", 0 <= self.seed <= MOST_SEED, f"from 0 to {MOST_SEED}")
        self._require("learning_rate", self.learning_rate > 0, "above 0")
        for name in (
            "weight_decay",
            "mixup",
            "cutmix",
            "exposure",
            "rotation",
            "translate",
            "contrast",
            "noise",
            "sam_rho",
            "focal_gamma",
        ):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("ema_decay", "label_smoothing", "scale"):
            self._require(name, 0 <= getattr(self, name) < 1, "from 0 to below 1")
        for name in ("erasing", "blur", "jpeg", "distillation"):
            self._require(name, 0 <= getattr(self, name) <= 1, "from 0 to 1")
        self._require("warmup_epochs", 0 <= self.warmup_epochs < self.epochs, "below epochs")
        for name in ("early_epochs", "plain_epochs"):
            self._require(name, 0 <= getattr(self, name) <= self.epochs, "at most epochs")
        for name, value in dataclasses.asdict(self).items():
            self._require(name, not isinstance(value, float) or math.isfinite(value), "finite")

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for colour; timm's networks take 3 unless told otherwise."""
        return int(self.model_args.get("in_chans", 3))

    @property
    def head_specs(self) -> tuple[HeadSpec, ...]:
        return parse_heads(self.heads)

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ConfigError(f"{name} must be {allowed}, but got {getattr(self, name)!r}.")

    def at_epoch(self, epoch: int) -> "TrainConfig":
        """The settings in force in ``epoch`` (from 0)."""
        config = self
        if epoch < self.early_epochs:
            config = dataclasses.replace(config, input_size=self.early_size)
        if epoch >= self.epochs - self.plain_epochs:
            config = dataclasses.replace(
                config,
                rand_augment="",
                mixup=0.0,
                cutmix=0.0,
                erasing=0.0,
                blur=0.0,
                jpeg=0.0,
                noise=0.0,
            )
        return config

    @property
    def unspoilt(self) -> "TrainConfig":
        """Without what tells nothing of a face and only spoils its picture."""
        return dataclasses.replace(self, exposure=0.0, jpeg=0.0, blur=0.0, noise=0.0)

    def to_dict(self) -> dict[str, Any]:
        """As it comes back from a file: lists, no tuples."""
        settings: dict[str, Any] = json.loads(self.to_json())
        return settings

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)


def fill_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they stand in a file, with those that are younger than it.

    Their defaults change nothing.
    """
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(TrainConfig)
        if field.default is not dataclasses.MISSING
    }
    return {**json.loads(json.dumps(defaults)), **settings}


def build_config(settings: Mapping[str, Any], source: str) -> TrainConfig:
    """Raises ConfigError for unknown, missing or impossible settings; ``source`` is named in it."""
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(settings) - set(fields))
    if unknown:
        raise ConfigError(
            f"{source}: unknown setting {', '.join(unknown)}; allowed are {', '.join(fields)}."
        )
    missing = sorted(
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in settings
    )
    if missing:
        raise ConfigError(f"{source}: missing setting {', '.join(missing)}.")
    default_heads = fields["heads"].default
    for name, value in settings.items():
        kind = str(getattr(fields[name].type, "__name__", ""))
        expected, told = _TYPES.get(kind, (Mapping, "a table"))
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise ConfigError(
                f"{source}: {name} has the wrong type: it must be {told}, but got {value!r}."
            )
    try:
        return TrainConfig(**{**settings, "heads": tuple(settings.get("heads", default_heads))})
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
