"""Runs that are interrupted, fill the disk, diverge or meet another run's files."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kfer.files import UNFINISHED
from tests.training.synthetic import CONFIG, NETWORK, build_faces
from training import loop
from training.checkpoint import save_checkpoint
from training.config import TrainConfig
from training.errors import CheckpointError, DivergedError
from training.face_set import FaceSet
from training.history import Epoch, History

CPU = torch.device("cpu")
# With dropout: the only chance that the loop's own generator does not decide.
DROPOUT = replace(CONFIG, epochs=4, model_args={**NETWORK, "drop_rate": 0.4})
STEPS = 2  # in an epoch of 35 faces by 16


def run(config: TrainConfig, out: Path, report: Callable[[Epoch], None] = lambda _: None) -> Path:
    return loop.train(config, build_faces(5), build_faces(2, seed=1), out, CPU, report)


def load(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def read_history(out: Path) -> list[dict[str, str]]:
    with (out / "epochs.csv").open(newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def read_files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def fail_at(call: int, target: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """``target``, but its n-th call (from 1) raises."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return target(*args, **kwargs)

    return wrapped


def assert_same_run(one: Path, other: Path) -> None:
    """Bit for bit, but for the seconds that the epochs took."""
    for name in ("last.pt", "best.pt"):
        states = [load(out / name) for out in (one, other)]
        for key in ("config", "data"):
            first, second = (state.pop(key) for state in states)
            assert first == second
        for state in states:
            for epoch in state.get("history", ()):
                epoch["seconds"] = 0
        torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
    assert read_history(one) == read_history(other)
    names = [sorted(path.name for path in out.iterdir()) for out in (one, other)]
    assert names[0] == names[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    run(DROPOUT, out)
    return out


def test_an_interrupt_after_an_epoch_changes_nothing(tmp_path: Path, uninterrupted: Path) -> None:
    def interrupt(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(DROPOUT, tmp_path, interrupt)
    assert [row["epoch"] for row in read_history(tmp_path)] == ["1", "2"]
    rest: list[int] = []
    torch.manual_seed(99)  # nor does what was drawn in between
    run(DROPOUT, tmp_path, lambda epoch: rest.append(epoch.epoch))
    assert rest == [3, 4]
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("augment", 2 * STEPS + 2),  # in the middle of the third epoch
        ("augment", 1),  # before anything was learned
        ("_score", 3),  # trained, but not scored
        ("save_checkpoint", 2 * 3),  # best.pt of the third is saved, last.pt is not
        ("append", 4),  # best.pt is saved, but no line of the table
    ],
)
def test_an_interrupt_anywhere_changes_nothing(
    function: str, call: int, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if function == "save_checkpoint":  # every epoch is the best so far
            scores = iter({"fer7": index / 10} for index in range(1, 5))
            patch.setattr(loop, "_score", lambda *_: next(scores))
        owner = History if function == "append" else loop
        failing = fail_at(call, getattr(owner, function), KeyboardInterrupt())
        patch.setattr(owner, function, failing)
        with pytest.raises(KeyboardInterrupt):
            run(DROPOUT, tmp_path)
    if function == "save_checkpoint":
        assert load(tmp_path / "best.pt")["epoch"] == 3
        assert len(load(tmp_path / "last.pt")["history"]) == 2
        return
    run(DROPOUT, tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def test_a_finished_run_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = run(CONFIG, tmp_path)
    before = read_files(tmp_path)
    monkeypatch.setattr(loop, "augment", fail_at(1, loop.augment, AssertionError("trained again")))
    assert run(CONFIG, tmp_path) == best == tmp_path / "best.pt"
    assert read_files(tmp_path) == before


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0

    def spoil(pixels: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
        nonlocal seen
        seen += 1
        images = augment(pixels, config, generator)
        return images * float("nan") if seen == 2 * STEPS + 1 else images

    augment = loop.augment
    reported: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "augment", spoil)
        with pytest.raises(DivergedError, match=r"epoch 3 \(mean loss nan\).*before it still"):
            run(CONFIG, tmp_path, lambda epoch: reported.append(epoch.epoch))
    assert reported == [1, 2]
    last = load(tmp_path / "last.pt")
    assert len(last["history"]) == 2
    assert all(tensor.isfinite().all() for tensor in last["model"].values())
    assert all(tensor.isfinite().all() for tensor in load(tmp_path / "best.pt")["model"].values())
    run(CONFIG, tmp_path)  # it goes on from there
    assert len(load(tmp_path / "last.pt")["history"]) == 3


def test_weights_that_the_last_step_spoiled_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.Run._step

    def overflow(self: loop.Run, *batch: Tensor) -> Tensor:
        loss = step(self, *batch)
        if self.updates == STEPS:
            with torch.no_grad():
                self.model.get_parameter("conv1.weight").view(-1)[0] = float("inf")
        return loss

    monkeypatch.setattr(loop.Run, "_step", overflow)
    message = r"diverged in epoch 1 \(mean loss 3\.\d+\); nothing was saved. Lower learning_rate "
    with pytest.raises(DivergedError, match=message + r"\(now 0.002\).* another --out"):
        run(CONFIG, tmp_path)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"architecture": "test_resnet", "model_args": {"in_chans": 1, "num_classes": 15}},
         "architecture was .*; model_args was .*"),
        ({"learning_rate": 1e-3}, "learning_rate was 0.002, is 0.001"),
        ({"seed": 1}, "seed was 0, is 1"),
    ],
)  # fmt: skip
def test_another_runs_checkpoint_is_refused_and_kept(
    changes: dict[str, Any], setting: str, tmp_path: Path
) -> None:
    run(CONFIG, tmp_path)
    before = read_files(tmp_path)
    with pytest.raises(CheckpointError, match=rf"last\.pt: .*other settings \({setting}\); name "):
        run(replace(CONFIG, **changes), tmp_path)
    assert read_files(tmp_path) == before


