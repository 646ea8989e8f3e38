"""What can be measured of how the page looks: nothing cut off, nothing overlapping, all legible."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESKTOP, PHONE
from tests.kfer.photo_samples import build_quarters, encode
from tests.servers import AppServer

pytestmark = pytest.mark.browser

GROUP = Path(__file__).parents[2] / "kfer" / "examples" / "group.webp"
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
LOCALES = pytest.mark.parametrize("locale", ["ko-KR", "en-US"])
THEMES = pytest.mark.parametrize("theme", ["light", "dark"])

FIND_OUTSIDE = """() => {
  // Elements of ours that reach out of the page, or out of the card or row that holds them.
  const out = [];
  for (const element of document.querySelectorAll("[class^=kfer-] *")) {
    if (!element.checkVisibility()) continue;
    if (element.closest(".kfer-table-scroll, svg, .kfer-file")) continue;
    const place = element.getBoundingClientRect();
    const holder = element.parentElement.closest(
      ":is(.kfer-buttons, .kfer-downloads) button, "
      + ".kfer-card, .kfer-buttons, .kfer-selects, .kfer-downloads");
    const room = (holder ?? document.documentElement).getBoundingClientRect();
    if (place.left < room.left - 1 || place.right > room.right + 1) {
      out.push(`${element.tagName}.${element.className} ${element.textContent.slice(0, 30)}`);
    }
  }
  return out;
}"""
FIND_OVERLAPS = """() => [...document.querySelectorAll(".kfer-card li, .kfer-card header")]
  .flatMap((row) => {
    const parts = [...row.children].filter((part) => part.checkVisibility());
    const places = parts.map((part) => {
      const range = document.createRange();
      range.selectNodeContents(part);
      return part.textContent ? range.getBoundingClientRect() : part.getBoundingClientRect();
    });
    return parts.flatMap((part, i) => places.slice(0, i)
      .filter((other) => other.right > places[i].left + 0.5 && other.left < places[i].right
        && other.bottom > places[i].top + 2 && other.top < places[i].bottom - 2)
      .map(() => row.textContent));
  })"""
FIND_BROKEN_WORDS = """() => [...document.querySelectorAll(
    ".kfer-words, .kfer-tag, .kfer-card header *, .kfer-buttons span, .kfer-tag")]
  .filter((part) => part.checkVisibility())
  .filter((part) => part.getBoundingClientRect().height
    > 2 * parseFloat(getComputedStyle(part).fontSize))
  .map((part) => part.textContent)"""
# Contrast (WCAG 2) of an element's text with the first solid ground behind it.
MEASURE_CONTRAST = """(element) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const grounds = [];
  for (let at = element; at; at = at.parentElement) {
    grounds.push(read(getComputedStyle(at).backgroundColor));
    if (grounds.at(-1)[3] === 255) break;
  }
  const lay = (over, under) => [0, 1, 2].map(
    (i) => (over[i] * over[3] + under[i] * (255 - over[3])) / 255).concat(255);
  const ground = grounds.reduceRight((under, over) => lay(over, under), [255, 255, 255, 255]);
  const luminance = (color) => color.slice(0, 3).map((value) => value / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const [a, b] = [lay(read(getComputedStyle(element).color), ground), ground].map(luminance);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


def read_group(page: Page, taxonomy: str = "ferplus8") -> None:
    page.locator(".kfer-settings").evaluate("(element) => { element.open = true; }")
    page.locator(".kfer-file").set_input_files(GROUP)
    expect(page.locator(".kfer-card")).to_have_count(3)
    if taxonomy != "ferplus8":
        page.locator("[data-setting=taxonomy]").select_option(taxonomy)
        expect(page.locator(".kfer-approximate")).to_be_visible()
        expect(page.locator(".kfer-card")).to_have_count(3)
    for details in (".kfer-table", ".kfer-units"):
        page.locator(details).evaluate("(element) => { element.open = true; }")


def check_fit(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(FIND_OUTSIDE) == []
    assert page.evaluate(FIND_OVERLAPS) == []
    assert page.evaluate(FIND_BROKEN_WORDS) == []


@SIZES
@LOCALES
def test_nothing_is_cut_off_or_overlaps(
    locale: str, size: tuple[int, int], open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, locale, size)
    check_fit(page, size[0])
    for taxonomy in ("ferplus8", "aihub7"):  # with the longest word, embarrassment
        read_group(page, taxonomy)
        check_fit(page, size[0])
    page.locator(".kfer-file").set_input_files(
        {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}
    )
    expect(page.locator(".kfer-error")).to_be_visible()
    check_fit(page, size[0])
    page.locator("[data-action=camera]").click()
    page.wait_for_function("document.querySelector('.kfer-video').videoWidth > 0")
    check_fit(page, size[0])
    page.locator("[data-action=stop]").click()
    header = page.locator(".kfer-header h1").bounding_box()
    page.get_by_role("tab", name="About").click()
    expect(page.locator(".kfer-about")).to_be_visible()
    check_fit(page, size[0])
    assert page.locator(".kfer-header h1").bounding_box() == header  # it does not jump


@SIZES
@LOCALES
def test_tags_lie_inside_the_frame(
    locale: str, size: tuple[int, int], open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, locale, size)
    read_group(page, "aihub7")
    frame = page.locator(".kfer-frame").bounding_box()
    assert frame is not None
    for tag in page.locator(".kfer-tag").all():
        place = tag.bounding_box()
        assert place is not None
        assert place["x"] >= frame["x"]
        assert place["x"] + place["width"] <= frame["x"] + frame["width"]
        assert place["y"] >= frame["y"]


@THEMES
def test_all_words_are_legible(
    theme: str, open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, query=f"?__theme={theme}")
    assert page.locator("body.dark").count() == (theme == "dark")
    read_group(page, "aihub7")
    selectors = (
        ".kfer-selects select", ".kfer-tag", ".kfer-card-answer", ".kfer-card-name",
        ".kfer-card li small", ".kfer-card li b", ".kfer-approximate", ".kfer-trust",
        ".kfer-buttons button", ".kfer-downloads button", ".kfer-header p",
        "[data-language=ko]", "[data-language=en]", ".kfer-table td",
    )  # fmt: skip
    contrasts = {
        selector: page.locator(selector).first.evaluate(MEASURE_CONTRAST) for selector in selectors
    }
    page.locator(".kfer-file").set_input_files(
        {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}
    )
    expect(page.locator(".kfer-error")).to_be_visible()
    for selector in (".kfer-error", ".kfer-empty strong", ".kfer-empty small", ".kfer-hint"):
        contrasts[selector] = page.locator(selector).first.evaluate(MEASURE_CONTRAST)
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}


@THEMES
def test_cards_and_choices_have_a_border(
    theme: str, open_page: Callable[..., Page], server: AppServer
) -> None:
    """Gradio's rewriting of style sheets can lose a shorthand without a word."""
    page = open_page(server, query=f"?__theme={theme}")
    read_group(page)
    for selector in (".kfer-card", ".kfer-selects select", ".kfer-buttons button"):
        for side in ("top", "right", "bottom", "left"):
            expect(page.locator(selector).first).to_have_css(f"border-{side}-width", "1px")


def test_a_thumb_finds_every_button(open_page: Callable[..., Page], server: AppServer) -> None:
    page = open_page(server, size=PHONE)
    read_group(page)
    for selector in (".kfer-buttons button", ".kfer-downloads button", ".kfer-selects select"):
        for button in page.locator(selector).all():
            place = button.bounding_box()
            if place is not None:
                assert place["height"] >= 48
                assert place["width"] >= 48


def test_no_button_breaks_a_word_on_a_narrow_phone(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=(320, 640), locale="en-US")
    for name in ("Webcam", "Live"):
        words = page.get_by_role("button", name=name, exact=True)
        lines = words.evaluate(
            """(button) => {
              const range = document.createRange();
              range.selectNodeContents(button);
              return new Set([...range.getClientRects()].map(({ top }) => top)).size;
            }"""
        )
        assert lines == 1, name


def test_on_a_phone_the_readings_follow_the_photo(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=PHONE)
    read_group(page)
    tops = []
    for selector in (".kfer-frame", ".kfer-buttons", ".kfer-cards", ".kfer-examples"):
        place = page.locator(selector).bounding_box()
        assert place is not None
        tops.append(place["y"])
    assert tops == sorted(tops)


def test_the_model_cards_figures_stay_whole_on_a_phone(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=PHONE)
    page.get_by_role("tab", name="About").click()
    cells = page.locator(".kfer-model-card td")
    expect(cells.first).to_be_visible()
    heights = cells.evaluate_all("cells => cells.map((cell) => cell.clientHeight)")
    assert len(heights) > 10
    assert max(heights) < 60  # one line each; the table scrolls
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def test_the_photo_stays_in_sight_beside_the_cards(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=(1280, 600))
    page.locator(".kfer-file").set_input_files(GROUP)
    expect(page.locator(".kfer-card")).to_have_count(3)
    page.locator(".kfer-card").last.evaluate("(card) => card.scrollIntoView()")
    assert page.evaluate("scrollY") > 400
    place = page.locator(".kfer-frame").bounding_box()
    assert place is not None
    assert place["y"] >= 0


def test_the_photo_slides_over_nothing_where_all_of_its_column_fits(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=DESKTOP)
    page.locator(".kfer-file").set_input_files(GROUP)
    expect(page.locator(".kfer-card")).to_have_count(3)
    page.mouse.wheel(0, 350)
    page.wait_for_function("scrollY > 200")
    frame = page.locator(".kfer-frame").bounding_box()
    buttons = page.locator(".kfer-buttons").bounding_box()
    assert frame is not None
    assert buttons is not None
    assert 0 <= frame["y"] < 20
    assert buttons["y"] >= frame["y"] + frame["height"]


@pytest.mark.parametrize("size", [(2400, 300), (48, 48)], ids=["wide", "tiny"])
def test_photos_keep_their_shape_on_a_phone(
    size: tuple[int, int], open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=PHONE)
    page.locator(".kfer-file").set_input_files(
        {
            "name": "photo.png",
            "mimeType": "image/png",
            "buffer": encode(build_quarters(*size), "PNG"),
        }
    )
    expect(page.locator(".kfer-card")).to_have_count(1)
    place = page.locator(".kfer-photo").bounding_box()
    assert place is not None
    assert place["width"] / place["height"] == pytest.approx(size[0] / size[1], rel=0.03)
    assert place["height"] >= min(120, PHONE[0] * 0.8 * size[1] / size[0])
