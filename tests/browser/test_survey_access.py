"""Every screen of the survey, for eyes, ears and fingers of all kinds: axe-core and a ruler."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.axe import find_violations
from tests.browser.conftest import PHONE
from tests.browser.survey_steps import (
    answer_by_key,
    answer_up_to,
    come_back,
    expect_screen,
    get_code,
    go_to_practice,
    open_tab,
    press_primary,
    wait_until_ready,
)
from tests.servers import AppServer

pytestmark = pytest.mark.browser

SMALLEST_TARGET = 44  # px
SIZES = ((1280, 800), PHONE)
# Every two of language, width and theme meet; what else axe finds depends on one of them alone.
LOOKS_FOR_AXE = {"ko 1280 light", "ko 390 dark", "en 1280 dark", "en 390 light"}

# What is hard to hit, cut off, or reaches out of the page.
FIND_UNFIT = """(smallest) => {
  const shown = (selector) => [...document.querySelectorAll(`.kfer-survey :is(${selector})`)]
    .filter((element) => element.checkVisibility());
  const say = (why) => (element) => `${why}: ${element.outerHTML.slice(0, 80)}`;
  return [
    ...shown("button, summary, select, input:not([type=checkbox]), label:has([type=checkbox])")
      .filter((element) => element.getBoundingClientRect().height < smallest).map(say("low")),
    ...shown("button").filter((element) => element.getBoundingClientRect().width < smallest)
      .map(say("narrow")),
    ...shown("button, .kfer-word, td, th, p")
      .filter((element) => element.scrollWidth > element.clientWidth + 1
        && getComputedStyle(element).display !== "inline").map(say("cut off")),
    ...shown("*").filter((element) => {
      const { left, right } = element.getBoundingClientRect();
      return left < -1 || right > document.documentElement.clientWidth + 1;
    }).map(say("outside")),
  ];
}"""


def list_looks(page: Page) -> Iterator[str]:
    """The page as it is, in both languages, at both widths, light and dark, one after another."""
    for language in ("ko", "en"):
        page.locator(f"[data-language={language}]").evaluate("(button) => button.click()")
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            for theme in ("light", "dark"):
                page.evaluate(
                    "dark => document.body.classList.toggle('dark', dark)", theme == "dark"
                )
                yield f"{language} {width} {theme}"


def check_screen(page: Page, name: str, part: str = ".kfer-survey") -> None:
    """No look of the screen breaks a rule of axe's, is cut off or too small to hit."""
    found: dict[str, list[str]] = {}
    for look in list_looks(page):
        wrong = page.evaluate(FIND_UNFIT, SMALLEST_TARGET)
        if look in LOOKS_FOR_AXE:
            wrong += find_violations(page, part)
        if wrong:
            found[f"{name} {look}"] = wrong
    assert found == {}


