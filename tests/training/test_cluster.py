"""Crops by Ray: the same as by our own processes, from a cluster that nobody else can reach."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command

from tests.commands import call
from tests.training.test_crop import BOXES, draw_photo
from training.cli import app
from training.cluster import _answer, build_ray_engine
from training.crop import LOG, MANIFEST, NOTES, Job, Outcome
from training.errors import ConfigError, DataError
from training.manifest import BOX

ROOT = Path(__file__).parents[2]
PHOTOS = 70  # more than two processes take at a time


def write_photos(folder: Path) -> list[str]:
    """Every tenth box lies outside; the flags that name them."""
    rows = []
    for number in range(PHOTOS):
        colour, box = list(BOXES.items())[number % 3]
        path = f"기쁨/{colour} {number}.jpg"
        draw_photo(folder / "photos" / path, (1, 6)[number % 2])
        corners = (900, 900, 990, 990) if number % 10 == 7 else box
        rows.append({"path": path, "label": "기쁨", **dict(zip(BOX, corners, strict=True))})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return ["--manifest", str(folder / "labels.csv"), "--images", str(folder / "photos")]


def find_descendants(pid: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found, size = {pid}, 0
    while size < len(found):
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found


def find_listeners(pids: set[int]) -> set[str]:
    """Addresses, in the kernel's hexadecimal, on which these processes wait for connections."""
    sockets = set()
    for pid in pids:
        try:
            sockets |= {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError:
            continue
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    listening = [cells for cells in lines if cells[3] == "0A"]
    return {cells[1].split(":")[0] for cells in listening if f"socket:[{cells[9]}]" in sockets}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_workers_give_the_same_crops_unseen_from_outside_and_are_gone_at_the_end(
    tmp_path: Path,
) -> None:
    flags = write_photos(tmp_path)
    command = ["crop", *flags, "--size", "40", "--workers", "2"]
    assert call("training", *command, "--out", tmp_path / "one").returncode == 0
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    started, listeners = set[int](), set[str]()
    with subprocess.Popen(
        [sys.executable, "-m", "training", *command, "--out", tmp_path / "two", "--engine", "ray"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while process.poll() is None:
            started |= find_descendants(process.pid)
            listeners |= find_listeners(started)
            time.sleep(0.2)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == f"63 crops in {tmp_path / 'two'}, 7 photos without one\n"
    assert err == f"why: {tmp_path / 'two' / LOG}\n"
    one, two = (
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "one", tmp_path / "two")
    )
    del one[Path(NOTES)], two[Path(NOTES)]  # in the order of the work
    assert Path(MANIFEST) in one
    assert one == two
    # 127.0.0.1, as IPv4 and within IPv6.
    assert listeners
    assert listeners <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_without_ray_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # makes the import fail
    with pytest.raises(ConfigError, match=r"--engine ray: .*pip install -r requirements-ray\.txt"):
        build_ray_engine()
    flags = ["crop", *write_photos(tmp_path), "--out", str(tmp_path / "crops")]
    with pytest.raises(ConfigError, match="--engine ray: Ray is not installed"):
        get_command(app).main([*flags, "--engine", "ray"], standalone_mode=False)
    assert not (tmp_path / "crops").exists()
    with pytest.raises(ConfigError, match="--engine dask: unknown; allowed are processes, ray"):
        get_command(app).main([*flags, "--engine", "dask"], standalone_mode=False)


def test_an_error_of_ours_comes_back_as_it_was(tmp_path: Path) -> None:
    job = Job(tmp_path / "a.jpg", "a.jpg", None, tmp_path / "a.jpg.jpg", "")

    def fail(job: Job) -> Outcome:
        raise DataError(f"--out {job.path}: cannot be written")

    answer = pickle.loads(_answer(fail, {"job": pickle.dumps(job)})["answer"])
    assert isinstance(answer, DataError)
    assert str(answer) == "--out a.jpg: cannot be written"
