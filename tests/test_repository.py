"""The repository as a whole: Spaces front matter, pins, what is tracked, and starting from it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.processes import find_port, keep_environment, run_process, wait_until

ROOT = Path(__file__).parents[1]
REQUIREMENTS = tuple(
    str(path.relative_to(ROOT))
    for path in sorted([*ROOT.glob("requirements*.txt"), *ROOT.glob("*/requirements.txt")])
)
PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z0-9,_-]+\])?==(?P<version>[0-9][A-Za-z0-9.+]*)")
FER2013_PICTURE = re.compile(rb"(Training|PublicTest|PrivateTest)_\d{4,8}\.(jpg|png)")
MAX_BUNDLE_BYTES = 20 * 10**6
# Wheels for glibc 2.28 and older: what the Debian under a Space, and those before it, can load.
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
)


def list_tracked() -> list[Path]:
    result = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tracked = [Path(name) for name in result.stdout.split("\0") if name]
    return [path for path in tracked if (ROOT / path).is_file()]


def load_front_matter() -> dict[str, object]:
    """What stands between the first two lines of three dashes of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
    assert match is not None, "README.md does not begin with front matter"
    front_matter: dict[str, object] = yaml.safe_load(match[1])
    return front_matter


def load_requirements(name: str) -> list[str]:
    """The lines that name a package, without comments and included files."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-r ")]


def load_pins(name: str) -> dict[str, str]:
    matches = (PIN.fullmatch(line) for line in load_requirements(name))
    return {match["name"]: match["version"] for match in matches if match}


def test_front_matter_is_a_gradio_space() -> None:
    front_matter = load_front_matter()
    assert front_matter["sdk"] == "gradio"
    assert front_matter["sdk_version"] == load_pins("requirements.txt")["gradio"]
    assert front_matter["python_version"] == "3.12"
    assert (ROOT / str(front_matter["app_file"])).is_file()


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_pins_are_exact(name: str) -> None:
    lines = load_requirements(name)
    assert lines
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_no_package_is_pinned_twice() -> None:
    names = Counter(name.lower() for file in REQUIREMENTS for name in load_pins(file))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pins_resolve_for_python_3_12(tmp_path: Path) -> None:
    platforms = [part for platform in PLATFORMS for part in ("--platform", platform)]
    result = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet",
            "--python-version", "3.12", "--implementation", "cp", "--only-binary", ":all:",
            *platforms, "--target", str(tmp_path), "-r", "tests/requirements.txt",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]


def test_no_tracked_file_holds_fer2013_picture_names() -> None:
    assert FER2013_PICTURE.search(b"train/sad/Training_%d.jpg" % 10**7)
    tracked = list_tracked()
    assert tracked
    assert [
        path
        for path in tracked
        if FER2013_PICTURE.search(os.fsencode(path) + b"\n" + (ROOT / path).read_bytes())
    ] == []


def test_tracked_bundles_are_small() -> None:
    sizes: Counter[str] = Counter()
    for path in list_tracked():
        if path.parts[0] == "models" and len(path.parts) > 2:
            sizes[path.parts[1]] += (ROOT / path).stat().st_size
    assert sizes
    assert {name: size for name, size in sizes.items() if size > MAX_BUNDLE_BYTES} == {}


def build_environment(home: Path, **settings: str) -> dict[str, str]:
    """An environment of a user who has never started anything, plus the settings."""
    home.mkdir()
    return {**keep_environment(), "HOME": str(home), "TMPDIR": str(home), **settings}


@pytest.mark.slow
def test_app_starts_as_on_a_space(tmp_path: Path) -> None:
    port = find_port()
    checkout = tmp_path / "checkout"
    for path in list_tracked():
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, checkout / path)
    env = build_environment(
        tmp_path / "home", GRADIO_SERVER_NAME="0.0.0.0", GRADIO_SERVER_PORT=str(port)
    )
    command = [sys.executable, str(load_front_matter()["app_file"])]
    with run_process(command, checkout, env) as process:
        # Only a server that listens on every address answers on the second loopback address.
        origin = f"http://127.0.0.2:{port}"
        page = wait_until(f"{origin}/", process)
        config = json.loads(wait_until(f"{origin}/config", process))
    assert b"<html" in page
    assert config["version"] == load_pins("requirements.txt")["gradio"]


@pytest.mark.slow
def test_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        env = build_environment(
            tmp_path / "home", HOST="127.0.0.1", PORT=port, KFER_DATA_DIR=str(tmp_path / "data")
        )
        result = subprocess.run(
            [sys.executable, "app.py"],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert port in result.stderr
    assert "PORT" in result.stderr
    assert "Traceback" not in result.stderr