def test_a_checkpoint_with_another_networks_weights_is_refused(tmp_path: Path) -> None:
    run(CONFIG, tmp_path)
    state = load(tmp_path / "last.pt")
    torch.save({**state, "model": {"fc.weight": torch.zeros(3)}}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: its state does not fit .*'resnet18'"):
        run(CONFIG, tmp_path)
    state.pop("optimizer")
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"last\.pt: its state does not fit .*optimizer"):
        run(CONFIG, tmp_path)


def test_a_run_whose_best_weights_are_gone_says_so(tmp_path: Path) -> None:
    run(CONFIG, tmp_path)
    (tmp_path / "best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.pt is missing.*another --out folder"):
        run(CONFIG, tmp_path)


def test_best_weights_that_are_damaged_are_told_before_any_epoch(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, tmp_path, fail_at(1, print, KeyboardInterrupt()))
    best = tmp_path / "best.pt"
    best.write_bytes(best.read_bytes()[:-1000])
    before = read_files(tmp_path)
    with pytest.raises(CheckpointError, match=r"best\.pt: damaged.*or delete .* to begin anew"):
        run(CONFIG, tmp_path)
    assert read_files(tmp_path) == before


def test_best_weights_of_a_run_without_its_state_are_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # every epoch is the best so far
        scores = iter({"fer7": index / 10} for index in range(1, 4))
        patch.setattr(loop, "_score", lambda *_: next(scores))
        run(CONFIG, tmp_path)
    (tmp_path / "last.pt").unlink()
    before = read_files(tmp_path)
    with pytest.raises(CheckpointError, match=r"best\.pt: is of epoch 3 .*another --out folder"):
        run(CONFIG, tmp_path)
    assert read_files(tmp_path) == before


def test_a_full_disk_ends_the_run_and_the_next_start_goes_on(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        # Each epoch writes last.pt, the first of them best.pt too.
        patch.setattr(torch, "save", fail_at(4, torch.save, full))
        with pytest.raises(CheckpointError, match="No space left on device"):
            run(DROPOUT, tmp_path)
    assert not list(tmp_path.glob(UNFINISHED))
    run(DROPOUT, tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def test_a_run_does_not_go_on_with_other_pictures_or_other_teachers(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=2)
    data = build_faces(5), build_faces(2, seed=1)

    def go_on(faces: FaceSet, origin: dict[str, Any]) -> None:
        loop.train(config, faces, data[1], tmp_path, CPU, lambda _: None, origin=origin)

    origin = {"teachers": [{"name": "one", "weights_sha256": "0" * 64}], "start": None}
    go_on(data[0], origin)
    kept = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(CheckpointError, match="was begun with other pictures or labels; name"):
        go_on(build_faces(5, seed=2), origin)
    with pytest.raises(CheckpointError, match="other --teacher or --start bundles; name"):
        go_on(data[0], {"teachers": [], "start": None})
    with pytest.raises(CheckpointError, match="other pictures or labels; name"):
        loop.train(
            config, data[0], build_faces(2, seed=3), tmp_path, CPU, lambda _: None, origin=origin
        )
    go_on(data[0], {"teachers": [{"name": "renamed", "weights_sha256": "0" * 64}], "start": None})
    with pytest.raises(CheckpointError, match="other --teacher or --start bundles; name"):
        go_on(data[0], {**origin, "start": {"name": "one", "weights_sha256": "1" * 64}})
    go_on(data[0], origin)
    assert (tmp_path / "last.pt").read_bytes() == kept


def test_a_run_that_was_interrupted_as_it_first_wrote_begins_again(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # best.pt is written, last.pt is not
        patch.setattr(loop, "save_checkpoint", fail_at(2, save_checkpoint, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run(DROPOUT, tmp_path)
    assert [path.name for path in tmp_path.glob("*.pt")] == ["best.pt"]
    run(DROPOUT, tmp_path)
    assert_same_run(tmp_path, uninterrupted)
