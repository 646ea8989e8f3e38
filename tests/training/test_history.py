"""What stands beside the weights tells of the run: its table, its curves, its machines."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.synthetic import CONFIG, build_faces
from training import loop
from training.distributed import ALONE
from training.errors import CheckpointError
from training.history import CURVES, ENVIRONMENT, Epoch, note_environment

CPU = torch.device("cpu")


def read_curve(out: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(out / CURVES)).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_curves_and_surroundings_of_a_run_that_was_interrupted(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=3)
    epochs: list[Epoch] = []

    def interrupt(epoch: Epoch) -> None:
        epochs.append(epoch)
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    data = build_faces(3), build_faces(2, seed=1)
    with pytest.raises(KeyboardInterrupt):
        loop.train(config, *data, tmp_path, CPU, interrupt)
    loop.train(config, *data, tmp_path, CPU, epochs.append)
    # One point an epoch, none twice.
    for name, values in {
        "loss/train": [epoch.loss for epoch in epochs],
        "learning rate": [epoch.learning_rate for epoch in epochs],
        "accuracy/fer7": [epoch.accuracies["fer7"] for epoch in epochs],
    }.items():
        curve = read_curve(tmp_path, name)
        assert [step for step, _ in curve] == [1, 2, 3]
        assert [value for _, value in curve] == pytest.approx(values, rel=1e-6, abs=1e-9)
    starts = json.loads((tmp_path / ENVIRONMENT).read_text())
    assert [start["after_epoch"] for start in starts] == [0, 2]
    assert starts[0]["packages"]["timm"] == version("timm")
    assert starts[0]["threads"] == torch.get_num_threads()


def test_surroundings_of_epochs_that_are_done_again_are_told_once(tmp_path: Path) -> None:
    for done in (0, 4, 2, 2):
        note_environment(tmp_path, CPU, ALONE, done)
    starts = json.loads((tmp_path / ENVIRONMENT).read_text())
    assert [start["after_epoch"] for start in starts] == [0, 2]


@pytest.mark.parametrize("damage", ["", "[1]", '[{"date": 0}]'])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    (tmp_path / ENVIRONMENT).write_text(damage)
    with pytest.raises(CheckpointError, match=r"environment\.json: cannot be read .*move it away"):
        note_environment(tmp_path, CPU, ALONE, 0)


@pytest.mark.slow
def test_compiled_steps_come_to_the_same(tmp_path: Path) -> None:
    # A block in a stage: what takes its time here is compiling.
    network = {**CONFIG.model_args, "layers": (1, 1, 1, 1)}
    config = replace(CONFIG, model_args=network, epochs=2, bf16=False)
    losses = []
    for compiled in (False, True):
        epochs: list[Epoch] = []
        loop.train(
            config, build_faces(5), build_faces(2, seed=1), tmp_path / str(compiled), CPU,
            epochs.append, compiled=compiled,
        )  # fmt: skip
        losses.append([epoch.loss for epoch in epochs])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
