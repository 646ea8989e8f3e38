"""What tests of every package may ask for: a browser."""

import os
import shutil
from pathlib import Path

import pytest


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
