"""Settings -> the network, checked before any hour is spent on it."""

import json
import textwrap
from collections.abc import Mapping
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from kfer.bundle import CONFIG, Bundle
from training import architectures  # registers them with timm
from training.config import TrainConfig
from training.errors import ConfigError

MEAN, STD = 0.5, 0.25  # level and spread that the network sees as 0 and 1
EVALUATION_BATCH = 256


def build_pretrained_cfg(config: TrainConfig) -> dict[str, Any]:
    """The preprocessing that stands in the bundle and that training's evaluation uses."""
    return {
        "input_size": (config.channels, config.input_size, config.input_size),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": (MEAN,) * config.channels,
        "std": (STD,) * config.channels,
    }


def is_own_architecture(bundle: Bundle) -> bool:
    """Whether the network is built here: neither the app nor timm alone can load the bundle."""
    description = json.loads((bundle.folder / CONFIG).read_text(encoding="utf-8"))
    return description["architecture"] in architectures.default_cfgs


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


def find_classifier(model: nn.Module) -> tuple[str, ...]:
    """The names of the layers that answer, as timm knows them."""
    names = cast(Mapping[str, Any], model.pretrained_cfg)["classifier"]
    return (names,) if isinstance(names, str) else tuple(names)


def load_start(model: nn.Module, start: Mapping[str, Tensor], config: TrainConfig) -> None:
    """Begin with these weights; where they have no classifier, with a new one.

    Raises ConfigError.
    """
    layers = tuple(f"{name}." for name in find_classifier(model))
    new = {name: value for name, value in model.state_dict().items() if name.startswith(layers)}
    start = {**new, **start}
    try:
        model.load_state_dict(dict(start))
    except RuntimeError as error:
        raise ConfigError(
            f"--start: its weights do not fit architecture {config.architecture!r} with model_args "
            f"{dict(config.model_args)} ({describe_error(error)})."
        ) from error


def freeze_features(model: nn.Module) -> None:
    """Leave nothing but the classifier to learn, and the rest as it is when it answers."""
    model.requires_grad_(False).eval()
    for name in find_classifier(model):
        model.get_submodule(name).requires_grad_(True).train()


def check_outputs(model: nn.Module, config: TrainConfig) -> None:
    """Raises ConfigError unless the network turns a face into one logit per label.

    Of every size that it will be shown.
    """
    given = f"architecture {config.architecture!r} with model_args {dict(config.model_args)}"
    for size in {config.at_epoch(0).input_size, config.input_size}:
        face = torch.zeros(1, config.channels, size, size)
        try:
            with torch.inference_mode():
                shape = tuple(model.eval()(face).shape)
        except Exception as error:  # as many types as there are networks
            raise ConfigError(
                f"{given} cannot read pictures of {config.channels} channels and "
                f"{'input_size' if size == config.input_size else 'early_size'} {size}: "
                f"{describe_error(error)}."
            ) from error
    labels = config.head_specs[-1].stop
    if shape != (1, labels):
        parts = " and ".join(
            f"{len(spec.taxonomy.labels)} {spec.taxonomy.name}" for spec in config.head_specs
        )
        raise ConfigError(
            f"{given} answers with shape {shape}; it needs num_classes = {labels}: {parts} labels."
        )


def describe_error(error: Exception) -> str:
    """Kind and message on one line: PyTorch's can run over pages."""
    return f"{type(error).__name__}: {textwrap.shorten(str(error), 300)}"
