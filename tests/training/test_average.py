"""The mean of runs: the right numbers, from runs of one network only."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kfer.bundle import WEIGHTS, Bundle, load_bundle
from tests.commands import call
from tests.training.synthetic import CONFIG, NETWORK, SyntheticData, build_faces
from training.average import average, mix_runs
from training.checkpoint import load_checkpoint
from training.config import TrainConfig
from training.errors import CheckpointError, ConfigError
from training.export import export_bundle
from training.loop import train
from training.origin import LEARNED, find_ancestors, merge_learned, read_training


def run(out: Path, config: TrainConfig, start: dict[str, torch.Tensor] | None = None) -> Path:
    faces, validation = build_faces(4), build_faces(3, seed=1)
    train(
        config, faces, validation, out, torch.device("cpu"), lambda _epoch: None, start=start
    )  # fmt: skip
    return out


def average_runs(
    runs: list[Path], shares: list[float], out: Path, target: Path | None = None
) -> TrainConfig:
    mean = mix_runs(runs, shares, out, target)
    mean.save(out)
    return mean.config


def load(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder / "best.pt", weights_only=True)["model"]
    return weights


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that began with the same weights and went apart."""
    folder = tmp_path_factory.mktemp("runs")
    short = replace(CONFIG, epochs=3, warmup_epochs=0, learning_rate=0.01, ema_decay=0.5)
    first = run(folder / "first", short)
    start = load(first)
    runs = [run(folder / f"{seed}", replace(short, seed=seed), start) for seed in (1, 2)]
    one, other = (load(folder)["layer1.0.conv1.weight"] for folder in runs)
    assert (one - other).abs().max() > 0.01
    return runs


def test_weights_are_mixed_by_their_shares_and_counters_are_kept() -> None:
    one = {"w": torch.tensor([1.0, 5.0]), "n": torch.tensor(3)}
    other = {"w": torch.tensor([3.0, 1.0]), "n": torch.tensor(9)}
    mixed = average([one, other], [3, 1])
    assert mixed["w"].tolist() == [1.5, 4.0]
    assert mixed["n"].item() == 3


def test_the_mean_is_a_run_that_can_be_exported(runs: list[Path], tmp_path: Path) -> None:
    config = average_runs(runs, [1, 3], tmp_path / "mean")
    state = load_checkpoint(tmp_path / "mean" / "best.pt", json.loads(config.to_json()))
    first, second = (load(folder) for folder in runs)
    for name, value in state["model"].items():
        if value.is_floating_point():
            assert torch.allclose(value, 0.25 * first[name] + 0.75 * second[name], atol=1e-6)
    assert [(part["settings"]["seed"], part["share"]) for part in state["averaged"]] == [
        (1, 1.0), (2, 3.0)
    ]  # fmt: skip
    bundle = export_bundle(
        config, tmp_path / "mean" / "best.pt", build_faces(3, seed=1), tmp_path / "bundle"
    )
    assert bundle == load_bundle(tmp_path / "bundle")
    told = json.loads((tmp_path / "bundle" / "config.json").read_text(encoding="utf-8"))
    assert [part["epoch"] for part in told["kfer"]["training"]["averaged"]] == [
        torch.load(folder / "best.pt", weights_only=True)["epoch"] for folder in runs
    ]


def test_a_bundle_stands_for_the_run_that_it_came_of(runs: list[Path], tmp_path: Path) -> None:
    validation = build_faces(3, seed=1)
    config = average_runs(runs, [1, 3], tmp_path / "mean")
    bundle = export_bundle(config, tmp_path / "mean" / "best.pt", validation, tmp_path / "bundle")
    average_runs([runs[0], bundle.folder], [1, 1], tmp_path / "again")
    ours, first, mean = (
        load(folder) for folder in (tmp_path / "again", runs[0], tmp_path / "mean")
    )
    for name, value in ours.items():
        if value.is_floating_point():  # stored in fp16
            expected = (first[name] + mean[name]) / 2
            torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)
    parts = torch.load(tmp_path / "again" / "best.pt", weights_only=True)["averaged"]
    assert [part["share"] for part in parts] == [1.0, 1.0]
    assert [part["settings"]["seed"] for part in parts[1]["averaged"]] == [1, 2]


def test_a_mean_tells_of_the_bundles_in_it(bundle: Bundle, tmp_path: Path) -> None:
    config = average_runs([bundle.folder, bundle.folder], [1, 2], tmp_path / "mean")
    weights = load(tmp_path / "mean")
    for name, value in load_file(bundle.folder / WEIGHTS).items():
        torch.testing.assert_close(weights[name], value, check_dtype=not value.is_floating_point())
    mean = export_bundle(
        config, tmp_path / "mean" / "best.pt", build_faces(3, seed=1), tmp_path / "bundle"
    )
    (ancestor,) = find_ancestors(read_training(mean)).values()
    assert (ancestor["name"], ancestor["data"]) == (bundle.name, "patterns in noise")


@pytest.mark.parametrize(
    ("other", "merged"),
    [
        ({"data": "a", "excluded": True, "trained_on": "1"}, ("a", True, "1")),
        ({"data": "b", "excluded": False, "trained_on": "2"}, ("a; b", False, None)),
        ({}, (None, True, None)),  # of a run that does not say it yet
    ],
)
def test_a_mean_has_learned_what_its_parts_have(
    other: dict[str, Any], merged: tuple[object, ...]
) -> None:
    found = merge_learned([{"data": "a", "excluded": True, "trained_on": "1"}, other])
    assert tuple(map(found.get, LEARNED)) == merged


