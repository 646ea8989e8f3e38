"""What people do and mean no harm: two tabs, the back button, double clicks, rests."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from survey import store
from survey.database import open_database, transaction
from tests.browser.survey_steps import (
    answer_by_key,
    answer_up_to,
    come_back,
    expect_screen,
    get_code,
    go_to_practice,
    list_answers,
    list_blurred,
    open_study,
    open_tab,
    press_primary,
    put_clock_on,
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


def test_what_is_pressed_twice_answers_no_face_unseen(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    code = get_code(page)
    answer_up_to(page, server, code, "main", 2)
    come_back(page)
    wait_until_ready(page)
    # Whoever hits a key or taps once more does so as soon as the next face has come up.
    page.evaluate("""() => {
      const survey = document.querySelector(".kfer-survey");
      new MutationObserver(() => {
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "2", bubbles: true }));
        survey.querySelector("[data-option=슬픔]").click();
      }).observe(survey, { attributeFilter: ["data-ready"] });
    }""")
    for key, place in (("1", "3"), ("3", "4")):
        answer_by_key(page, key)
        wait_until_ready(page)
        assert read_progress(page) == f"{place} / 100"
    assert [label for label, *_ in list_answers(server, code)[-2:]] == ["기쁨", "분노"]


@pytest.mark.parametrize(
    ("pressed", "click", "device"),
    [
        ("touch", {"detail": 1}, "touch"),  # of browsers whose clicks know no pointer
        ("touch", {"detail": 1, "pointerType": "mouse"}, "touch"),  # or call every one a mouse
        ("mouse", {"detail": 0}, "key"),  # pressed by Enter, after the mouse was there
    ],
)
def test_the_device_is_what_the_button_was_pressed_with(
    pressed: str,
    click: dict[str, object],
    device: str,
    open_page: Callable[..., Page],
    server: AppServer,
) -> None:
    page = open_page(server)
    go_to_practice(page)
    page.locator("[data-option=기쁨]").evaluate(
        """(button, [pointerType, click]) => {
          button.dispatchEvent(new PointerEvent("pointerdown", { pointerType, bubbles: true }));
          const Click = "pointerType" in click ? PointerEvent : MouseEvent;
          button.dispatchEvent(new Click("click", { ...click, bubbles: true }));
        }""",
        [pressed, click],
    )
    expect(page.locator(".kfer-feedback")).to_be_visible()
    ((_, _, stored, _),) = list_answers(server, get_code(page))
    assert stored == device


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
    assert list_blurred(server, code) == [True, False]


def test_a_face_that_is_come_back_to_marks_its_answer(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    code = get_code(page)
    answer_by_key(page, "1")
    wait_until_ready(page)
    come_back(page)
    expect_screen(page, "practice")
    press_primary(page)
    answer_by_key(page, "1")
    answer_by_key(page, "1")
    assert list_blurred(server, code) == [False, True, False]


def test_looks_at_a_face_before_and_after_going_back_are_added_up(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    code = get_code(page)
    answer_up_to(page, server, code, "main", 1)
    come_back(page)
    press_primary(page)
    answer_by_key(page, "1")
    answer_by_key(page, "2")
    wait_until_ready(page)  # the third face is looked at ...
    put_clock_on(page, 20_000)
    page.keyboard.press("Backspace")
    expect(page.locator(".kfer-progress span")).to_have_text("2 / 100")
    answer_by_key(page, "3")
    answer_by_key(page, "1")  # ... and once more
    answer_by_key(page, "1")
    times = [ms for _, ms, *_ in list_answers(server, code)[5:]]
    assert [ms // 20_000 for ms in times] == [0, 0, 2, 1]
    assert list_blurred(server, code)[5:] == [True, False, False, False]  # the return


def test_who_left_the_page_and_then_went_back_is_still_marked(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    answer_by_key(page, "1")
    wait_until_ready(page)
    page.evaluate("window.dispatchEvent(new Event('blur'))")
    page.keyboard.press("Backspace")
    expect(page.locator(".kfer-progress span")).to_have_text("1 / 5")
    for _ in range(3):
        answer_by_key(page, "1")
    assert list_blurred(server, get_code(page)) == [False, True, False]


def test_another_tab_of_the_app_counts_as_left(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    page.get_by_role("tab", name="Analyze").click()
    expect(page.locator(".kfer-survey")).to_be_hidden()
    open_tab(page)
    for _ in range(2):
        answer_by_key(page, "1")
    assert list_blurred(server, get_code(page)) == [True, False]


def test_a_window_behind_another_counts_as_left(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    go_to_practice(page)
    page.evaluate("document.hasFocus = () => false")
    answer_by_key(page, "1")
    wait_until_ready(page)  # it came up while the window was behind
    page.evaluate("delete document.hasFocus")
    answer_by_key(page, "1")
    answer_by_key(page, "1")
    assert list_blurred(server, get_code(page)) == [False, True, False]


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
    page.get_by_role("button", name="Start again").click()
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
        code = get_code(page, name)
        answer_up_to(page, server, code, "main", 10)
        come_back(page)
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


def test_people_of_a_panel_are_told_what_is_kept_and_the_demo_keeps_nothing(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    with open_study(server, "paid", SMALL):
        for study, told in (("paid", True), ("demo", False)):
            page = open_page(server, query=f"?study={study}&PROLIFIC_PID=p-123")
            expect_screen(page, "consent")
            page.locator(".kfer-agree input").check()
            press_primary(page)
            expect_screen(page, "background")
            text = page.locator(".kfer-survey-page")
            for language, kept, unknown in (
                ("ko", "패널이 붙인 참여자 번호는 답과 함께 저장해요", "누구인지 알 수 있는 것은"),
                ("en", "identifier that your panel gave you is kept", "can tell who you are"),
            ):
                page.locator(f"[data-language={language}]").click()
                expect(text).to_contain_text(kept if told else unknown)
                expect(text).not_to_contain_text(unknown if told else kept)
            with page.expect_request("**/survey/api/start") as asked:
                press_primary(page)
            expect_screen(page, "instructions")
            sent = asked.value.post_data_json["background"]
            assert sent == ({"prolific_pid": "p-123"} if told else {})
