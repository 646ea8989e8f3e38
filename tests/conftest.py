"""What tests of every package may ask for: a browser."""

import os
import shutil
from pathlib import Path

import pytest

# The first draws the same pages in less time, without what a window needs.
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The browser of the browser tests; without one they are skipped, with CI=true they fail."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is not None:
        return Path(found)
    message = f"none of {', '.join(BROWSERS)} on PATH; tests/setup.sh says how to install one"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