def test_what_runs_and_bundles_have_learned_stays_with_their_mean(tmp_path: Path) -> None:
    learned = {"data": "mine", "excluded": False, "trained_on": "12"}
    faces, validation = build_faces(4), build_faces(3, seed=1)
    config = replace(CONFIG, epochs=1, warmup_epochs=0)
    best = train(
        config, faces, validation, tmp_path / "run", torch.device("cpu"), lambda _: None,
        learned=learned,
    )  # fmt: skip
    one = export_bundle(config, best, validation, tmp_path / "one")
    assert read_training(one).items() >= learned.items()
    average_runs([tmp_path / "run", one.folder], [1, 1], tmp_path / "mean")
    mean = export_bundle(config, tmp_path / "mean" / "best.pt", validation, tmp_path / "two")
    assert read_training(mean).items() >= learned.items()


def test_what_is_averaged_is_never_written_over(runs: list[Path], bundle: Bundle) -> None:
    for out in (runs[1], bundle.folder):
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        with pytest.raises(ConfigError, match="would be written over"):
            average_runs(runs, [1, 1], out)
        after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert after == before


def test_neither_around_a_run_nor_into_it(runs: list[Path], tmp_path: Path) -> None:
    inner = shutil.copytree(runs[1], tmp_path / "outer" / "inner")
    pair = [runs[0], inner]
    for out, target, flag in (
        (tmp_path / "outer", None, "--out"),
        (inner / "mean", None, "--out"),
        (tmp_path / "mean", inner, "--bundle"),
        (tmp_path / "mean", inner / "bundle", "--bundle"),
    ):
        with pytest.raises(ConfigError, match=rf"{flag} .*is one of the runs, .*or holds it"):
            average_runs(pair, [1, 1], out, target)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "last.pt").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds a bundle or a training run"):
        average_runs(pair, [1, 1], begun)
    average_runs(pair, [1, 1], tmp_path / "mean", tmp_path / "mean" / "bundle")
    average_runs(pair, [1, 1], tmp_path / "mean", tmp_path / "mean" / "bundle")  # once more is fine


def test_a_mean_is_not_trained_over(runs: list[Path], tmp_path: Path) -> None:
    average_runs(runs, [1, 1], tmp_path / "mean")
    before = (tmp_path / "mean" / "best.pt").read_bytes()
    with pytest.raises(CheckpointError, match=r"best\.pt: .*name another --out folder"):
        run(tmp_path / "mean", CONFIG)
    assert (tmp_path / "mean" / "best.pt").read_bytes() == before


def test_a_mean_is_written_only_when_its_pictures_are_found(
    runs: list[Path], fer2013: SyntheticData, tmp_path: Path
) -> None:
    out = tmp_path / "mean"
    command = ["training", "average", "--run", runs[0], "--run", runs[1], "--out", out]
    failed = call(*command, "--data", fer2013.folder, "--votes", tmp_path / "votes.csv")
    assert failed.returncode == 1
    assert "votes.csv" in failed.stderr
    assert not out.exists()
    assert call(*command, *fer2013.flags).returncode == 0
    assert load_bundle(out / "bundle").name == "mean"


def test_runs_with_other_labels_are_refused(runs: list[Path], tmp_path: Path) -> None:
    """Both have 15 outputs, of other labels in the same places."""
    other = shutil.copytree(runs[1], tmp_path / "other")
    settings = json.loads((other / "config.json").read_text(encoding="utf-8"))
    settings["heads"] = ["aihub7:label", "ferplus8:votes"]
    (other / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    state = torch.load(other / "best.pt", weights_only=True)
    torch.save({**state, "config": state["config"] | settings}, other / "best.pt")
    with pytest.raises(ConfigError, match=r"its heads are aihub7:label, .*only runs with the same"):
        average_runs([runs[0], other], [1, 1], tmp_path / "mean")


def test_a_bundle_that_tells_nothing_of_its_training_is_no_part(
    runs: list[Path], bundle: Bundle, tmp_path: Path
) -> None:
    silent = shutil.copytree(bundle.folder, tmp_path / "silent")
    settings = json.loads((silent / "config.json").read_text(encoding="utf-8"))
    del settings["kfer"]["training"]
    (silent / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"--run .*silent: this bundle does not say how it was"):
        average_runs([runs[0], silent], [1, 1], tmp_path / "mean")


def test_other_networks_and_odd_shares_are_refused(runs: list[Path], tmp_path: Path) -> None:
    wider = replace(
        CONFIG, epochs=1, warmup_epochs=0, model_args=NETWORK | {"channels": [8, 16, 32, 32]}
    )
    other = run(tmp_path / "other", wider)
    with pytest.raises(
        ConfigError, match=r"its layer1\.0\.bn1\.bias has shape \(8,\), the first run's \(16,\)"
    ):
        average_runs([runs[0], other], [1, 1], tmp_path / "mean")
    with pytest.raises(ConfigError, match="needs two runs or more, but got 1"):
        average_runs(runs[:1], [1], tmp_path / "mean")
    for shares in ([1], [1, 0], [1, -2], [1, float("nan")]):
        with pytest.raises(ConfigError, match="needs a number above 0 for each of the 2 runs"):
            average_runs(runs, shares, tmp_path / "mean")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        average_runs([runs[0], tmp_path / "nothing"], [1, 1], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
