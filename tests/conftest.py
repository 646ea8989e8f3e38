"""What tests of every package may ask for: a free port, a wait for a server, a browser."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

POLL_SECONDS = 0.1


@pytest.fixture
def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def wait_until() -> Callable[..., bytes]:
    """``wait_until(url, process=None, seconds=120)`` -> the body, once the URL answers 200.

    Fails when the time is up, or when the process that should answer has ended.
    """
    return _wait_until


def _wait_until(
    url: str, process: subprocess.Popen[bytes] | None = None, seconds: float = 120
) -> bytes:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            pytest.fail(f"{url}: its server ended with status {process.returncode}")
        body = _find_body(url)
        if body is not None:
            return body
        time.sleep(POLL_SECONDS)
    pytest.fail(f"{url}: no answer within {seconds} s")


def _find_body(url: str) -> bytes | None:
    try:
        with urlopen(url, timeout=10) as response:
            body: bytes = response.read()
            return body
    except HTTPError as error:
        error.close()  # it holds the connection
    except (OSError, HTTPException):
        pass  # not listening yet
    return None


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The browser of the browser tests; without one they are skipped, with CI=true they fail."""
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if found is not None:
        return Path(found)
    message = "no chromium or google-chrome on PATH; tests/setup.sh says how to install one"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
