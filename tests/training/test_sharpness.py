"""Sharpness-aware minimisation: where it looks, what it leaves alone, and that a run uses it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.synthetic import CONFIG, build_faces
from training.loop import train
from training.sharpness import move_to_worst


def test_the_weights_stand_rho_away_along_the_gradient_and_come_back_exactly() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(8, 3)).square().sum().backward()
    running = model[1].running_mean.clone()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    with move_to_worst(model, 0.25):
        moved = torch.cat(
            [(weight - before[name]).flatten() for name, weight in model.named_parameters()]
        )
        model(torch.randn(8, 3) + 5)
    assert moved.norm().item() == pytest.approx(0.25, rel=1e-5)
    assert torch.allclose(moved / 0.25, gradient / gradient.norm(), atol=1e-5)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name])
    assert torch.equal(model[1].running_mean, running)
    model(torch.randn(8, 3) + 5)
    assert not torch.equal(model[1].running_mean, running)


def test_an_error_within_brings_the_weights_back_too() -> None:
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises(KeyError), move_to_worst(model, 1.0):
        raise KeyError
    assert torch.equal(model.weight, before)


def test_a_run_with_it_goes_another_way(tmp_path: Path) -> None:
    faces, ends = build_faces(4), []
    for rho in (0.0, 0.2, 0.2):
        out = tmp_path / str(len(ends))
        train(
            replace(CONFIG, epochs=2, warmup_epochs=0, sam_rho=rho),
            faces,
            build_faces(2, seed=1),
            out,
            torch.device("cpu"),
            lambda _epoch: None,
        )
        ends.append(torch.load(out / "last.pt", weights_only=True)["model"])
    first = next(iter(ends[0]))
    assert not torch.equal(ends[0][first], ends[1][first])
    assert all(torch.equal(ends[1][name], ends[2][name]) for name in ends[1])
