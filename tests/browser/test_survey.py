"""A bot takes part in the demo study: by keyboard alone, by touch, and with accidents."""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Response, expect

from survey.demo_study import FOLDER
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.survey_steps import (
    SETTLE_MS,
    answer_by_key,
    answer_by_tap,
    come_back,
    expect_screen,
    get_code,
    go_to_practice,
    list_answers,
    open_tab,
    press_primary,
    put_clock_on,
    read_progress,
    wait_until_ready,
)
from tests.servers import AppServer

pytestmark = pytest.mark.browser


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_whole_study_by_keyboard_leaks_nothing(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    before = server.list_files()
    page = open_page(server)
    bodies: list[Response] = []
    page.on("response", lambda response: bodies.append(response))
    go_to_practice(page)
    put_clock_on(page, SETTLE_MS)  # nobody waits 105 times for what another test is about
    for index in range(105):
        screen = answer_by_key(page, str(index % 5 + 1))
    assert screen == "result"
    expect(page.locator(".kfer-score")).to_contain_text(re.compile(r"100장 중 \d+장을 맞히셨어요"))
    expect(page.locator(".kfer-scale li")).to_have_count(2)
    answers = list_answers(server, get_code(page))
    assert len(answers) == 105
    assert [label for label, *_ in answers[:5]] == ["기쁨", "당황", "분노", "슬픔", "중립"]
    assert {(device, revisions) for _, _, device, revisions in answers} == {("key", 0)}
    assert all(0 <= response_ms < 60_000 for _, response_ms, *_ in answers)

    images = [response for response in bodies if "/survey/image/" in response.url]
    assert len(images) >= 105
    assert [response.url for response in images if response.status != 200] == []
    assert {response.headers["content-length"] for response in images} == {str(64 * 1024)}
    names = [path.stem for path in FOLDER.glob("*.webp")]
    for response in bodies:
        assert not any(f"{name}." in response.url for name in names)
    steps = [json.loads(response.text()) for response in bodies if "/api/answer" in response.url]
    for step in steps[5:-1]:
        told = {**step["trial"], "options": [], "labels": {}}
        assert not re.search("public|private|[가-힣]", json.dumps(told, ensure_ascii=False))
    for route in ("config", "gradio_api/info"):
        told = page.request.get(f"{server.url}/{route}").text()
        assert not any(f"{name}." in told for name in names)
    assert page.request.get(f"{server.url}/gradio_api/runs").status == 404
    assert server.list_files() == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_whole_study_by_touch_on_a_phone(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=PHONE, touch=True)
    go_to_practice(page, tap=True)
    put_clock_on(page, SETTLE_MS)
    expect_to_fit(page)
    options = ["기쁨", "당황", "분노", "슬픔", "중립", "cannot_tell"]
    seen: list[str] = []
    for index in range(105):
        screen = answer_by_tap(page, options[index % 6])
        if screen != "trial" and screen not in seen:
            seen.append(screen)
        if index in (5, 30, 104):
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        if index == 30:
            expect_to_fit(page)
    assert seen == ["result"]
    expect(page.locator(".kfer-score")).to_contain_text(re.compile(r"100장 중 \d+장을 맞히셨어요"))
    answers = list_answers(server, get_code(page))
    assert [label for label, *_ in answers] == [options[index % 6] for index in range(105)]
    assert {(device, revisions) for _, _, device, revisions in answers} == {("touch", 0)}
    page.locator(".kfer-survey button", has_text="내 답 모두 지우기").tap()
    page.locator(".kfer-survey button", has_text="네, 지워 주세요").tap()
    expect(page.locator(".kfer-survey")).to_contain_text("모두 지웠어요")


def test_no_answer_is_cut_at_any_size(open_page: Callable[..., Page], server: AppServer) -> None:
    page = open_page(server, locale="en-US")  # its labels are the longest
    go_to_practice(page)
    for width, height in (DESKTOP, (1024, 768), (800, 900), (844, 390), PHONE, (320, 640)):
        page.set_viewport_size({"width": width, "height": height})
        for option in page.locator("[data-option]").all():
            hidden = option.evaluate("option => option.scrollWidth - option.clientWidth")
            assert hidden <= 0, (width, option.inner_text())
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def expect_to_fit(page: Page) -> None:
    """Face and answers are seen without scrolling, and the answers are large enough to touch."""
    wait_until_ready(page)
    for option in page.locator("[data-option]").all():
        expect(option).to_be_in_viewport(ratio=1)
        box = option.bounding_box()
        assert box is not None
        assert box["height"] >= 48
    expect(page.locator(".kfer-face")).to_be_in_viewport(ratio=1)


def test_reload_another_device_and_back(open_page: Callable[..., Page], server: AppServer) -> None:
    page = open_page(server)
    go_to_practice(page)
    for key in "12345":
        answer_by_key(page, key)
    answer_by_key(page, "1")
    answer_by_key(page, "2")
    assert read_progress(page) == "3 / 100"
    code = get_code(page)

    come_back(page)
    wait_until_ready(page)
    assert read_progress(page) == "3 / 100"

    page.keyboard.press("Backspace")
    expect(page.locator(".kfer-progress span")).to_have_text("2 / 100")
    wait_until_ready(page)
    expect(page.locator("[data-option=당황]")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("5")
    expect(page.locator(".kfer-progress span")).to_have_text("3 / 100")
    assert list_answers(server, code)[-1][0] == "중립"
    assert list_answers(server, code)[-1][3] == 1

    other = open_page(server, locale="en-US")
    open_tab(other)
    other.locator(".kfer-have-code summary").click()
    other.locator(".kfer-have-code input").fill("0000-0000-0000")
    other.locator(".kfer-have-code button").click()
    expect(other.locator(".kfer-survey .kfer-error")).to_contain_text("This code is not known")
    other.locator(".kfer-have-code input").fill(code.lower())
    other.locator(".kfer-have-code button").click()
    wait_until_ready(other)
    assert read_progress(other) == "3 / 100"
    expect(other.locator("[data-option=기쁨] span")).to_have_text("joy")
    answer_by_key(other, "3")
    # The first page does not know that yet: its answer comes out of turn, and it is put right.
    wait_until_ready(page)
    page.keyboard.press("3")
    expect(page.locator(".kfer-progress span")).to_have_text("4 / 100")
    assert len(list_answers(server, code)) == 8


def test_a_link_leads_back_to_the_trial(open_page: Callable[..., Page], server: AppServer) -> None:
    page = open_page(server, query="?study=demo")
    expect_screen(page, "consent")  # the tab is open already
    go_to_practice(page)
    answer_by_key(page, "1")
    code = get_code(page)
    page.reload()
    expect_screen(page, "welcome-back")
    page.get_by_role("button", name="링크 복사하기").click()
    # In a page without a clipboard the link is shown, to be copied by hand.
    expect(page.get_by_role("button", name=re.compile("복사했어요|복사해 주세요"))).to_be_visible()
    asked: list[str] = []
    other = open_page(server, locale="en-US", query=f"?study=demo#code={code}")
    other.on("request", lambda request: asked.append(request.url))
    expect_screen(other, "welcome-back")
    press_primary(other)
    expect_screen(other, "practice")
    press_primary(other)
    wait_until_ready(other)
    assert read_progress(other) == "2 / 5"
    assert not any(code in url for url in asked)


def test_a_lost_connection_loses_no_answer(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    # From the start: a route set up late may miss the request that follows at once.
    lost = [True]
    page.route(
        "**/survey/api/answer", lambda route: route.abort() if lost[0] else route.continue_()
    )
    go_to_practice(page)
    page.keyboard.press("2")
    expect(page.locator(".kfer-survey .kfer-error")).to_contain_text("답은 이 화면에 그대로 있으니")
    assert list_answers(server, get_code(page)) == []
    lost[0] = False
    page.locator(".kfer-survey .kfer-error button").click()
    expect(page.locator(".kfer-feedback")).to_be_visible()
    assert len(list_answers(server, get_code(page))) == 1


def test_everything_can_be_deleted_by_oneself(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    code = get_code(page)
    for index in range(105):
        step = page.request.post(f"{server.url}/survey/api/resume", data={"code": code}).json()
        if step["trial"]:
            page.request.post(
                f"{server.url}/survey/api/answer",
                data={
                    "code": code, "trial_id": step["trial"]["id"], "label": "기쁨",
                    "response_ms": index, "client": {"device": "mouse"},
                },
            )  # fmt: skip
    come_back(page)
    expect_screen(page, "result")
    expect(page.locator(".kfer-score")).to_have_text("100장 중 20장을 맞히셨어요")
    expect(page.locator(".kfer-receipt code")).to_have_text(code)
    page.get_by_role("button", name="내 답 모두 지우기").click()
    page.get_by_role("button", name="네, 지워 주세요").click()
    expect_screen(page, "deleted")
    expect(page.locator(".kfer-survey-page")).to_contain_text(
        "214"
    )  # 105 trials and answers, 2 flags, 2
    gone = page.request.post(f"{server.url}/survey/api/resume", data={"code": code})
    assert gone.status == 422
    assert get_code(page) is None
