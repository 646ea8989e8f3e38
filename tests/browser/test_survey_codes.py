"""Codes that lead back: in an address, on the device, into a study that is over."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.survey_steps import (
    answer_by_key,
    answer_up_to,
    come_back,
    expect_screen,
    get_code,
    go_to_practice,
    list_answers,
    open_study,
    open_tab,
    press_primary,
    put_clock_on,
    wait_until_ready,
)
from tests.servers import AppServer
from tests.survey.samples import SMALL, TEXTS

pytestmark = pytest.mark.browser


def test_a_code_in_the_address_gives_way_to_a_newer_one(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    old = get_code(page)
    page.goto(f"{server.url}/?study=demo#code={old}")
    page.reload()
    open_tab(page)
    expect_screen(page, "welcome-back")
    # Who starts again loses the way back: the code is shown, and they are asked.
    expect(page.locator(".kfer-my-code code")).to_have_text(old)
    page.get_by_role("button", name="처음부터 하기").click()
    page.get_by_role("button", name="아니요").click()
    assert get_code(page) == old
    page.get_by_role("button", name="처음부터 하기").click()
    page.get_by_role("button", name="네, 새로 시작할게요").click()
    go_to_practice(page)
    new = get_code(page)
    assert new != old
    answer_by_key(page, "1")
    come_back(page)
    expect_screen(page, "practice")
    assert get_code(page) == new
    # Nor does a link that leads nowhere take away what the device keeps.
    page.goto(f"{server.url}/?study=demo#code=0000-0000-0000-0000")
    come_back(page)
    expect(page.locator(".kfer-survey .kfer-error")).to_contain_text("모르는 코드")
    assert get_code(page) == new
    come_back(page)
    expect_screen(page, "practice")
    assert len(list_answers(server, new)) == 1


def test_a_code_of_another_study_leads_into_that_one(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    definition = replace(SMALL, taxonomy="fer7", size=14)
    with open_study(server, "seven", definition):
        page = open_page(server, query="?study=demo")
        expect_screen(page, "consent")
        begun = page.request.post(
            f"{server.url}/survey/api/start",
            data={"study": "seven", "consent": True, "language": "ko"},
        ).json()
        code = begun["code"]
        page.locator(".kfer-have-code summary").click()
        page.locator(".kfer-have-code input").fill(code.replace("-", "").lower())
        page.locator(".kfer-have-code button").click()
        expect_screen(page, "practice")
        press_primary(page)
        wait_until_ready(page)
        expect(page.locator("[data-option=혐오]")).to_have_text("2혐오")
        answer_by_key(page, "2")
        assert [label for label, *_ in list_answers(server, code)] == ["혐오"]
        assert (get_code(page, "seven"), get_code(page)) == (code, None)
        # The device comes back to it, and its link leads there.
        page.reload()
        expect_screen(page, "welcome-back")
        page.evaluate("""() => Object.defineProperty(navigator, "clipboard", {
          value: { writeText: async (text) => { window.copied = text; } },
        })""")
        page.get_by_role("button", name="링크 복사하기").click()
        assert page.evaluate("window.copied") == f"{server.url}/?study=seven#code={code}"
        answer_up_to(page, server, code, "main", None)
        press_primary(page)
        expect_screen(page, "result")
        expect(page.locator(".kfer-parts").first).to_contain_text("혐오")
        expect(page.locator(".kfer-survey .kfer-note")).to_have_count(0)  # no demonstration


def test_a_study_that_is_over_still_shows_results_and_deletes(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    with open_study(server, "over", SMALL) as (_, close):
        page = open_page(server, query="?study=over")
        go_to_practice(page)
        done = get_code(page, "over")
        answer_up_to(page, server, done, "main", None)
        other = open_page(server, query="?study=over")
        go_to_practice(other)
        answer_by_key(other, "1")
        close()
        # In the middle of it: the next face does not come.
        wait_until_ready(other)
        other.keyboard.press("2")
        expect(other.locator(".kfer-survey .kfer-error")).to_contain_text("끝났어요")
        other.reload()
        open_tab(other)
        expect_screen(other, "welcome-back")
        expect(other.get_by_role("button", name="처음부터 하기")).to_have_count(0)
        press_primary(other)
        expect_screen(other, "closed")
        expect(other.locator(".kfer-survey")).to_contain_text("이 설문은 끝났어요")
        # Whoever has finished comes to the result by the link, and can delete everything.
        page.goto(f"{server.url}/?study=over#code={done}")
        come_back(page)
        expect_screen(page, "result")
        page.get_by_role("button", name="내 답 모두 지우기").click()
        page.get_by_role("button", name="네, 지워 주세요").click()
        expect_screen(page, "deleted")
        # Without a code there is nothing to do but to type one.
        page.reload()
        open_tab(page)
        expect_screen(page, "closed")
        expect(page.locator(".kfer-have-code")).to_be_visible()


def test_a_face_that_was_left_for_hours_is_answered_and_marked(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    sent: list[dict[str, object]] = []

    def watch(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or "{}"))
        route.continue_()

    page.route("**/survey/api/answer", watch)
    put_clock_on(page, 4 * 3_600_000)
    answer_by_key(page, "1")
    (answer,) = sent
    assert answer["response_ms"] == 3_600_000
    client = answer["client"]
    assert isinstance(client, dict)
    assert client["blurred"] is True
    assert len(list_answers(server, get_code(page))) == 1


def test_a_study_in_one_language_can_be_taken_part_in_from_any_browser(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    english = {"en": TEXTS["en"]}
    with open_study(server, "english", replace(SMALL, title=english, consent=english)):
        page = open_page(server, query="?study=english")
        go_to_practice(page)
        assert answer_by_key(page, "1") == "trial"
