"""What comes between the page and the server, and where the device keeps nothing."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from survey.database import open_database
from tests.browser.survey_steps import (
    answer_by_key,
    come_back,
    expect_screen,
    get_code,
    go_to_practice,
    list_answers,
    open_study,
    open_tab,
    press_primary,
    read_progress,
    wait_until_ready,
)
from tests.servers import AppServer
from tests.survey.samples import SMALL, add_version

pytestmark = pytest.mark.browser

FOREIGN = [
    {"status": 200, "content_type": "text/html", "body": "<h1>Log in to the hotel's network</h1>"},
    {"status": 429, "content_type": "text/html", "body": "<h1>Too many requests</h1>"},
    {"status": 404, "json": {"detail": "no such route"}},
    {"status": 429, "json": {"error": "too many requests"}},
    {"status": 200, "content_type": "application/json", "body": "null"},
]


@pytest.mark.parametrize(
    "reply", FOREIGN, ids=["login", "proxy", "other server", "limiter", "nothing"]
)
def test_a_reply_that_is_not_ours_costs_neither_code_nor_answer(
    reply: dict[str, object], open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    broken: set[str] = set()  # the routes that something else answers

    def interfere(route: Route) -> None:
        if route.request.url.rpartition("/")[2] in broken:
            route.fulfill(**reply)  # type: ignore[arg-type]
        else:
            route.continue_()

    # From the start: a request that is sent just as routing begins may get past it.
    page.route("**/survey/api/*", interfere)
    go_to_practice(page)
    code = get_code(page)
    broken.add("answer")
    page.keyboard.press("1")
    error = page.locator(".kfer-survey .kfer-error")
    expect(error).to_be_visible()
    broken.clear()
    error.get_by_role("button").click()
    expect(page.locator(".kfer-feedback")).to_be_visible()
    assert len(list_answers(server, code)) == 1

    broken.add("resume")
    come_back(page)
    expect(error).to_be_visible()
    assert get_code(page) == code
    broken.clear()
    press_primary(page)
    expect_screen(page, "practice")


def test_a_beginning_whose_reply_is_lost_begins_once(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    lost: list[str] = []

    def lose(route: Route) -> None:
        reply = route.fetch().json()
        if lost:
            route.fulfill(json=reply)
        else:
            route.abort()
        lost.append(reply["code"])

    page.route("**/survey/api/start", lose)
    open_tab(page)
    page.locator(".kfer-agree input").check()
    press_primary(page)
    expect_screen(page, "background")
    press_primary(page)
    expect(page.locator(".kfer-survey .kfer-error")).to_be_visible()
    press_primary(page)
    expect_screen(page, "instructions")
    assert lost == [get_code(page)] * 2  # nobody is left behind whom no code can delete


def test_a_study_that_changes_meanwhile_is_read_once_more(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    with open_study(server, "changed", SMALL):
        page = open_page(server, query="?study=changed")
        page.locator(".kfer-agree input").check()
        press_primary(page)
        expect_screen(page, "background")
        engine = open_database(f"sqlite:///{server.data / 'kfer.sqlite'}")
        add_version(engine, "changed")
        engine.dispose()
        press_primary(page)
        error = page.locator(".kfer-survey .kfer-error")
        expect(error).to_contain_text("설문이 바뀌었어요")
        error.get_by_role("button").click()
        expect_screen(page, "consent")
        expect(page.locator(".kfer-agree input")).not_to_be_checked()
        go_to_practice(page)


def test_where_the_device_keeps_nothing_the_address_keeps_the_code(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    page.context.add_init_script(
        "Storage.prototype.setItem = () => { throw new DOMException('', 'SecurityError'); };"
    )
    page.reload()
    go_to_practice(page)
    answer_by_key(page, "1")
    code = page.url.partition("#code=")[2]
    assert len(list_answers(server, code)) == 1
    come_back(page)
    expect_screen(page, "practice")
    press_primary(page)
    wait_until_ready(page)
    assert read_progress(page).startswith("2 / ")


def test_a_reload_stays_in_the_study_that_was_begun(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    answer_by_key(page, "1")
    with open_study(server, "newer", SMALL):  # which a bare address is offered from now on
        come_back(page)
        expect_screen(page, "practice")
        assert len(list_answers(server, get_code(page))) == 1


def test_a_study_that_there_is_none_of_is_not_called_closed(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, query="?study=nope")
    open_tab(page)
    expect(page.locator(".kfer-survey-page")).to_contain_text("그런 설문은 없어요.")


def test_where_no_study_is_open_a_code_still_leads_back(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    code = get_code(page)
    page.route(
        "**/survey/api/study*",
        lambda route: route.fulfill(
            status=422, json={"error": {"ko": "열린 설문이 없어요.", "en": "No study is open."}}
        ),
    )
    page.goto(f"{server.url}/#code={code}")
    page.reload()
    open_tab(page)
    expect(page.locator(".kfer-have-code input")).to_have_value(code)
    page.locator(".kfer-have-code button").click()
    expect_screen(page, "practice")
