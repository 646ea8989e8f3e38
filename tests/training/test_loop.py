"""The training loop on synthetic faces: what it learns, averages, draws and chooses."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.synthetic import CONFIG, NETWORK, PLAIN, TRAINED, build_faces, relabel
from training import loop, network
from training.config import OPTIMIZERS, TrainConfig
from training.errors import ConfigError, DataError
from training.face_set import FaceSet, Labels, iterate_batches, place, transform_faces
from training.history import Epoch
from training.network import build_model, build_pretrained_cfg, predict_logits

CPU = torch.device("cpu")
FIVE = {**NETWORK, "num_classes": 5}


def run(
    config: TrainConfig, out: Path, faces: FaceSet | None = None, validation: FaceSet | None = None
) -> list[Epoch]:
    """The epochs of a run on 56 faces, scored on 35 others."""
    epochs: list[Epoch] = []
    faces = faces or build_faces(8)
    loop.train(config, faces, validation or build_faces(5, seed=1), out, CPU, epochs.append)
    return epochs


def load(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def compute_accuracies(
    weights: dict[str, Tensor], config: TrainConfig, faces: FaceSet
) -> tuple[float, float]:
    """Of both heads, counted by hand over the pictures without a twin among the held-out ones."""
    model = build_model(config)
    model.load_state_dict(weights)
    images = transform_faces(faces, build_pretrained_cfg(config))
    with torch.inference_mode():
        logits = model.eval()(images).numpy()
    own = np.flatnonzero(~faces.twin_of_held_out)
    labels, votes = (faces.labels[name].truths for name in ("fer7", "ferplus8"))
    fer7 = [logits[at, :7].argmax() == labels[at] for at in own]
    ferplus8 = [logits[at, 7:].argmax() == votes[at] for at in own if votes[at] >= 0]
    return float(np.mean(fer7)), float(np.mean(ferplus8))


def test_a_small_network_learns_its_faces_by_heart(tmp_path: Path) -> None:
    faces = build_faces(8)
    config = replace(TRAINED, epochs=20)
    epochs = run(config, tmp_path, faces, validation=faces)
    # What is left when every answer is right: the raters' own disagreement, 0.9 to 0.1.
    floor = (
        -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) * (faces.labels["ferplus8"].truths >= 0).mean()
    )
    assert epochs[0].loss > 3
    assert floor < epochs[-1].loss < floor + 0.3
    assert epochs[-1].accuracies["fer7"] == 1
    assert epochs[-1].accuracies["ferplus8"] == 1


def test_a_head_that_nothing_can_be_learned_of_is_refused(tmp_path: Path) -> None:
    faces = build_faces(4)
    unrated = relabel(faces, "ferplus8", targets=np.zeros((28, 8), dtype=np.float32))
    with pytest.raises(DataError, match="No training picture has a label for head ferplus8"):
        run(PLAIN, tmp_path, unrated)
    with pytest.raises(DataError, match="the data has no labels for korean5; it has fer7, ferplus"):
        run(replace(PLAIN, heads=("korean5:label",), model_args=FIVE), tmp_path, faces)


def test_classes_without_a_training_picture_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = build_faces(4).chosen(np.arange(28) % 7 > 2)
    config = replace(PLAIN, epochs=1, warmup_epochs=0)
    run(config, tmp_path / "all")
    run(config, tmp_path / "few", few)
    for told, head in zip(caplog.messages, ("fer7", "ferplus8"), strict=True):
        assert f"head {head} has no training picture of 분노, 혐오, 공포, and will" in told


def test_one_head_or_several_in_any_order_are_learned(tmp_path: Path) -> None:
    faces = build_faces(8)
    config = replace(TRAINED, epochs=20)
    alone = replace(config, heads=("fer7:votes",), model_args={**NETWORK, "num_classes": 7})
    (*_, last) = run(alone, tmp_path / "alone", faces, validation=faces)
    assert last.accuracies == {"fer7": 1}
    turned = replace(config, heads=("ferplus8:votes", "fer7:label"))
    (*_, last) = run(turned, tmp_path / "turned", faces, validation=faces)
    assert last.accuracies == {"ferplus8": 1, "fer7": 1}
    model = build_model(turned)
    model.load_state_dict(load(tmp_path / "turned" / "best.pt")["model"])
    images = transform_faces(faces, build_pretrained_cfg(turned))
    logits = predict_logits(model, images, CPU).numpy()
    assert (logits[:, 8:].argmax(axis=1) == faces.labels["fer7"].truths).all()


def test_faces_in_colour_are_learned(tmp_path: Path) -> None:
    """The class is a colour: in grey, all are alike."""
    faces = build_faces(8)
    colours = np.eye(3, dtype=np.uint8) * 150 + 50
    labels = np.arange(len(faces)) % 3
    pixels = np.broadcast_to(colours[labels][:, None, None], (len(faces), 48, 48, 3)).copy()
    truths = Labels(np.eye(7, dtype=np.float32)[labels], labels)
    faces = replace(faces, pixels=pixels, labels={"fer7": truths})
    config = replace(
        TRAINED,
        heads=("fer7:label",),
        model_args={**NETWORK, "in_chans": 3, "num_classes": 7},
        epochs=4,
        jpeg=0.5,
        cutmix=0.5,
    )
    (*_, last) = run(config, tmp_path, faces, validation=faces)
    assert last.accuracies == {"fer7": 1}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str, tmp_path: Path) -> None:
    rate = {"adadelta": 1.0, "sgd": 0.05, "momentum": 0.05, "radam": 0.02}.get(optimizer, 0.005)
    config = replace(PLAIN, optimizer=optimizer, learning_rate=rate, epochs=6, batch_size=8)
    first, *_, last = run(config, tmp_path)
    assert last.loss < first.loss - 0.5


def test_a_face_without_votes_adds_nothing_to_the_second_heads_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        if output.requires_grad:
            output.retain_grad()
            outputs.append(output)

    def build(config: TrainConfig, **settings: bool) -> nn.Module:
        network = build_model(config, **settings)
        network.register_forward_hook(keep)
        return network

    monkeypatch.setattr(loop, "build_model", build)
    faces = build_faces(4)
    without = faces.labels["ferplus8"].targets.sum(axis=1) == 0
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    run(replace(PLAIN, epochs=1, warmup_epochs=0, batch_size=len(faces)), tmp_path, faces)
    (output,) = outputs
    assert output.grad is not None
    second = output.grad.float().abs().sum(dim=1) - output.grad[:, :7].float().abs().sum(dim=1)
    in_batch = torch.from_numpy(without)[order]
    assert in_batch.sum() == 6
    assert (output.grad[in_batch, 7:] == 0).all()
    assert (second[~in_batch] > 1e-3).all()
    assert (output.grad[:, :7].abs().sum(dim=1) > 0).all()


def test_validation_is_scored_with_the_averaged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Tensor] = []

    def spy(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
        scored.append(model.state_dict()["fc.weight"].clone())
        return predict_logits(model, images, device)

    monkeypatch.setattr(loop, "predict_logits", spy)
    validation = build_faces(20, seed=1)
    config = replace(PLAIN, epochs=3, batch_size=8, learning_rate=0.02)
    epochs = run(config, tmp_path, validation=validation)
    state = load(tmp_path / "last.pt")
    assert torch.equal(scored[-1], state["average"]["fc.weight"])
    assert not torch.equal(scored[-1], state["model"]["fc.weight"])
    averaged = compute_accuracies(state["average"], config, validation)
    assert tuple(epochs[-1].accuracies.values()) == pytest.approx(averaged, abs=0.01)


def test_twins_of_held_out_pictures_have_no_say_in_which_weights_are_best(tmp_path: Path) -> None:
    validation = build_faces(5, seed=1)
    twins = validation.twin_of_held_out
    truths = validation.labels["fer7"].truths
    falsified = relabel(validation, "fer7", truths=np.where(twins, (truths + 1) % 7, truths))
    truths = validation.labels["ferplus8"].truths
    falsified = relabel(falsified, "ferplus8", truths=np.where(twins, (truths + 1) % 7, truths))
    scores = [
        [epoch.accuracies for epoch in run(PLAIN, tmp_path / name, validation=faces)]
        for name, faces in (("true", validation), ("false", falsified))
    ]
    assert scores[0] == scores[1]


def test_the_average_is_that_of_every_step_batch_statistics_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("fc.weight", "bn1.weight", "bn1.running_mean", "bn1.running_var")
    steps: list[dict[str, Tensor]] = []
    step = loop.Run._step

    def remember(self: loop.Run, *batch: Tensor) -> Tensor:
        loss = step(self, *batch)
        steps.append({name: self.model.state_dict()[name].double() for name in names})
        return loss

    monkeypatch.setattr(loop.Run, "_step", remember)
    run(replace(CONFIG, ema_decay=0.6), tmp_path)
    state = load(tmp_path / "last.pt")
    assert len(steps) == state["updates"] == 3 * (56 // 16)
    by_hand = steps[0]
    for index, weights in enumerate(steps[1:], start=1):
        decay = min(1 - (1 + index) ** (-2 / 3), 0.6)  # grows to the one that was asked for
        for name in names:
            by_hand[name] = decay * by_hand[name] + (1 - decay) * weights[name]
    for name in names:
        assert state["average"][name].numpy() == pytest.approx(by_hand[name].numpy(), abs=1e-5)
        assert (state["average"][name] - state["model"][name]).abs().max() > 1e-4


def test_the_best_weights_are_those_with_the_highest_mean_of_both_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second is better in the mean than the first, the third than both in fer7 alone, the last
    # equal to the second.
    pairs = [(0.2, 0.6), (0.4, 0.7), (0.7, 0.3), (0.5, 0.6)]
    scores = iter({"fer7": fer7, "ferplus8": ferplus8} for fer7, ferplus8 in pairs)
    monkeypatch.setattr(loop, "_score", lambda *_: next(scores))
    averages: list[dict[str, Tensor]] = []
    loop.train(
        replace(CONFIG, epochs=4),
        build_faces(4),
        build_faces(1),
        tmp_path,
        CPU,
        lambda _: averages.append(load(tmp_path / "last.pt")["average"]),
    )
    best = load(tmp_path / "best.pt")
    assert best["epoch"] == 2
    for name, tensor in averages[1].items():
        assert torch.equal(best["model"][name], tensor)
    assert not torch.equal(averages[3]["fc.weight"], best["model"]["fc.weight"])


def test_what_is_saved_beside_the_weights(tmp_path: Path) -> None:
    epochs = run(CONFIG, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.pt",
        "config.json",
        "environment.json",
        "epochs.csv",
        "last.pt",
        "tensorboard",
    ]
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert settings == json.loads(CONFIG.to_json())
    beginning = {"config", "data", "origin", "learned"}
    assert load(tmp_path / "best.pt").keys() == {*beginning, "epoch", "model"}
    assert load(tmp_path / "best.pt")["config"] == settings
    with (tmp_path / "epochs.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows == [epoch.flat() for epoch in epochs]
    assert list(rows[0]) == ["epoch", "loss", "learning_rate", "fer7", "ferplus8", "seconds"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["learning_rate"] for row in rows] == pytest.approx([2e-3, 1e-3, 0], abs=1e-12)


def test_the_seed_decides_and_the_same_seed_repeats(tmp_path: Path) -> None:
    results = []
    for drawn_before, (name, seed) in enumerate([("first", 3), ("again", 3), ("other", 4)]):
        torch.manual_seed(drawn_before)  # it does not matter
        epochs = run(replace(CONFIG, seed=seed, epochs=2), tmp_path / name)
        weights = load(tmp_path / name / "last.pt")["average"]["conv1.weight"]
        results.append((weights, [replace(epoch, seconds=0) for epoch in epochs]))
    first, again, other = results
    assert torch.equal(first[0], again[0])
    assert first[1] == again[1]
    assert (first[0] - other[0]).abs().max() > 0.01
    assert first[1] != other[1]


def test_each_epoch_has_its_own_order_of_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[list[int]] = []

    def spy(n: int, batch_size: int, generator: torch.Generator, odds: None) -> Iterator[Tensor]:
        orders.append([])
        for batch in iterate_batches(n, batch_size, generator, odds):
            assert len(batch) == batch_size
            orders[-1] += batch.tolist()
            yield batch

    monkeypatch.setattr(loop, "iterate_batches", spy)
    run(CONFIG, tmp_path)
    assert [len(set(order)) for order in orders] == [48, 48, 48]  # of 56, none twice
    assert len({tuple(order) for order in orders}) == 3
    assert len({frozenset(order) for order in orders}) == 3  # others are left over each time


def test_the_learning_rate_warms_up_and_falls_along_a_cosine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = loop.Run._step

    def remember(self: loop.Run, *batch: Tensor) -> Tensor:
        groups = {group["lr"] for group in self.optimizer.param_groups}
        rates.append(groups.pop())
        assert not groups  # weights with and without decay go at the same rate
        return step(self, *batch)

    monkeypatch.setattr(loop.Run, "_step", remember)
    faces = build_faces(4)  # 28: two steps of 14
    config = replace(CONFIG, epochs=6, warmup_epochs=2, learning_rate=0.1, batch_size=14)
    epochs = run(config, tmp_path, faces)
    cosine = [0.1 * (1 + math.cos(math.pi * done / 8)) / 2 for done in range(1, 9)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, *cosine])
    assert rates[7] == pytest.approx(0.05)  # half way down
    assert rates[-1] == pytest.approx(0)
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx(rates[1::2])


def test_logits_do_not_depend_on_the_size_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(CONFIG)
    images = transform_faces(build_faces(2), build_pretrained_cfg(CONFIG))
    at_once = predict_logits(model, images, CPU)
    monkeypatch.setattr(network, "EVALUATION_BATCH", 3)
    assert predict_logits(model, images, CPU).numpy() == pytest.approx(at_once.numpy(), abs=1e-5)
    assert at_once.shape == (14, 15)
    assert at_once.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet81"}, "architecture 'resnet81' .*Unknown model"),
        ({"model_args": {**NETWORK, "depth": 3}}, "model_args .*'depth': 3.*unexpected keyword"),
        ({"model_args": {**NETWORK, "channels": [8, 8]}}, r"model_args .*\[8, 8\]"),
        (
            {"model_args": {**NETWORK, "in_chans": 3}},
            "in_chans is 3, and the pictures have 1",
        ),
        ({"model_args": {**NETWORK, "num_classes": 7}}, r"shape \(1, 7\); it needs num_classes = "),
        ({"model_args": {"in_chans": 1}}, r"shape \(1, 1000\); it needs num_classes = 15: 7 fer7"),
        (
            {
                "architecture": "test_vit",
                "model_args": {"in_chans": 1, "num_classes": 15, "dynamic_img_size": False},
            },
            r"and input_size 32: AssertionError: Input height \(32\) doesn't match model \(160\)",
        ),
        (
            {
                "architecture": "test_vit",
                "model_args": {"in_chans": 1, "num_classes": 15, "dynamic_img_size": False},
                "input_size": 160,
                "early_epochs": 1,
                "early_size": 32,
            },
            r"and early_size 32: AssertionError: Input height \(32\) doesn't match model \(160\)",
        ),
        (
            {"linear_probe": True},
            "would stay random; set pretrained = true in it, or give a bundle",
        ),
        ({"batch_size": 57}, "batch_size 57 is more than the 56 training pictures; lower it"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_by_name(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        run(replace(CONFIG, **changes), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.pt"))


def test_validation_without_a_clear_plurality_is_refused(tmp_path: Path) -> None:
    validation = build_faces(1)
    validation = relabel(validation, "ferplus8", truths=np.full(len(validation), -1))
    with pytest.raises(DataError, match="No validation picture has a label, or a clear"):
        run(CONFIG, tmp_path, validation=validation)


@pytest.mark.parametrize(("free", "fits"), [(200, True), (199, False)])
def test_pictures_that_would_fill_a_gpu_stay_where_they_are(
    free: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 1000))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: moved.append(device) or self)
    place(torch.zeros(100, dtype=torch.uint8), torch.device("cuda", 0))
    assert len(moved) == fits
