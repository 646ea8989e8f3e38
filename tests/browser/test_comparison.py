"""The comparison on the demo study with twelve simulated people: what is shown is computed."""

import io
import json
import re
import struct
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, Route, expect
from sqlalchemy import Engine

from survey.charts.board import draw_board
from survey.charts.look import Words
from survey.charts.people import say_headline
from survey.charts.tables import tabulate_raters
from survey.comparison import Comparison, Filters, StudyData, compare_study, read_study
from survey.database import open_database
from tests.browser.axe import find_violations
from tests.browser.conftest import PHONE
from tests.processes import wait_for
from tests.servers import AppServer, run_app
from tests.survey.simulated import simulate

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]
TOKEN = "the token of this test"
ACCURACIES = [0.5 + 0.04 * person for person in range(12)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """With twelve people, and the bundled model's answers."""
    with run_app(tmp_path_factory.mktemp("compare"), KFER_ADMIN_TOKEN=TOKEN) as server:
        engine = open_database(f"sqlite:///{server.data / 'kfer.sqlite'}")
        simulate(engine, "demo", ACCURACIES)
        wait_for(lambda: len(read_study(engine, "demo").models) == 100, seconds=180)
        engine.dispose()
        yield server


@pytest.fixture(scope="module")
def data(server: AppServer) -> Iterator[StudyData]:
    engine: Engine = open_database(f"sqlite:///{server.data / 'kfer.sqlite'}")
    yield read_study(engine, "demo")
    engine.dispose()


def open_tab(page: Page) -> Locator:
    page.get_by_role("tab", name="Compare").click()
    tab = page.locator(".kfer-comparison")
    expect(tab.locator(".kfer-headline")).to_be_visible()
    return tab


def expect_findings(page: Page, found: Comparison, language: str = "ko") -> None:
    """The headline and the table of raters are those of the statistics."""
    words = Words(language)
    assert found.summary is not None
    expect(page.locator(".kfer-headline")).to_have_text(say_headline(found.summary, words))
    table = page.locator("[data-chart=raters] tbody tr")
    expected = tabulate_raters(found.summary, words).to_numpy().tolist()
    shown = [row.locator("th, td").all_inner_texts() for row in table.all()]
    assert shown == expected


def choose(page: Page, group: str, value: str) -> None:
    details = page.locator(f"[data-filter={group}]")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    details.locator(f"input[value='{value}']").click()
    expect(page.locator(".kfer-content[aria-busy]")).to_have_count(0)


def test_every_filter_shows_what_the_statistics_say(
    open_page: Callable[..., Page], server: AppServer, data: StudyData
) -> None:
    page = open_page(server)
    open_tab(page)
    expect_findings(page, compare_study(data, Filters()))
    status = page.locator(".kfer-comparison [role=status]")
    expect(status).to_contain_text("12명 중 12명 · 이미지 100장")

    page.locator(".kfer-field select").select_option("private")
    expect(status).to_contain_text("이미지 50장")
    expect_findings(page, compare_study(data, Filters(visibility="private")))
    page.locator(".kfer-field select").select_option("all")
    expect(status).to_contain_text("이미지 100장")

    choose(page, "labels", "중립")
    expect(status).to_contain_text("이미지 80장")
    labels = ("기쁨", "당황", "분노", "슬픔")
    expect_findings(page, compare_study(data, Filters(labels=labels)))
    assert page.evaluate("document.activeElement.value") == "중립"  # the keyboard stays there
    page.locator(".kfer-reset").click()
    expect(status).to_contain_text("이미지 100장")

    model = data.models[0].model
    choose(page, "models", model)
    expect_findings(page, compare_study(data, Filters(models=())))
    choose(page, "models", model)

    choose(page, "leave_out", "too_fast")
    expect_findings(page, compare_study(data, Filters(leave_out=("too_fast",))))
    choose(page, "leave_out", "too_fast")

    # Six people a day: since the second day there are enough of them, after the last one nobody.
    later = max(data.days) + timedelta(days=1)
    page.locator("input[type=date]").first.fill(later.isoformat())
    expect(page.locator(".kfer-lead")).to_contain_text("다섯 명보다 적")
    expect(page.locator("[data-chart=references] svg.main-svg").first).to_be_visible()
    split = find_split(data)
    page.locator("input[type=date]").first.fill(split.isoformat())
    expect(page.locator(".kfer-headline")).to_be_visible()
    found = compare_study(data, Filters(since=split))
    expect(status).to_contain_text(f"12명 중 {found.people}명")
    expect(status).to_contain_text(f"기간 밖 {found.outside}명 제외")
    expect_findings(page, found)

    page.locator(".kfer-reset").click()
    page.get_by_role("button", name="English").click()
    expect(status).to_contain_text("12 of 12 people · 100 images")
    expect_findings(page, compare_study(data, Filters()), "en")


def test_ticks_that_follow_each_other_quickly_all_count(
    open_page: Callable[..., Page], server: AppServer, data: StudyData
) -> None:
    page = open_page(server)
    open_tab(page)
    asked: list[dict[str, Any]] = []

    def hold(route: Route) -> None:
        asked.append(json.loads(route.request.post_data or "{}")["filters"])
        time.sleep(0.5)
        route.continue_()

    page.route("**/comparison/view", hold)
    page.locator("[data-filter=labels] summary").click()
    page.evaluate("""() => {
      for (const label of ["기쁨", "당황"]) {
        document.querySelector(`[data-filter=labels] input[value="${label}"]`).click();
      }
    }""")
    rest = ("분노", "슬픔", "중립")
    expect(page.locator("[data-filter=labels] summary b")).to_have_text("3 / 5")
    expect(page.locator(".kfer-content[aria-busy]")).to_have_count(0)
    assert asked[-1]["labels"] == list(rest)
    page.unroute("**/comparison/view")
    expect_findings(page, compare_study(data, Filters(labels=rest)))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_tick_is_seen_and_a_list_closes_when_anything_else_is_used(
    theme: str, open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, query=f"?__theme={theme}")
    tab = open_tab(page)
    labels, rules = (tab.locator(f"[data-filter={name}]") for name in ("labels", "leave_out"))
    labels.locator("summary").click()
    # The tick is white: it needs a ground.
    expect(labels.locator("input").first).to_be_checked()
    expect(labels.locator("input").first).to_have_css("background-color", "rgb(29, 95, 168)")
    rules.locator("summary").click()
    expect(labels).not_to_have_attribute("open", "")
    expect(rules.locator("input").first).not_to_have_css("background-color", "rgb(29, 95, 168)")
    page.keyboard.press("Escape")
    expect(rules).not_to_have_attribute("open", "")
    expect(rules.locator("summary")).to_be_focused()
    labels.locator("summary").click()
    tab.locator(".kfer-headline").click()
    expect(labels).not_to_have_attribute("open", "")


def test_no_filter_reaches_beyond_a_narrow_phone(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=(360, 740))
    open_tab(page)
    for name in ("labels", "models", "leave_out"):
        page.locator(f"[data-filter={name}] summary").click()
        box = page.locator(f"[data-filter={name}] .kfer-list").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        page.locator(f"[data-filter={name}] summary").click()


def find_split(data: StudyData) -> date:
    """A first day that leaves at least five people and takes at least five out."""
    for day in sorted(set(data.days)):
        left = sum(each >= day for each in data.days)
        if 5 <= left <= len(data.days) - 5:
            return day
    raise AssertionError(data.days)


def download(page: Page, button: Locator) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        button.click()
    page.wait_for_timeout(200)  # Chromium drops what comes more than ten times a second
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def test_every_chart_is_drawn_and_downloads_in_every_format(
    open_page: Callable[..., Page], server: AppServer, data: StudyData
) -> None:
    page = open_page(server)
    tab = open_tab(page)
    for summary in tab.locator(".kfer-chapter > summary").all():
        summary.click()
    found = compare_study(data, Filters())
    assert found.summary is not None
    charts = [
        chart
        for chapter in draw_board(found.summary, found.days, Words("ko"))
        for chart in chapter.charts
    ]
    assert len(charts) == 10
    for chart in charts:
        figure = tab.locator(f"[data-chart='{chart.key}']")
        expect(figure.locator("svg.main-svg").first).to_be_visible()
        name, content = download(page, figure.get_by_role("button", name="CSV"))
        assert name == f"kfer-demo-{chart.key}.csv"
        shown = pd.read_csv(io.BytesIO(content))
        pd.testing.assert_frame_equal(
            shown, pd.read_csv(io.StringIO(chart.numbers.to_csv(index=False))), atol=1e-9
        )
    first = tab.locator("[data-chart=scores]")
    name, content = download(page, first.get_by_role("button", name="PNG"))
    assert (name, content[:8]) == ("kfer-demo-scores.png", b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (2000, 760)
    name, content = download(page, first.get_by_role("button", name="SVG"))
    assert name == "kfer-demo-scores.svg"
    assert re.search("맞힌 비율", content.decode())
    name, content = download(page, tab.locator("[data-chart=images]").get_by_text("CSV"))
    assert (name, len(pd.read_csv(io.BytesIO(content)))) == ("kfer-demo-images.csv", 100)
    expect(tab.locator("[data-chart=images] tbody tr")).to_have_count(12)
    tab.get_by_role("button", name="모두 보기").click()
    expect(tab.locator("[data-chart=images] tbody tr")).to_have_count(100)
    # The study is open: its images would teach later participants.
    expect(tab.locator("img")).to_have_count(0)


def give_token(tab: Locator, token: str) -> None:
    tab.locator(".kfer-researcher input").fill(token)
    tab.locator(".kfer-researcher form button").click()


def test_the_researcher_sees_people_and_public_images_alone(
    open_page: Callable[..., Page], server: AppServer, data: StudyData
) -> None:
    page = open_page(server)
    tab = open_tab(page)
    tab.locator(".kfer-researcher summary").click()
    give_token(tab, "not this one")
    expect(tab.locator(".kfer-error")).to_contain_text("관리자 토큰이 아니에요")
    expect(tab.locator(".kfer-error")).to_be_in_viewport(ratio=0.9)
    expect(tab.locator(".kfer-researcher tbody")).to_have_count(0)
    give_token(tab, TOKEN)
    expect(tab.locator(".kfer-researcher tbody tr")).to_have_count(12)
    shown = tab.locator(".kfer-researcher tbody tr td:nth-child(3)").all_inner_texts()
    right = data.table.correct.mean(axis=1)
    assert shown == [f"{share:.0%}".replace("%", " %") for share in right]
    name, content = download(page, tab.get_by_role("button", name="모든 답 CSV"))
    assert name == "kfer-demo.csv"
    table = pd.read_csv(io.BytesIO(content))
    assert (len(table), table["subj"].nunique()) == (12 * 105, 12)
    name, content = download(page, tab.get_by_role("button", name="모든 답 Parquet"))
    assert (name, content[:4]) == ("kfer-demo.parquet", b"PAR1")

    tab.locator("[data-chapter=difficulty] > summary").click()
    tab.get_by_role("button", name="모두 보기").click()
    expect(tab.locator(".kfer-thumbnail[src]")).to_have_count(50)
    loaded = "[...document.querySelectorAll('.kfer-thumbnail')].every(image => image.naturalWidth)"
    page.wait_for_function(loaded)
    tab.get_by_role("button", name="닫기").click()
    expect(tab.locator(".kfer-researcher tbody")).to_have_count(0)
    expect(tab.locator("img")).to_have_count(0)


def test_a_token_that_no_header_can_carry_is_called_wrong(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, locale="en-US")
    tab = open_tab(page)
    tab.locator(".kfer-researcher summary").click()
    give_token(tab, "관리자 토큰")
    expect(tab.locator(".kfer-error")).to_have_text("This is not the admin token.")
    expect(tab.locator(".kfer-error")).to_be_in_viewport(ratio=0.9)
    give_token(tab, TOKEN)
    expect(tab.locator(".kfer-researcher tbody tr")).to_have_count(12)
    expect(tab.locator(".kfer-error")).to_have_count(0)
    # What the researcher asks for is told there too when it does not come.
    page.route("**/comparison/export*", lambda route: route.abort())
    tab.get_by_role("button", name="All answers, CSV").click()
    expect(tab.locator(".kfer-error")).to_contain_text("cannot be reached")
    expect(tab.locator(".kfer-error")).to_be_in_viewport(ratio=0.9)


def test_an_older_browser_shows_the_findings_too(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server)
    page.add_init_script("delete AbortSignal.any")
    page.reload()
    open_tab(page)
    assert page.evaluate("AbortSignal.any") is None


@pytest.mark.parametrize("locale", ["ko-KR", "en-US"])
@pytest.mark.parametrize("size", [PHONE, (1280, 900)])
def test_nothing_is_cut_and_everybody_can_use_it(
    open_page: Callable[..., Page], server: AppServer, size: tuple[int, int], locale: str
) -> None:
    page = open_page(server, size=size, locale=locale)
    tab = open_tab(page)
    for summary in tab.locator(".kfer-chapter > summary").all():
        summary.click()
    expect(tab.locator("svg.main-svg").last).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".kfer-canvas")].flatMap((canvas) => {
          const frame = canvas.getBoundingClientRect();
          return [...canvas.querySelectorAll("text")]
            .map((text) => [text.textContent, text.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.left < frame.left - 1
              || box.right > frame.right + 1 || box.bottom > frame.bottom + 1))
            .map(([text]) => `${canvas.parentElement.dataset.chart}: ${text}`);
        })"""
    )
    assert cut == []
    hidden = page.evaluate(
        """() => [...document.querySelectorAll(".kfer-canvas")].flatMap((canvas) => {
          const panels = [...canvas.querySelectorAll(".hm")]
            .map((panel) => panel.getBoundingClientRect());
          return [...canvas.querySelectorAll(".ytick text")].filter((text) => {
            const box = text.getBoundingClientRect();
            return panels.some((panel) => box.left < panel.right - 1 && box.right > panel.left + 1
              && box.top < panel.bottom - 1 && box.bottom > panel.top + 1);
          }).map((text) => `${canvas.parentElement.dataset.chart}: ${text.textContent}`);
        })"""
    )
    assert hidden == []  # behind the cells of a panel beside it
    reach = tab.locator(".kfer-raters").evaluate(
        "it => it.scrollWidth - it.parentElement.clientWidth"
    )
    assert size == PHONE or reach <= 0  # every column in sight
    assert find_violations(page, ".kfer-comparison") == []
