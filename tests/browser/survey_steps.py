"""What a participant does in the browser, step by step, and what of it is in the database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from playwright.sync_api import Page, expect
from sqlalchemy import select

from survey import participation, studies
from survey.database import open_database, transaction
from survey.models import Response, Trial
from survey.records import StudyDefinition, StudyRecord
from tests.servers import AppServer
from tests.survey.conftest import NOW
from tests.survey.samples import add_study

SETTLE_MS = 200  # what comes sooner answers no face
NEXT = """before => {
  const survey = document.querySelector(".kfer-survey");
  return survey.dataset.screen !== "trial" || survey.dataset.ready !== before;
}"""


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Take part").click()
    expect(page.locator(".kfer-survey-page")).to_be_visible()


def press_primary(page: Page, tap: bool = False) -> None:
    button = page.locator(".kfer-survey .kfer-buttons .kfer-primary")
    button.tap() if tap else button.click()


def expect_screen(page: Page, name: str) -> None:
    expect(page.locator(f".kfer-survey[data-screen={name}]")).to_be_visible()


def come_back(page: Page) -> None:
    """Reloads the page and goes on from what the device has kept."""
    page.reload()
    open_tab(page)
    expect_screen(page, "welcome-back")
    press_primary(page)


def go_to_practice(page: Page, tap: bool = False) -> None:
    open_tab(page)
    page.locator(".kfer-agree input").check()
    for screen in ("consent", "background", "instructions", "practice"):
        expect_screen(page, screen)
        press_primary(page, tap)
        page.wait_for_function(
            "screen => document.querySelector('.kfer-survey').dataset.screen !== screen", arg=screen
        )
    wait_until_ready(page)


def wait_until_ready(page: Page) -> str:
    """The id of the trial whose image is on the screen, long enough to be answered."""
    expect(page.locator("[data-option]:enabled").first).to_be_visible()
    seen = page.evaluate("document.timeline.currentTime")
    page.wait_for_function(
        "([seen, settle]) => performance.now() - seen >= settle", arg=[seen, SETTLE_MS]
    )
    return page.locator(".kfer-survey").get_attribute("data-ready") or ""


def put_clock_on(page: Page, milliseconds: int) -> None:
    """Until it is reloaded, the page takes every face to have been seen for so much longer."""
    page.evaluate(
        """milliseconds => {
          const now = performance.now.bind(performance);
          performance.now = () => now() + milliseconds;
        }""",
        milliseconds,
    )


def read_progress(page: Page) -> str:
    return page.locator(".kfer-progress span").inner_text()


def answer_by_key(page: Page, key: str, stop_at: Sequence[str] = ()) -> str:
    """Answers, and goes on through feedback, beginning and rests; the screen that follows."""
    go_on = partial(page.keyboard.press, "Enter")
    return _answer(page, partial(page.keyboard.press, key), go_on, stop_at)


def answer_by_tap(page: Page, option: str) -> str:
    """As ``answer_by_key``, by touch alone."""
    primary = page.locator(".kfer-survey .kfer-primary:visible")
    return _answer(page, page.locator(f"[data-option={option}]").tap, primary.tap, ())


def _answer(
    page: Page, give: Callable[[], None], go_on: Callable[[], None], stop_at: Sequence[str]
) -> str:
    before = wait_until_ready(page)
    give()
    page.wait_for_function(
        "before => document.querySelector('.kfer-feedback') || (" + NEXT + ")(before)", arg=before
    )
    while True:
        screen = page.locator(".kfer-survey").get_attribute("data-screen") or ""
        told = page.locator(".kfer-feedback").count() > 0
        if told or (screen in ("main", "rest") and screen not in stop_at):
            go_on()
            page.wait_for_function(
                """screen => document.querySelector(".kfer-survey").dataset.screen !== screen
                  || !document.querySelector(".kfer-feedback")""",
                arg=screen,
            )
        else:
            return screen


def answer_up_to(
    page: Page, server: AppServer, code: str, phase: str, position: int | None
) -> None:
    """Behind the page's back, as another device would, until that trial (None: the end)."""
    while True:
        asked = page.request.post(f"{server.url}/survey/api/resume", data={"code": code})
        trial = asked.json()["trial"]
        if trial is None or (trial["phase"], trial["position"]) == (phase, position):
            return
        page.request.post(
            f"{server.url}/survey/api/answer",
            data={"code": code, "trial_id": trial["id"], "label": "기쁨", "response_ms": 900},
        )


def list_answers(server: AppServer, code: str) -> list[Any]:
    columns = (Response.label, Response.response_ms, Response.device, Response.revisions)
    return _list_responses(server, code, *columns)


def list_blurred(server: AppServer, code: str) -> list[bool]:
    return [blurred for (blurred,) in _list_responses(server, code, Response.blurred)]


def _list_responses(server: AppServer, code: str, *columns: Any) -> list[Any]:
    engine = open_database(f"sqlite:///{server.data / 'kfer.sqlite'}")
    with transaction(engine, writes=False) as session:
        found = participation._get(session, code)
        rows = session.execute(
            select(*columns)
            .join(Trial)
            .where(Trial.participation_id == found.id)
            .order_by(Trial.position)
        ).all()
    engine.dispose()
    return [tuple(row) for row in rows]


@contextmanager
def open_study(
    server: AppServer, name: str, definition: StudyDefinition
) -> Iterator[tuple[StudyRecord, Callable[[], None]]]:
    """A study beside the demo, and what closes it; at the end it is closed."""
    engine = open_database(f"sqlite:///{server.data / 'kfer.sqlite'}")
    study = add_study(engine, name, definition)

    def close() -> None:
        with transaction(engine) as session:
            if not studies.get_study(session, name).closed_at:
                studies.close_study(session, name, NOW)

    try:
        yield study, close
    finally:
        close()  # the demo is on again for other tests
        engine.dispose()


def get_code(page: Page, study: str = "demo") -> str:
    code: str = page.evaluate("study => localStorage.getItem(`kfer-survey-${study}`)", study)
    return code
