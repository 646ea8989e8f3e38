"""The app as a user starts it: a process of its own, with folders of its own."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.processes import NotUpError, find_port, keep_environment, run_process, wait_until

ROOT = Path(__file__).parents[1]
SURVEY_FILES = {"secret", "kfer.sqlite", "kfer.sqlite-wal", "kfer.sqlite-shm"}


@dataclass(frozen=True)
class AppServer:
    """A running app; below ``folder`` lie its cache, temporary files, data and log."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        return (self.folder / "app.log").read_text(encoding="utf-8")

    def list_files(self) -> list[Path]:
        """Every file that the app has left in its cache, temporary folder and data.

        The survey's database and secret are meant to be there.
        """
        left = list_files(self.cache, self.folder / "tmp", self.data)
        return [path for path in left if path.parent != self.data or path.name not in SURVEY_FILES]

    def post(self, route: str, body: bytes) -> tuple[int, bytes]:
        return post(f"{self.url}/{route}", body)


@contextmanager
def run_app(
    folder: Path, arguments: Sequence[str] = ("app.py",), **settings: str
) -> Iterator[AppServer]:
    """``python ARGUMENTS`` with PORT and folders set, until the block ends.

    In a folder where it ran before, it finds what it left there.
    """
    port = find_port()
    places = {"GRADIO_TEMP_DIR": "cache", "TMPDIR": "tmp", "HOME": "home", "KFER_DATA_DIR": "data"}
    for name in places.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    env = {
        **keep_environment(),
        **{name: str(folder / place) for name, place in places.items()},
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "OMP_NUM_THREADS": "1",
        **settings,
    }
    url = f"http://127.0.0.1:{port}"
    with (
        (folder / "app.log").open("ab") as log,
        run_process([sys.executable, *arguments], ROOT, env, log) as process,
    ):
        server = AppServer(url, folder, process)
        try:
            wait_until(url, process)
        except NotUpError as error:
            pytest.fail(f"{error}: {server.log}")
        yield server


def list_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def get(url: str, seconds: float = 60) -> tuple[int, bytes]:
    return _fetch(Request(url), seconds)


def post(
    url: str, body: bytes, content_type: str = "application/octet-stream", seconds: float = 120
) -> tuple[int, bytes]:
    return _fetch(Request(url, data=body, headers={"Content-Type": content_type}), seconds)


def _fetch(request: Request, seconds: float) -> tuple[int, bytes]:
    """Status and body, of refusals too."""
    try:
        with urlopen(request, timeout=seconds) as response:
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()
