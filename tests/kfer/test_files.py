"""A file is the old one or the new one, whatever happens in between."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kfer.files import UNFINISHED, replacing
from tests.commands import ROOT


def test_a_file_is_replaced_with_nothing_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / f"{'이름' * 41}.csv"  # 250 bytes, of 255 that a name may have
    for text in ("old", "new"):
        with replacing(path) as target:
            target.write_text(text)
            assert not path.exists() or path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_an_error_leaves_the_older_file(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as target:
        target.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import sys, time
from pathlib import Path
from kfer.files import replacing
with replacing(Path(sys.argv[1])) as target:
    target.write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_killed_program_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as program:
        assert program.stdout
        assert program.stdout.readline() == b"written\n"
        with replacing(path) as target:
            target.write_text("new")  # of another program, in the meantime
        program.send_signal(signal.SIGKILL)
    assert path.read_text() == "new"
    (left,) = tmp_path.glob(UNFINISHED)
    assert left.read_text() == "half"


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "none" / os.fsdecode(b"\xb0\xa1.csv")  # Korean of CP949
    with pytest.raises(FileNotFoundError) as error, replacing(path) as target:
        target.write_text("new")
    assert str(error.value) == f"[Errno 2] No such file or directory: {str(path)!r}"


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    told = pytest.raises(OSError, match=r"No space left on device: '.*table\.csv'")
    with told, replacing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write gives it


def test_a_file_that_a_folder_stands_in_for_is_named_alone(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.mkdir()
    told = pytest.raises(IsADirectoryError, match=r"directory: '[^']*table\.csv'$")
    with told, replacing(path) as target:
        target.write_text("new")


def test_another_files_error_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"photo\.jpg'$"), replacing(tmp_path / "table.csv"):
        (tmp_path / "photo.jpg").read_bytes()