@pytest.fixture
def refusing(open_page: Callable[..., Page], server: AppServer) -> tuple[Page, set[str]]:
    """A page, and the steps that do not reach the server just now."""
    page = open_page(server)
    refused: set[str] = set()

    def pass_on(route: Route) -> None:
        step = route.request.url.partition("/api/")[2].partition("?")[0]
        if step in refused:
            route.abort()
        else:
            route.continue_()

    page.route("**/survey/api/*", pass_on)
    return page, refused


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_screen_up_to_the_first_answers(refusing: tuple[Page, set[str]]) -> None:
    page, refused = refusing
    refused |= {"study", "start", "answer"}
    page.reload()
    open_tab(page)
    expect(page.locator(".kfer-survey .kfer-error")).to_be_visible()
    check_screen(page, "out of reach")
    refused.remove("study")
    page.locator(".kfer-survey .kfer-error button").click()
    expect_screen(page, "consent")
    page.locator(".kfer-have-code summary").click()
    page.locator(".kfer-have-code input").fill("0000-0000-0000")
    page.locator(".kfer-have-code button").click()
    expect(page.locator(".kfer-survey .kfer-error")).to_be_visible()
    # The whole page once, for the rules on its outline: as of Gradio 6.31 its part breaks none.
    check_screen(page, "consent with a wrong code", "html")
    page.locator(".kfer-agree input").check()
    press_primary(page)
    press_primary(page)
    expect(page.locator(".kfer-survey .kfer-error")).to_be_visible()
    check_screen(page, "background that cannot be sent")
    refused.remove("start")
    page.locator(".kfer-survey .kfer-buttons .kfer-primary").click()
    expect_screen(page, "instructions")
    expect(page.locator(".kfer-words-list li span:last-child")).to_have_count(6)
    for screen in ("instructions", "practice"):
        expect_screen(page, screen)
        check_screen(page, screen)
        press_primary(page)
    wait_until_ready(page)
    check_screen(page, "practice trial")
    page.keyboard.press("1")
    expect(page.locator(".kfer-survey .kfer-error")).to_be_visible()
    check_screen(page, "answer that cannot be sent")
    refused.remove("answer")
    page.locator(".kfer-survey .kfer-error button").click()
    expect(page.locator(".kfer-feedback")).to_be_visible()
    check_screen(page, "feedback")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_screen_from_the_first_face_to_the_end(
    refusing: tuple[Page, set[str]], server: AppServer
) -> None:
    page, refused = refusing
    begun = page.request.post(
        f"{server.url}/survey/api/start",
        data={"study": "demo", "consent": True, "language": "ko"},
    ).json()
    code = begun["code"]
    page.evaluate("code => localStorage.setItem('kfer-survey-demo', code)", code)
    answer_up_to(page, server, code, "practice", 5)
    page.reload()
    open_tab(page)
    expect_screen(page, "welcome-back")
    page.get_by_role("button", name="처음부터 하기").click()
    check_screen(page, "welcome back")
    press_primary(page)
    expect_screen(page, "practice")
    press_primary(page)
    answer_by_key(page, "1", stop_at=("main",))
    check_screen(page, "main begins")
    press_primary(page)
    wait_until_ready(page)
    check_screen(page, "trial")
    page.keyboard.press("Escape")
    expect_screen(page, "pause")
    check_screen(page, "pause")
    answer_up_to(page, server, code, "main", 25)
    come_back(page)
    answer_by_key(page, "1", stop_at=("rest",))
    page.locator(".kfer-my-code summary").click()
    check_screen(page, "rest")
    answer_up_to(page, server, code, "main", None)
    come_back(page)
    expect_screen(page, "result")
    page.reload()
    open_tab(page)
    expect(page.locator(".kfer-survey .kfer-primary")).to_have_text("See my result")
    press_primary(page)
    expect_screen(page, "result")
    check_screen(page, "result")
    refused.add("withdraw")
    page.locator(".kfer-survey .kfer-buttons button").click()
    page.locator(".kfer-survey .kfer-buttons button").first.click()
    expect(page.locator(".kfer-survey .kfer-error")).to_be_visible()
    check_screen(page, "withdrawal that cannot be sent")
    refused.clear()
    page.locator(".kfer-survey .kfer-buttons button").first.click()
    expect_screen(page, "deleted")
    check_screen(page, "deleted")
    assert get_code(page) is None


def test_the_keyboard_goes_through_a_trial_in_reading_order(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    wait_until_ready(page)
    expect(page.locator(".kfer-answers h2")).to_be_focused()
    order = []
    for _ in range(6):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        order.append(focused.get_attribute("data-option"))
        ring = focused.evaluate("(element) => getComputedStyle(element).outline")
        assert "solid 3px" in ring
    assert order == ["기쁨", "당황", "분노", "슬픔", "중립", "cannot_tell"]
    page.keyboard.press("Enter")
    expect(page.locator(".kfer-answers .kfer-primary")).to_be_focused()
    page.keyboard.press("Enter")
    wait_until_ready(page)
    expect(page.locator(".kfer-answers h2")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.locator(".kfer-trial-top button")).to_be_focused()
