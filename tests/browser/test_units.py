"""What goes with the model's answers: shown where it was measured, whole, and in words for all."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from kfer.bundle import EXPLANATION, load_bundle
from kfer.labels import get_taxonomy
from kfer.surrogate import Surrogate
from kfer.texts import ACTION_UNITS
from tests.browser.axe import find_violations
from tests.browser.conftest import DESKTOP, PHONE
from tests.servers import ROOT, AppServer, run_app

pytestmark = pytest.mark.browser

MODEL = ROOT / "models" / "kfer-default"
GROUP = ROOT / "kfer" / "examples" / "group.webp"
FERPLUS8 = get_taxonomy("ferplus8")
GROUPS = ("for", "against", "unclear")


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    found = load_bundle(MODEL).surrogate
    assert found is not None
    return found


def read_group(page: Page) -> Locator:
    """The section, opened, after a photo of three faces."""
    page.locator(".kfer-file").set_input_files(GROUP)
    expect(page.locator(".kfer-card")).to_have_count(3)
    section = page.locator(".kfer-units")
    section.locator("summary").click()
    expect(section.locator("select")).to_be_visible()
    return section


def list_expected(surrogate: Surrogate, label: str, language: int) -> dict[str, list[list[str]]]:
    """The rows of each group as the page should word them."""

    def sign(value: float) -> str:
        return f"{value:+.2f}".replace("-", "\u2212")

    at = surrogate.labels.index(label)
    rows = sorted(
        zip(
            surrogate.coefficients[at],
            surrogate.low[at],
            surrogate.high[at],
            surrogate.units,
            strict=True,
        ),
        reverse=True,
    )
    words: dict[str, list[list[str]]] = {group: [] for group in GROUPS}
    for coefficient, low, high, unit in rows:
        group = "for" if low > 0 else "against" if high < 0 else "unclear"
        between = (" ~ ", " to ")[language]
        name = ACTION_UNITS[unit][language]
        short = f"AU{int(unit[2:])}"
        interval = f"{sign(low)}{between}{sign(high)}"
        words[group].append([name, short, sign(coefficient), interval])
    words["against"].reverse()
    return words


def list_shown(section: Locator) -> dict[str, list[list[str]]]:
    shown: dict[str, list[list[str]]] = section.evaluate(
        """(section, groups) => Object.fromEntries(groups.map((group) => [
          group,
          [...section.querySelectorAll(`.kfer-unit-${group} tr:not(:first-child)`)].map((row) =>
            [...row.querySelectorAll("th > *, td b, td small")].map((part) => part.textContent)),
        ]))""",
        list(GROUPS),
    )
    return shown


@pytest.mark.parametrize(("locale", "language"), [("ko-KR", 0), ("en-US", 1)])
def test_every_answer_is_explained_by_the_bundles_figures(
    locale: str,
    language: int,
    open_page: Callable[..., Page],
    server: AppServer,
    surrogate: Surrogate,
) -> None:
    page = open_page(server, locale)
    section = read_group(page)
    scope = section.locator(".kfer-units-scope")
    expect(scope).to_contain_text(
        ("이 사진에서 잰 값이 아니에요.", "Not measured in this photo:")[language]
    )
    expect(scope).to_contain_text(("컴퓨터로 만든 얼굴 ", "")[language] + f"{surrogate.pictures:,}")
    for share in (surrogate.agreement, surrogate.baseline):
        expect(scope).to_contain_text(f"{share * 100:.1f}\u00a0%")
    names = (FERPLUS8.labels, FERPLUS8.english)[language]
    assert section.locator("option").all_inner_texts() == list(names)
    for label in FERPLUS8.labels:
        section.locator("select").select_option(label)
        counts = dict(zip(surrogate.labels, surrogate.counts, strict=True))
        count = section.locator(".kfer-units-count")
        expect(count).to_contain_text(re.compile(rf"\b{counts.get(label, 0):,}(장| of them)"))
        if label in surrogate.explained:
            assert list_shown(section) == list_expected(surrogate, label, language)
        else:
            expect(count).to_contain_text(("알 수 없어요", "too few to tell")[language])
            expect(section.locator("table")).to_be_hidden()
            assert list_shown(section) == {group: [] for group in GROUPS}


def test_bars_stand_where_their_figures_say(page: Page, surrogate: Surrogate) -> None:
    section = read_group(page)
    section.locator("select").select_option("기쁨")
    at = surrogate.labels.index("기쁨")
    ends = [0.0, *surrogate.low[at], *surrogate.high[at]]
    least, most = min(ends), max(ends)
    places = section.locator(".kfer-unit-for .kfer-unit-bar").first.evaluate(
        """(bar) => [bar, ...bar.children].map((part) => part.getBoundingClientRect())
          .map(({ left, right }) => [left, right])"""
    )
    (left, right), bar, interval = places
    column = surrogate.units.index("AU12")  # a smile, first of all
    scale = (right - left) / (most - least)
    zero = left - least * scale
    assert bar == pytest.approx([zero, zero + surrogate.coefficients[at][column] * scale], abs=0.6)
    assert interval == pytest.approx(
        [zero + each[at][column] * scale for each in (surrogate.low, surrogate.high)], abs=0.6
    )


def test_it_follows_the_chosen_face_and_the_keyboard(page: Page) -> None:
    page.locator(".kfer-file").set_input_files(GROUP)
    expect(page.locator(".kfer-card")).to_have_count(3)
    section = page.locator(".kfer-units")
    select = section.locator("select")
    section.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(select).to_be_visible()
    answers = page.locator(".kfer-card-answer").all_inner_texts()
    expect(select).to_have_value(answers[0])
    page.locator(".kfer-card").nth(2).click()
    expect(select).to_have_value(answers[2])
    assert answers[2] != answers[0]
    section.locator("summary").focus()
    page.keyboard.press("Tab")
    expect(select).to_be_focused()
    page.keyboard.press("Home")
    expect(select).to_have_value(FERPLUS8.labels[0])
    shown = list_shown(section)
    page.keyboard.press("End")
    expect(select).to_have_value(FERPLUS8.labels[-1])
    assert list_shown(section) != shown


def test_it_is_told_of_its_own_labels_and_of_photos_only(page: Page) -> None:
    section = page.locator(".kfer-units")
    expect(section).to_be_hidden()
    page.locator(".kfer-file").set_input_files(GROUP)
    expect(section).to_be_visible()
    for taxonomy in ("korean5", "fer7"):  # a mapping of the explained one, and another head
        page.locator("[data-setting=taxonomy]").select_option(taxonomy)
        expect(page.locator(".kfer-card")).to_have_count(3)
        expect(section).to_be_hidden()
    page.locator("[data-setting=taxonomy]").select_option("ferplus8")
    expect(section).to_be_visible()
    page.locator("[data-action=live]").click()
    expect(page.locator(".kfer-frame[data-frames]")).to_be_visible()
    expect(section).to_be_hidden()
    page.locator("[data-action=stop]").click()
    page.locator(".kfer-file").set_input_files(
        {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}
    )
    expect(page.locator(".kfer-error")).to_be_visible()
    expect(section).to_be_hidden()


def test_a_model_without_it_shows_nothing(open_page: Callable[..., Page], tmp_path: Path) -> None:
    model = tmp_path / "unexplained"
    shutil.copytree(MODEL, model, ignore=shutil.ignore_patterns(EXPLANATION))
    with run_app(tmp_path / "app", KFER_MODEL=str(model)) as server:
        page = open_page(server)
        page.locator(".kfer-file").set_input_files(GROUP)
        expect(page.locator(".kfer-after")).to_be_visible()
        expect(page.locator(".kfer-units")).to_be_hidden()
        models = page.locator("[data-setting=model]")
        models.select_option(index=1)  # the bundled one
        expect(page.locator(".kfer-units")).to_be_visible()
        models.select_option(index=0)
        expect(page.locator(".kfer-card")).to_have_count(3)
        expect(page.locator(".kfer-units")).to_be_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_of_it_breaks_a_rule_of_axes(
    theme: str, size: tuple[int, int], open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, "en-US", size, query=f"?__theme={theme}")
    section = read_group(page)
    section.locator("select").select_option("놀람")
    assert find_violations(page, ".kfer-units") == []
    wide = section.locator("table *").evaluate_all(
        "(parts) => parts.filter((part) => part.scrollWidth > part.clientWidth + 1"
        " && part.clientWidth).map((part) => part.outerHTML)"
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
