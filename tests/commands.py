"""Commands as they are typed, in this process, which pays for loading torch only once."""

import io
import os
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

ROOT = Path(__file__).parents[1]


def call(
    package: str, *arguments: object, cwd: Path = ROOT, **environment: str
) -> CompletedProcess[str]:
    """``python -m PACKAGE ARGUMENTS``, and what it printed; what it does not catch is raised."""
    typed = [package, *map(str, arguments)]
    status, out, err = 0, io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", typed),
        mock.patch.dict(os.environ, environment),
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            import_module(f"{package}.cli").main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return CompletedProcess(typed, status, out.getvalue(), err.getvalue())
