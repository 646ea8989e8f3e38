"""What people do and mean no harm: two tabs, the back button, double clicks, rests."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from survey import store
from survey.database import open_database, transaction
from tests.browser.survey_steps import (
    answer_by_key,
    answer_up_to,
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
from tests.survey.samples import SMALL

pytestmark = pytest.mark.browser


def test_two_tabs_answer_each_face_once(open_page: Callable[..., Page], server: AppServer) -> None:
    page = open_page(server)
    go_to_practice(page)
    other = page.context.new_page()
    other.goto(server.url)
    open_tab(other)
    press_primary(other)
    expect_screen(other, "practice")
    press_primary(other)
    wait_until_ready(other)
    for tab, key in ((page, "1"), (other, "1"), (page, "2"), (other, "2")):
        answer_by_key(tab, key)
    assert read_progress(page) == read_progress(other) == "3 / 5"
    answers = list_answers(server, get_code(page))
    assert [label for label, *_ in answers] == ["기쁨", "당황"]
    assert {revisions for *_, revisions in answers} == {0}


def test_the_back_button_leaves_and_returns_without_loss(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    answer_by_key(page, "1")
    page.go_back()
    expect(page.locator(".kfer-survey")).to_have_count(0)
    page.go_forward()
    open_tab(page)
    expect_screen(page, "welcome-back")
    press_primary(page)
    expect_screen(page, "practice")
    press_primary(page)
    wait_until_ready(page)
    assert read_progress(page) == "2 / 5"
    assert len(list_answers(server, get_code(page))) == 1


def click_again(page: Page) -> None:
    """The second half of a double click, where the mouse already is."""
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)


def test_a_double_click_answers_one_face_and_skips_no_screen(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    for _ in range(5):
        wait_until_ready(page)
        page.locator("[data-option=기쁨]").dblclick()
        page.locator(".kfer-answers .kfer-primary").click()
        click_again(page)
    expect_screen(page, "main")
    press_primary(page)
    wait_until_ready(page)
    page.locator("[data-option=기쁨]").click()
    expect(page.locator(".kfer-progress span")).to_have_text("2 / 100")
    wait_until_ready(page)
    click_again(page)
    page.locator("[data-option=당황]").click()
    expect(page.locator(".kfer-progress span")).to_have_text("3 / 100")
    answers = list_answers(server, get_code(page))
    assert [label for label, *_ in answers] == ["기쁨"] * 6 + ["당황"]
    assert {revisions for *_, revisions in answers} == {0}


def test_a_rest_hides_the_face_and_marks_its_answer(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    code = get_code(page)
    page.locator(".kfer-trial-top button").click()
    expect_screen(page, "pause")
    expect(page.locator(".kfer-survey img")).to_have_count(0)
    page.keyboard.press("1")  # answers nothing that is not to be seen
    page.locator(".kfer-my-code summary").click()
    expect(page.locator(".kfer-receipt code")).to_have_text(code)
    page.keyboard.press("Enter")  # shuts what the keyboard is on
    expect(page.locator(".kfer-receipt code")).to_be_hidden()
    press_primary(page)
    wait_until_ready(page)
    assert list_answers(server, code) == []
    answer_by_key(page, "1")
    answer_by_key(page, "1")
    with sqlite3.connect(server.data / "kfer.sqlite") as database:
        rows = database.execute(
            "SELECT blurred FROM response JOIN trial ON trial.id = trial_id "
            "WHERE participation_id = (SELECT max(id) FROM participation) ORDER BY position"
        ).fetchall()
    database.close()
    assert rows == [(1,), (0,)]


def test_everything_can_be_deleted_on_the_way(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, locale="en-US")
    go_to_practice(page)
    answer_by_key(page, "1")
    code = get_code(page)
    page.keyboard.press("Escape")
    page.locator(".kfer-my-code summary").click()
    page.get_by_role("button", name="Delete all my answers").click()
    page.get_by_role("button", name="No", exact=True).click()
    page.get_by_role("button", name="Delete all my answers").click()
    page.get_by_role("button", name="Yes, delete").click()
    expect_screen(page, "deleted")
    gone = page.request.post(f"{server.url}/survey/api/resume", data={"code": code})
    assert gone.status == 422
    page.get_by_role("button", name="Start anew").click()
    expect_screen(page, "consent")


@pytest.mark.parametrize(
    ("completion", "shown"), [("https://panel.example/done?cc=C1", "link"), ("CODE-77", "code")]
)
def test_a_panel_gets_its_people_back(
    completion: str, shown: str, open_page: Callable[..., Page], server: AppServer
) -> None:
    name = f"panel-{shown}"
    with open_study(server, name, replace(SMALL, completion=completion)) as (study, _):
        page = open_page(server)
        page.goto(f"{server.url}/?study={name}&PROLIFIC_PID=p-123&SESSION_ID=s-9")
        go_to_practice(page)
        code = page.evaluate(f"localStorage.getItem('kfer-survey-{name}')")
        answer_up_to(page, server, code, "main", 10)
        page.reload()
        open_tab(page)
        press_primary(page)
        answer_by_key(page, "1")
        expect_screen(page, "result")
        if shown == "link":
            expect(page.locator("a.kfer-completion")).to_have_attribute("href", completion)
        else:
            expect(page.locator(".kfer-receipt code").first).to_have_text(completion)
        engine = open_database(f"sqlite:///{server.data / 'kfer.sqlite'}")
        with transaction(engine, writes=False) as session:
            responses = store.list_responses(session, study)
        engine.dispose()
        assert {tuple(sorted(response.background.items())) for response in responses} == {
            (("prolific_pid", "p-123"), ("session_id", "s-9"))
        }
