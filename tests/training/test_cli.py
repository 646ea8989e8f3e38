"""``python -m training`` as it is typed: from a folder of pictures to a bundle with its card."""

import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kfer.bundle import CARD, CONFIG, EXPLANATION, WEIGHTS, Bundle, hash_file, load_bundle
from tests.commands import ROOT, call
from tests.training.synthetic import CONFIG as SETTINGS
from tests.training.synthetic import SyntheticData
from training import cli
from training.cli_options import choose_device
from training.errors import ConfigError
from training.export import EVALUATION

TORCH = {"torch", "torchvision", "timm", "pandas", "scipy", "sklearn"}
FORBIDDEN = {"gradio", "sqlalchemy", "facenet_pytorch", "cv2", "survey", "app"}

RECIPE = """
architecture = "resnet18"
model_args = { in_chans = 1, num_classes = 15, layers = [1, 1, 1, 1], channels = [16, 16, 32, 32] }
input_size = 32
batch_size = 16
warmup_epochs = 1
"""


def listen_to_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "training", *map(str, arguments)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=listen_to_ctrl_c,
    )  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE + "epochs = 2\n", encoding="utf-8")
    return path


def list_epochs(output: str) -> list[int]:
    return [int(number) for number in re.findall(r"^epoch +(\d+)  loss", output, re.MULTILINE)]


def test_the_recipe_of_these_tests_is_the_synthetic_network() -> None:
    assert tomllib.loads(RECIPE)["model_args"] == SETTINGS.model_args


