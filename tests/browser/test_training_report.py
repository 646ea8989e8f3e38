"""The page that ``training evaluate --report`` writes, opened as a file."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from tests.browser.axe import find_violations
from tests.browser.conftest import DESKTOP, PHONE
from tests.training.reports import build_report
from training.report import HTML, write_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(build_report(folder / "images"), folder)
    return folder / HTML


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_needs_no_network_and_fits(
    size: tuple[int, int], scheme: Literal["light", "dark"], report: Path, browser: Browser
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
    )
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    widths = page.eval_on_selector_all("img", "images => images.map((one) => one.naturalWidth)")
    assert widths
    assert all(widths)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert find_violations(page, "body") == []
    context.close()
