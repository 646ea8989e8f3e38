"""Checkpoints come back as they were saved; a full disk or a cut leaves the older one whole."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from filelock import FileLock

from training.checkpoint import claim_run, load_checkpoint, save_checkpoint
from training.errors import CheckpointError, ConfigError

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {"architecture": "test_resnet", "epochs": 3, "model_args": {"in_chans": 1}}


def build_state(epoch: int = 1) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(epoch)
    moments = {"step": torch.tensor(4.0), "exp_avg": torch.rand(2, 3, generator=generator)}
    groups = [{"lr": 1e-3, "betas": (0.9, 0.999), "foreach": None, "params": [0]}]
    return {
        "config": CONFIG,
        "epoch": epoch,
        "history": [{"epoch": 1, "loss": 1.5}],
        "model": {"fc.weight": torch.rand(2, 3, generator=generator).half()},
        "optimizer": {"state": {0: moments}, "param_groups": groups},
    }


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    state = build_state()
    save_checkpoint(tmp_path / "last.pt", state)
    loaded = load_checkpoint(tmp_path / "last.pt", CONFIG)
    for key in ("model", "optimizer"):
        torch.testing.assert_close(loaded[key], state[key], rtol=0, atol=0)
    assert loaded["model"]["fc.weight"].dtype == torch.float16
    plain = ("config", "epoch", "history")
    assert {key: loaded[key] for key in plain} == {key: state[key] for key in plain}


def test_a_newer_checkpoint_replaces_the_older_and_leaves_nothing_beside_it(
    tmp_path: Path,
) -> None:
    for epoch in (1, 2):
        save_checkpoint(tmp_path / "last.pt", build_state(epoch))
    assert load_checkpoint(tmp_path / "last.pt", CONFIG)["epoch"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_the_best_and_the_last_do_not_write_over_each_other(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.pt", build_state(1))
    save_checkpoint(tmp_path / "last.pt", build_state(2))
    epochs = [load_checkpoint(tmp_path / name, CONFIG)["epoch"] for name in ("best.pt", "last.pt")]
    assert epochs == [1, 2]


FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from training.checkpoint import save_checkpoint
from training.errors import CheckpointError

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    save_checkpoint(Path(sys.argv[1]), {"config": {}, "epoch": 2, "model": torch.rand(1_000_000)})
except CheckpointError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [False, True])
def test_a_full_disk_leaves_the_older_checkpoint_whole(first: bool, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    if not first:
        save_checkpoint(path, build_state(1))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "refused:" in done.stderr
    stands = "" if first else "; the older one still stands"
    assert f"could not be written (File too large){stands}. Free some space" in done.stderr
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_a_run_that_is_cut_off_while_it_writes_leaves_the_older_checkpoint_whole(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, build_state(1))

    def write_half(_state: object, file: IO[bytes]) -> None:
        file.write(b"PK half of a checkpoint")
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(torch, "save", write_half)
        save_checkpoint(path, build_state(2))
    assert load_checkpoint(path, CONFIG)["epoch"] == 1
    save_checkpoint(path, build_state(3))
    assert load_checkpoint(path, CONFIG)["epoch"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_that_is_missing_gives_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"last\.pt: the checkpoint could not be written"):
        save_checkpoint(tmp_path / "none" / "last.pt", build_state())


def test_other_settings_are_refused_by_their_names(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", build_state())
    other = {**CONFIG, "epochs": 4, "model_args": {"in_chans": 3}}
    with pytest.raises(
        CheckpointError,
        match=r"other settings \(epochs was 3, is 4; model_args was {.*}, is {.*}\); name another ",
    ):
        load_checkpoint(tmp_path / "last.pt", other)


def test_a_setting_that_is_younger_than_the_file_counts_as_its_default(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", build_state())
    state = load_checkpoint(tmp_path / "last.pt", {**CONFIG, "focal_gamma": 0.0})
    assert state["epoch"] == build_state()["epoch"]
    with pytest.raises(CheckpointError, match=r"other settings \(focal_gamma was 0.0, is 2.0\)"):
        load_checkpoint(tmp_path / "last.pt", {**CONFIG, "focal_gamma": 2.0})


class Bomb:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def test_a_pickle_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "unpickled"
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"config": CONFIG, "x": Bomb(trace)}))
    torch.save({"config": CONFIG, "x": Bomb(trace)}, tmp_path / "zipped.pt")
    for name in ("plain.pt", "zipped.pt"):
        with pytest.raises(CheckpointError, match=rf"{name}: damaged, or not a checkpoint of this"):
            load_checkpoint(tmp_path / name, CONFIG)
    assert not trace.exists()


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04" + bytes(100)])
def test_garbage_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(data)
    with pytest.raises(
        CheckpointError,
        match=r"not a checkpoint .* name another --out folder, or delete .* to begin",
    ):
        load_checkpoint(tmp_path / "last.pt", CONFIG)


@pytest.mark.parametrize("values", [6, 10_000])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_checkpoint_that_is_cut_short_is_refused(
    share: float, values: int, tmp_path: Path
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {**build_state(), "weights": torch.rand(values)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(path, CONFIG)


@pytest.mark.parametrize("state", [[1, 2], {"model": {}}])
def test_somebody_elses_checkpoint_is_refused(state: object, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "last.pt", CONFIG)


@pytest.mark.parametrize("config", [[1], None])
def test_a_checkpoint_whose_settings_are_no_settings_is_refused(
    config: object, tmp_path: Path
) -> None:
    torch.save({"config": config}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "last.pt", CONFIG)


@pytest.mark.parametrize("error", [OSError(116, "Stale file handle"), MemoryError()])
def test_a_file_that_cannot_be_read_just_now_is_not_called_ruined(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "last.pt", build_state())

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(CheckpointError, match=r"last\.pt: cannot be read now \(.+\); nothing was "):
        load_checkpoint(tmp_path / "last.pt", CONFIG)


def test_a_run_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine"
    with (
        claim_run(folder),
        pytest.raises(CheckpointError, match=r"--out .*mine: another process is training there"),
        claim_run(folder),
    ):
        pass
    with pytest.raises(KeyboardInterrupt), claim_run(folder):
        raise KeyboardInterrupt
    with claim_run(folder):
        pass


@pytest.mark.parametrize(
    ("out", "place"), [("taken", "taken:"), ("taken/runs/mine", "mine: .*taken")]
)
def test_a_run_in_a_files_place_is_refused(out: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    told = pytest.raises(ConfigError, match=rf"--out .*{place} is a file; name a folder")
    with told, claim_run(tmp_path / out):
        pass


def test_where_there_are_no_locks_a_run_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    done = []
    with claim_run(tmp_path):
        done.append("trained")
    assert done == ["trained"]


def test_a_run_without_a_whole_epoch_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.pt: is missing; the run has not finished"):
        load_checkpoint(tmp_path / "best.pt", CONFIG)