@pytest.mark.slow
def test_training_and_measuring_give_a_bundle_with_its_card(
    fer2013: SyntheticData, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ["train", "--recipe", recipe, *fer2013.flags, "--out", out, "--device", "cpu"]
    first = call("training", *command)
    assert first.returncode == 0, first.stderr
    assert "84 training and 56 validation pictures" in first.stdout
    assert list_epochs(first.stdout) == [1, 2]
    assert first.stdout.endswith(f"bundle written to {out / 'bundle'}\n")
    assert {path.name for path in (out / "bundle").iterdir()} == {CONFIG, WEIGHTS}

    measure = ["evaluate", "--bundle", out / "bundle", *fer2013.flags]
    # No detector sees faces in these patterns.
    refused = call("training", *measure, "--detector", "haar")
    assert refused.returncode == 1
    assert "--detector: finds none of these faces" in refused.stderr
    unfound = call("training", *measure, "--photos", "survey/demo")
    assert unfound.returncode == 2
    assert "--photos: faces must be found in them; add --detector" in unfound.stderr
    assert not (out / "bundle" / CARD).exists()
    inside = call("training", *measure, "--report", out / "bundle")
    assert inside.returncode == 2
    assert "is in the bundle; name a folder outside" in inside.stderr
    measured = call("training", *measure, "--report", tmp_path / "report")
    assert measured.returncode == 0, measured.stderr
    assert "report written to" in measured.stderr
    bundle = load_bundle(out / "bundle")
    card = (bundle.folder / CARD).read_text(encoding="utf-8")
    assert measured.stdout == card + "\n"
    assert hash_file(bundle.folder / WEIGHTS) in card
    assert str(tmp_path) not in card
    assert "--exclude EXCLUDE`." in card
    assert "pixel-identical to one of the public or the final test" in " ".join(card.split())
    figures = json.loads((bundle.folder / EVALUATION).read_text(encoding="utf-8"))
    ferplus8, fer7 = figures["heads"]
    assert fer7["accuracy"]["n"] == 56
    assert fer7["accuracy_without_twins"]["n"] == 55  # one is named in exclude.csv
    assert ferplus8["accuracy"]["n"] == 49  # one of each class has no votes
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert report["figures"] == figures
    assert [len(each["pictures"]) for each in report["predictions"]] == [49, 56]
    assert str(tmp_path) not in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    # What training saw and what the stored file does differ by fp16 alone.
    with (out / "epochs.csv").open(newline="") as file:
        best = max(float(row["fer7"]) for row in csv.DictReader(file))
    assert fer7["accuracy"]["value"] <= best + 0.04

    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    second = call("training", *command)
    assert second.returncode == 0, second.stderr
    assert list_epochs(second.stdout) == []  # the run is over
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


@pytest.mark.slow
def test_a_run_begins_with_a_bundle_and_learns_from_it(
    fer2013: SyntheticData, bundle: Bundle, tmp_path: Path
) -> None:
    recipe, out = tmp_path / "taught.toml", tmp_path / "run"
    recipe.write_text(RECIPE + "epochs = 2\nlearning_rate = 1e-9\ndistillation = 0.5\n")
    command = ["train", "--recipe", recipe, *fer2013.flags, "--out", out, "--device", "cpu"]
    result = call("training", *command, "--teacher", bundle.folder, "--start", bundle.folder)
    assert result.returncode == 0, result.stderr
    before, after = (load_file(folder / WEIGHTS) for folder in (bundle.folder, out / "bundle"))
    assert torch.allclose(before["fc.weight"], after["fc.weight"], atol=1e-3)  # at such a rate
    settings = json.loads((out / "bundle" / CONFIG).read_text(encoding="utf-8"))
    assert settings["kfer"]["training"]["settings"]["distillation"] == 0.5


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_an_epoch_is_no_loss(
    fer2013: SyntheticData, tmp_path: Path
) -> None:
    recipe, out = tmp_path / "long.toml", tmp_path / "run"
    recipe.write_text(RECIPE + "epochs = 400\n", encoding="utf-8")
    command = ["train", "--recipe", recipe, *fer2013.flags, "--out", out, "--device", "cpu"]
    with start(*command) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if list_epochs(line) == [2]:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=280)
    assert process.returncode == 130
    assert "interrupted; the same command goes on" in err
    assert "Traceback" not in err
    reached = len(torch.load(out / "last.pt", weights_only=True)["history"])
    assert 2 <= reached < 400
    with start(*command) as process:
        assert process.stdout is not None
        going_on = next(epochs for line in process.stdout if (epochs := list_epochs(line)))
        process.kill()
        process.communicate(timeout=280)
    assert going_on == [reached + 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ("class", 1, r"error: --data .*: no \.jpg pictures in train/fear; expected FER2013"),
        ("picture", 1, r"error: .*PublicTest_61\.jpg: cannot be read as a picture"),
        ("votes", 1, r"error: --votes .*: names 1 pictures that are not in the data set"),
        ("recipe", 2, r"error: --recipe no-such: no such recipe; choose one of .*kfer-default"),
        ("device", 2, r"error: --device tpu: unknown; allowed are cpu, cuda and auto"),
        ("bundle", 2, r"error: --bundle .*: holds what belongs to no bundle \(votes\.csv\)"),
        ("run", 2, r"error: --bundle .*run: --out .*run is in it; name another folder"),
        ("teacher", 2, r"error: The recipe's distillation is 0\.0, and there is a --teacher"),
        ("start", 1, r"error: --start .*broken: cannot be used: broken: the network cannot be bu"),
        ("out", 2, r"error: --out .*taken: is a file; name a folder"),
        ("below", 2, r"error: --out .*taken/run: .*taken is a file; name a folder"),
        ("target", 2, r"error: --bundle .*taken/bundle: .*taken is a file; name a folder"),
        ("kept", 2, r"error: --bundle .*kept: is a --teacher or --start bundle, .*name another"),
        ("flag", 2, r"error: Give FER2013 by --data and --votes, or a manifest of crops by --mani"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    change: str, status: int, message: str, fer2013: SyntheticData, recipe: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(fer2013.folder, tmp_path / "data")
    votes = Path(shutil.copy(fer2013.votes, tmp_path / "votes.csv"))
    arguments: dict[str, object] = {
        "--data": data, "--votes": votes, "--recipe": recipe, "--out": tmp_path / "run",
        "--device": "cpu",
    }  # fmt: skip
    if change == "class":
        shutil.rmtree(data / "train" / "fear")
    elif change == "picture":
        (data / "test" / "neutral" / "PublicTest_61.jpg").write_bytes(b"\xff\xd8 cut short")
    elif change == "votes":
        votes.write_text(votes.read_text() + "train/fear/Training_x.jpg" + ",1" * 10 + "\n")
    elif change == "recipe":
        arguments["--recipe"] = "no-such"
    elif change == "device":
        arguments["--device"] = "tpu"
    elif change == "bundle":
        (tmp_path / "full").mkdir()
        shutil.copy(votes, tmp_path / "full")
        arguments["--bundle"] = tmp_path / "full"
    elif change == "run":
        arguments["--bundle"] = arguments["--out"]
    elif change == "teacher":
        arguments["--teacher"] = tmp_path
    elif change == "start":
        broken = shutil.copytree(ROOT / "models" / "kfer-default", tmp_path / "broken")
        (broken / EXPLANATION).unlink()
        (broken / WEIGHTS).write_bytes((broken / WEIGHTS).read_bytes()[:-1000])
        arguments["--start"] = broken
    elif change in ("out", "below", "target"):
        (tmp_path / "taken").touch()
        flag, name = {
            "out": ("--out", "taken"),
            "below": ("--out", "taken/run"),
            "target": ("--bundle", "taken/bundle"),
        }[change]
        arguments[flag] = tmp_path / name
    elif change == "kept":
        kept = shutil.copytree(ROOT / "models" / "kfer-default", tmp_path / "kept")
        arguments |= {"--start": kept, "--bundle": kept}
    else:
        del arguments["--votes"]
    result = call("training", "train", *[part for pair in arguments.items() for part in pair])
    assert re.search(message, result.stderr), result.stderr
    assert result.returncode == status
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_every_process_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 3 of this machine finds 2 GPUs; give torchrun"):
        choose_device("auto")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_asking_for_a_gpu_where_there_is_none_is_said(
    fer2013: SyntheticData, recipe: Path, tmp_path: Path
) -> None:
    result = call(
        "training", "train", "--recipe", recipe, *fer2013.flags, "--out", tmp_path / "run",
        "--device", "cuda",
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == "error: --device cuda: PyTorch sees no GPU here; use cpu or auto.\n"


@pytest.mark.slow
def test_measuring_what_is_no_bundle_is_said(fer2013: SyntheticData, tmp_path: Path) -> None:
    result = call("training", "evaluate", "--bundle", tmp_path, *fer2013.flags)
    assert result.returncode == 1
    assert re.match(r"error: .* is not a model folder: it has no config\.json", result.stderr)


LIST_MODULES = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module("training", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["", "train", "evaluate"])
def test_help_loads_no_torch(command: str) -> None:
    arguments = ["training", *([command] if command else []), "--help"]
    result = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Usage: " in result.stdout
    for flag in ("--data", "--votes", "--exclude", "--bundle") if command else ("train",):
        assert flag in result.stdout
    loaded = set(result.stderr.split())
    assert {"training", "typer"} <= loaded
    assert not loaded & (TORCH | FORBIDDEN)


@pytest.mark.slow
def test_training_loads_nothing_that_a_bare_gpu_machine_lacks() -> None:
    modules = sorted(path.stem for path in (ROOT / "training").glob("*.py"))
    names = [f"training.{name}" for name in modules if not name.startswith("__")]
    assert "training.loop" in names
    source = f"import sys, {', '.join(names)}\nprint(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    loaded = {name.partition(".")[0] for name in result.stdout.split()}
    assert {"torch", "timm", "training", "kfer"} <= loaded
    assert not loaded & FORBIDDEN


def test_a_full_gpu_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")

    monkeypatch.setattr(cli, "app", fill)
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the GPU's memory is full (CUDA out of memory. Tried")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space and start the same command again: a run goes on"),
        (errno.EEXIST, "A file stands where a folder should be: name another place."),
        (errno.EACCES, "See that the path is right and open to you"),
    ],
)
def test_an_error_of_the_disk_is_said_with_the_file_and_what_to_do(
    number: int, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "runs/mine/epochs.csv")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 1
    told = f"error: runs/mine/epochs.csv: {os.strerror(number)}. {advice}"
    assert capsys.readouterr().err.startswith(told)


def test_a_fault_of_the_program_is_not_taken_for_a_full_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        cli.main()
