"""Runs that begin with weights of timm's, from the Hub's cache: there is no network here."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from tests.training.synthetic import PLAIN, build_faces
from training.config import build_config
from training.errors import ConfigError
from training.loop import train
from training.network import build_model

REVISION = "0" * 40
ARCHITECTURE = "test_resnet.r160_in1k"  # timm's own network for tests
PRETRAINED = replace(
    PLAIN,
    architecture=ARCHITECTURE,
    model_args={"in_chans": 1, "num_classes": 15},
    pretrained=True,
    epochs=1,
    warmup_epochs=0,
    learning_rate=1e-12,
    ema_decay=0.0,
)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no network."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture
def weights(offline: Path) -> dict[str, Tensor]:
    """Of a network for coloured pictures and 1,000 classes; they lie in the cache."""
    torch.manual_seed(5)
    state = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    repository = offline / f"models--timm--{ARCHITECTURE}"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    save_file(state, snapshot / "model.safetensors")
    return state


def test_a_run_begins_with_the_pretrained_weights_summed_over_colours(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    faces, validation = build_faces(8), build_faces(5, seed=1)
    best = train(
        PRETRAINED, faces, validation, tmp_path / "run", torch.device("cpu"), lambda _: None
    )
    trained = torch.load(best, weights_only=True)["model"]
    grey = weights["conv1.0.weight"].sum(dim=1, keepdim=True)
    assert torch.allclose(trained["conv1.0.weight"], grey, atol=1e-6)
    for name in (name for name in weights if name.startswith("layer") and "weight" in name):
        assert torch.allclose(trained[name], weights[name], atol=1e-6), name
    assert trained["fc.weight"].shape[0] == 15  # the labels are ours


def test_without_the_setting_nothing_is_loaded(offline: Path) -> None:
    build_model(replace(PRETRAINED, pretrained=False))
    assert not offline.exists()


@pytest.mark.usefixtures("offline")
def test_weights_that_cannot_be_had_are_said(tmp_path: Path) -> None:
    faces = build_faces(8)
    with pytest.raises(ConfigError, match=r"timm cannot build .*test_resnet.* with its pretrained"):
        train(PRETRAINED, faces, faces, tmp_path / "run", torch.device("cpu"), lambda _: None)


def test_the_setting_is_true_or_false() -> None:
    settings = {"architecture": "resnet18", "model_args": {}, "input_size": 32, "epochs": 3}
    assert build_config({**settings, "pretrained": True}, "here").pretrained is True
    for wrong in (1, "yes"):
        with pytest.raises(ConfigError, match="pretrained has the wrong type"):
            build_config({**settings, "pretrained": wrong}, "here")
    with pytest.raises(ConfigError, match="epochs has the wrong type"):
        build_config({**settings, "epochs": True}, "here")
