"""What a network brings along: all of it, all but its answers, or nothing that may change."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kfer.bundle import Bundle
from tests.training.synthetic import CONFIG, NETWORK, build_faces
from training.config import TrainConfig
from training.distill import read_start
from training.errors import ConfigError
from training.loop import Run, train
from training.network import build_model, find_classifier

CPU = torch.device("cpu")
SEVEN = replace(CONFIG, heads=("fer7:label",), model_args={**NETWORK, "num_classes": 7})


def draw_weights(config: TrainConfig) -> dict[str, Tensor]:
    torch.manual_seed(5)
    return build_model(config).state_dict()


@pytest.mark.parametrize("heads", [("fer7:label",), ("aihub7:label", "ferplus8:votes")])
def test_weights_with_other_answers_come_without_their_classifier(
    heads: tuple[str, ...], bundle: Bundle
) -> None:
    """Also where there are as many of them."""
    config = replace(CONFIG, heads=heads)
    answers = config.head_specs[-1].stop
    config = replace(config, model_args={**NETWORK, "num_classes": answers})
    whole = read_start(bundle, CONFIG.head_specs)
    begun = Run(config, 56, CPU, read_start(bundle, config.head_specs)).model.state_dict()
    differing = {name for name in whole if not torch.equal(whole[name], begun[name])}
    assert differing == {"fc.weight", "fc.bias"}
    assert begun["fc.weight"].shape == (answers, 32)


def test_weights_with_the_same_answers_come_whole() -> None:
    start = draw_weights(CONFIG)
    begun = Run(CONFIG, 56, CPU, start).model.state_dict()
    assert all(torch.equal(start[name], begun[name]) for name in start)


def test_weights_of_another_network_are_refused() -> None:
    other = replace(SEVEN, model_args={**SEVEN.model_args, "channels": [16, 16, 32, 48]})
    with pytest.raises(ConfigError, match=r"--start: its weights do not fit .*'resnet18'"):
        Run(SEVEN, 56, CPU, draw_weights(other))


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_a_linear_probe_learns_its_classifier_alone(decay: float, tmp_path: Path) -> None:
    config = replace(SEVEN, linear_probe=True, weight_decay=decay, learning_rate=0.05)
    start = draw_weights(SEVEN)
    losses: list[float] = []
    train(
        config, build_faces(8), build_faces(2, seed=1), tmp_path, CPU,
        lambda epoch: losses.append(epoch.loss), start=start,
    )  # fmt: skip
    learned = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    changed = {name for name in start if not torch.equal(start[name], learned[name])}
    assert changed == {"fc.weight", "fc.bias"}  # not the running statistics either
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("name", "layers"),
    [("resnet18", ("fc",)), ("mobilenetv2_100", ("classifier",)), ("emotionnet", ("head.7",))],
)
def test_the_layer_that_answers_is_found(name: str, layers: tuple[str, ...]) -> None:
    model = build_model(replace(SEVEN, architecture=name, model_args={"num_classes": 7}))
    assert find_classifier(model) == layers
    assert isinstance(model.get_submodule(layers[0]), torch.nn.Linear)
