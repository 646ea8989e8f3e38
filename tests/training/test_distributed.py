"""Two processes at one run come to what one comes to: same pictures, same steps, same figures."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kfer.bundle import WEIGHTS, hash_file
from tests.commands import call
from tests.processes import find_port
from tests.training.synthetic import SyntheticData, write_fer2013
from training.distributed import ALONE, Draws, Processes
from training.errors import ConfigError

# Batch normalisation, sharpness-aware steps, mixing, erasing and noise: all that must be shared.
# No dropout, whose masks no two processes may have in common; no bfloat16, which rounds sums away.
RECIPE = """
architecture = "resnet18"
model_args = { in_chans = 1, num_classes = 15, layers = [1, 1, 1, 1], channels = [16, 16, 32, 32] }
input_size = 32
epochs = 2
batch_size = 16
warmup_epochs = 1
bf16 = false
learning_rate = 5e-4
sam_rho = 0.05
cutmix = 1.0
jpeg = 0.2
rand_augment = "rand-m9-n2"
class_weights = true
balanced_sampling = true
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticData:
    root = tmp_path_factory.mktemp("data")
    (root / "recipe.toml").write_text(RECIPE)
    return write_fer2013(root, {"train": 8, "test": 4})


def build_command(data: SyntheticData, out: Path) -> list[str]:
    recipe = data.folder.parent / "recipe.toml"
    flags = ["--recipe", str(recipe), "--out", str(out), "--device", "cpu"]
    return ["train", *data.flags, *flags]


def start(arguments: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )


def finish(process: "subprocess.Popen[str]") -> str:
    try:
        printed, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    return printed


def start_machines(count: int, command: Sequence[str]) -> list["subprocess.Popen[str]"]:
    """As many machines with a process each, all of them this one."""
    meeting = [f"--nnodes={count}", "--master-addr=127.0.0.1", f"--master-port={find_port()}"]
    return [
        start([*meeting, f"--node-rank={rank}", "-m", "training", *command])
        for rank in range(count)
    ]


def start_processes(count: int, command: Sequence[str]) -> "subprocess.Popen[str]":
    """On one machine."""
    return start(["--standalone", f"--nproc-per-node={count}", "-m", "training", *command])


def read_epochs(out: Path) -> list[dict[str, float]]:
    with (out / "epochs.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def load_average(out: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(out / "last.pt", weights_only=True)["average"]
    return state


@pytest.mark.slow
def test_two_machines_come_to_the_figures_of_one_process(
    data: SyntheticData, tmp_path: Path
) -> None:
    alone = call("training", *build_command(data, tmp_path / "one"))
    assert alone.returncode == 0, alone.stderr
    machines = start_machines(2, build_command(data, tmp_path / "two"))
    printed = [finish(machine) for machine in machines]
    one, two = (read_epochs(tmp_path / name) for name in ("one", "two"))
    for expected, got in zip(one, two, strict=True):
        assert got == pytest.approx(expected, rel=1e-5)
    weights, shared = (load_average(tmp_path / name) for name in ("one", "two"))
    for name, weight in weights.items():
        torch.testing.assert_close(shared[name], weight, rtol=1e-4, atol=1e-5, msg=name)
    # One of them speaks and writes.
    assert [text.count("epoch   2") for text in printed] == [1, 0]
    (environment,) = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert environment["processes"] == 2
    # What the first one reads of a run that goes on reaches the other.
    command = build_command(data, tmp_path / "two")
    assert "epoch" not in finish(start_processes(2, [*command, "--bundle", str(tmp_path / "b")]))
    assert hash_file(tmp_path / "b" / WEIGHTS) == hash_file(tmp_path / "two" / "bundle" / WEIGHTS)
    # What only the first one finds out ends both, and is said.
    other = data.folder.parent / "other.toml"
    other.write_text(RECIPE.replace("epochs = 2", "epochs = 3"))
    command[command.index("--recipe") + 1] = str(other)
    with start_processes(2, command) as refused:
        said, _ = refused.communicate(timeout=120)
    assert refused.returncode
    assert said.count("belongs to a run with other settings (epochs was 2, is 3)") == 1


@pytest.mark.parametrize("count", [2, 3])
def test_a_batch_is_shared_out_in_pairs(count: int) -> None:
    total = 4 * count
    shares = [Processes(rank, count).find_share(total) for rank in range(count)]
    assert sorted(torch.cat(shares).tolist()) == list(range(total))
    for share in shares:
        # Mixup pairs a picture with the one that turning the batch round brings to its place.
        assert torch.equal(share.flip(0), total - 1 - share)


def test_processes_draw_what_one_process_draws() -> None:
    def draw(processes: Processes) -> list[Tensor]:
        draws = Draws(torch.Generator().manual_seed(3), processes)
        n = 8 // processes.count
        return [draws.uniform(n, 2, 3), draws.integers(n, 0, 1000), draws.normal(n, 2)]

    alone = draw(ALONE)
    for rank in range(2):
        processes = Processes(rank, 2)
        share = processes.find_share(8)
        for drawn, whole in zip(draw(processes), alone, strict=True):
            assert torch.equal(drawn, whole[share])


@pytest.mark.parametrize("size", [2, 15, 18])
def test_a_batch_that_cannot_be_shared_out_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"batch_size {size} .* 2 processes; .* multiple of 4"):
        Processes(0, 2).check_batch(size)
