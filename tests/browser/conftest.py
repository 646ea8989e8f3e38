"""A real app, and a headless Chromium whose webcam shows what the tests know.

Whatever a test does, its page must ask nothing of another origin, keep nothing but the language,
throw no error and leave no file with the app; that is checked after every test.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.kfer.photo_samples import encode
from tests.servers import AppServer, run_app

# Everything here is bounded by what happens, not by time; this is for a machine that is very busy.
PATIENCE_MS = 60_000
DESKTOP = (1280, 900)
PHONE = (390, 844)
WEBCAM = (640, 480)
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    with run_app(tmp_path_factory.mktemp("app")) as server:
        yield server


@pytest.fixture(scope="module")  # Playwright keeps the thread's event loop running until it ends
def browser(chromium_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    video = tmp_path_factory.mktemp("webcam") / "webcam.mjpeg"
    write_webcam(video)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path,
            timeout=2 * PATIENCE_MS,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={video}",
            ],
        )
        yield browser
        browser.close()


def write_webcam(path: Path) -> None:
    """Over and over: a face on the left, the same on the right, nobody."""
    with Image.open(DATA / "s008.webp") as image:
        face = image.convert("RGB").resize((300, 300))
    frames = []
    for place in ((10, 90), (330, 90), None):
        frame = Image.new("RGB", WEBCAM, "white")
        if place is not None:
            frame.paste(face, place)
        frames += [encode(frame, "JPEG", quality=90)] * 60
    path.write_bytes(b"".join(frames))


@dataclass
class Visit:
    """A page, and what it asked for and complained of."""

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def list_foreign_requests(self) -> list[str]:
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("blob", "data")
            and urlsplit(url).netloc != urlsplit(self.origin).netloc
        ]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """``open_page(server, locale=, size=, query=)`` -> a new visitor's page, ready to use."""
    visits: list[Visit] = []
    with contextlib.ExitStack() as stack:

        def open_(
            server: AppServer,
            locale: str = "ko-KR",
            size: tuple[int, int] = DESKTOP,
            query: str = "",
            touch: bool = False,
        ) -> Page:
            context = browser.new_context(
                locale=locale,
                viewport={"width": size[0], "height": size[1]},
                permissions=["camera"],
                reduced_motion="reduce",
                has_touch=touch,
                accept_downloads=True,
            )
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            visit = Visit(context.new_page(), server.url)
            visit.watch()
            visits.append(visit)
            visit.page.goto(f"{server.url}/{query}", timeout=2 * PATIENCE_MS)
            wait_until_ready(visit.page)
            return visit.page

        yield open_
        for visit in visits:
            assert visit.list_foreign_requests() == []
            assert visit.errors == []
            kept = visit.page.evaluate("Object.keys({...localStorage, ...sessionStorage})")
            own = ("kfer-language", "kfer-survey-")  # and the study: the code of the participant
            assert [key for key in kept if not key.startswith(own)] == []


@pytest.fixture
def page(open_page: Callable[..., Page], server: AppServer) -> Iterator[Page]:
    """A Korean visitor's page at desktop width."""
    yield open_page(server)
    assert server.list_files() == []


def wait_until_ready(page: Page) -> None:
    """The script has filled in the choices, in one of the languages."""
    expect(page.locator("[data-setting=taxonomy] option").first).to_be_attached()
    expect(page.locator("[data-language][aria-pressed=true]")).to_have_count(1)
