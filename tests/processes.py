"""Programs that a test or a benchmark starts beside itself: a free port, a wait, a sure end."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import urlopen

START_SECONDS = 240  # torch and gradio, on a machine that is busy with something else
END_SECONDS = 30


class NotUpError(Exception):
    """The server ended, or did not answer in time."""


@contextmanager
def run_process(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], log: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block; without a ``log`` it prints where the test does."""
    with subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def find_port() -> int:
    """One that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(
    url: str, process: subprocess.Popen[bytes], seconds: float = START_SECONDS, poll: float = 0.1
) -> bytes:
    """The body, once ``url`` answers 200.

    Raises NotUpError when the time is up, or when the process that should answer has ended.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotUpError(f"{url}: its server ended with status {process.returncode}")
        body = _find_body(url)
        if body is not None:
            return body
        time.sleep(poll)
    raise NotUpError(f"{url}: no answer within {seconds} s")


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Until it holds; raises NotUpError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotUpError(f"not so after {seconds} s")
        time.sleep(0.1)


def keep_environment() -> dict[str, str]:
    """What a fresh user's shell has: where programs are, and the language."""
    return {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}


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
