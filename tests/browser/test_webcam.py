"""The webcam in a browser: a snapshot, and live readings that are never old."""

import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from kfer.labels import TAXONOMIES
from kfer.recognizer import locate_bundle
from tests.browser.conftest import WEBCAM
from tests.kfer.photo_samples import build_quarters, encode
from tests.servers import AppServer, run_app

pytestmark = pytest.mark.browser

SLOW_SECONDS = 1.0  # long beside what a busy machine adds


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    arguments = ("-m", "tests.browser.slow_app")
    folder = tmp_path_factory.mktemp("slow")
    with run_app(folder, arguments, SLOW_SECONDS=str(SLOW_SECONDS)) as server:
        yield server


def start(page: Page, action: str) -> None:
    page.locator(f"[data-action={action}]").click()
    page.wait_for_function("document.querySelector('.kfer-video').videoWidth > 0")
    expect(page.locator(".kfer-busy")).to_be_hidden()


def wait_for_frames(page: Page, count: int) -> None:
    page.wait_for_function(
        "count => Number(document.querySelector('.kfer-frame').dataset.frames ?? 0) >= count",
        arg=count,
    )


def list_tracks(page: Page) -> list[str]:
    """The state of every camera track that the page was ever given."""
    tracks: list[str] = page.evaluate("window.tracks.map((track) => track.readyState)")
    return tracks


@pytest.fixture
def watched(page: Page) -> Page:
    """A page that remembers its camera tracks."""
    page.evaluate(
        """() => {
          window.tracks = [];
          const devices = navigator.mediaDevices;
          const open = devices.getUserMedia.bind(devices);
          devices.getUserMedia = async (wish) => {
            window.wish = wish;
            await window.gate;
            const stream = await open(wish);
            window.tracks.push(...stream.getTracks());
            return stream;
          };
        }"""
    )
    return page


def hold_camera(page: Page) -> None:
    """Until ``window.openGate()``, as while the visitor is asked for permission."""
    page.evaluate("() => { window.gate = new Promise((open) => { window.openGate = open; }); }")


def test_a_snapshot_is_read_like_a_photo(watched: Page) -> None:
    page = watched
    start(page, "camera")
    assert page.evaluate("window.wish.audio") is False
    expect(page.locator("[data-action=choose]")).to_be_hidden()
    page.locator("[data-action=snap]").click()
    expect(page.locator(".kfer-card").first).to_be_visible()
    assert list_tracks(page) == ["ended"]
    expect(page.locator("[data-action=choose]")).to_be_visible()
    with page.expect_download() as waiting:
        page.locator("[data-download=json]").click()
    described = json.loads(Path(waiting.value.path()).read_bytes())
    assert described["file"] == "webcam.jpg"
    assert (described["width"], described["height"]) == WEBCAM
    with page.expect_download() as waiting:
        page.locator("[data-download=photo]").click()
    with Image.open(io.BytesIO(Path(waiting.value.path()).read_bytes())) as picture:
        assert picture.size == WEBCAM


def test_live_boxes_follow_the_face_and_stop_releases_the_camera(watched: Page) -> None:
    page = watched
    start(page, "live")
    wait_for_frames(page, 2)
    expect(page.locator(".kfer-timeline polyline")).not_to_have_count(0)
    named = page.locator(".kfer-line-ends span").first  # the line that ends highest
    expect(named).to_have_text(re.compile("[가-힣]+"))
    expect(page.locator(".kfer-video")).to_have_css("transform", "matrix(-1, 0, 0, 1, 0, 0)")
    for place in ("left", "right"):  # the webcam shows a face left, right, and none, in turn
        page.wait_for_function(
            """place => {
              const box = document.querySelector(".kfer-box");
              if (!box || document.querySelectorAll(".kfer-card").length !== 1) return false;
              return place === (parseFloat(box.style.left) < 40 ? "left" : "right");
            }""",
            arg=place,
        )
    expect(page.locator(".kfer-note")).to_have_text("얼굴이 보이지 않아요.")
    expect(page.locator(".kfer-box")).to_have_count(0)
    expect(page.locator(".kfer-after")).to_be_hidden()
    assert list_tracks(page) == ["live"]

    page.locator("[data-action=stop]").click()
    assert list_tracks(page) == ["ended"]
    expect(page.locator(".kfer-empty")).to_be_visible()
    expect(page.locator(".kfer-card")).to_have_count(0)
    expect(page.locator(".kfer-timeline")).to_be_hidden()


def test_live_without_a_detector_reads_the_whole_picture(page: Page) -> None:
    page.locator("[data-setting=detector]").select_option("none")
    start(page, "live")
    wait_for_frames(page, 3)
    expect(page.locator(".kfer-card-name")).to_have_text("사진 전체")
    shares = page.locator(".kfer-card li b").all_inner_texts()
    assert sum(int(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=4)
    expect(page.locator(".kfer-note")).to_be_hidden()


def test_other_labels_in_live_mode_begin_afresh(page: Page) -> None:
    page.locator("[data-setting=detector]").select_option("none")
    start(page, "live")
    wait_for_frames(page, 2)
    page.locator("[data-setting=taxonomy]").select_option("korean5")
    # The first frame in the new labels is not mixed with the last one in the old.
    total = page.wait_for_function(
        """() => {
          const shares = [...document.querySelectorAll(".kfer-card li b")];
          return shares.length === 5
            && shares.map((share) => parseInt(share.textContent)).reduce((a, b) => a + b);
        }"""
    ).json_value()
    assert total == pytest.approx(100, abs=3)
    expect(page.locator(".kfer-approximate")).to_be_visible()


@pytest.mark.parametrize("action", ["stop", "photo"])
def test_a_camera_that_comes_too_late_is_let_go(action: str, watched: Page) -> None:
    page = watched
    hold_camera(page)
    page.locator("[data-action=live]").click()
    expect(page.locator(".kfer-busy")).to_be_visible()
    if action == "stop":
        page.locator("[data-action=stop]").click()
        expect(page.locator(".kfer-empty")).to_be_visible()
    else:
        page.locator(".kfer-file").set_input_files(
            {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": encode(build_quarters(), "JPEG")}
        )
        expect(page.locator(".kfer-card")).to_have_count(1)
    page.evaluate("window.openGate()")
    page.wait_for_function("window.tracks.length === 1 && window.tracks[0].readyState === 'ended'")
    expect(page.locator(".kfer-busy")).to_be_hidden()
    expect(page.locator("[data-action=choose]")).to_be_visible()
    expect(page.locator(".kfer-error")).to_be_hidden()


def test_a_snapshot_before_the_camera_is_there_does_nothing(watched: Page) -> None:
    page = watched
    hold_camera(page)
    page.locator("[data-action=camera]").click()
    page.locator("[data-action=snap]").click()
    page.evaluate("window.openGate()")
    page.wait_for_function("document.querySelector('.kfer-video').videoWidth > 0")
    page.locator("[data-action=snap]").click()
    expect(page.locator(".kfer-card").first).to_be_visible()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("NotAllowedError", "카메라를 쓸 수 없어요"),
        ("NotFoundError", "카메라를 찾지 못했어요"),
        ("NotReadableError", "다른 프로그램이 카메라를 쓰고 있어요"),
    ],
)
def test_why_there_is_no_camera_is_said(error: str, said: str, page: Page) -> None:
    page.evaluate(
        """name => {
          navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", name));
        }""",
        error,
    )
    page.locator("[data-action=camera]").click()
    expect(page.locator(".kfer-error")).to_contain_text(said)
    expect(page.locator(".kfer-empty")).to_be_visible()
    expect(page.locator("[data-action=choose]")).to_be_visible()


def test_a_page_over_plain_http_says_that_the_webcam_needs_https(page: Page) -> None:
    page.evaluate("() => Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    page.locator("[data-action=live]").click()
    expect(page.locator(".kfer-error")).to_contain_text("https 주소나 localhost")
    expect(page.locator(".kfer-empty")).to_be_visible()
    expect(page.locator("[data-action=choose]")).to_be_visible()


@pytest.mark.parametrize("shares", [(0.3, 0.25, 0.2, 0.15), (0.2,) * 5, (0.125,) * 8], ids=str)
def test_the_names_of_the_lines_stay_beside_them(shares: tuple[float, ...], page: Page) -> None:
    labels = TAXONOMIES["ferplus8"].labels
    answer_frames(page, [dict(zip(labels, [*shares, *[0.0] * len(labels)], strict=False))], 0)
    start(page, "live")
    wait_for_frames(page, 1)
    bottom = page.evaluate(
        """() => {
          const place = document.querySelector(".kfer-line-ends").getBoundingClientRect();
          const names = [...document.querySelectorAll(".kfer-line-ends span")];
          const all = names.map((name) => name.getBoundingClientRect());
          const clear = all.every((each, i) => i === 0 || each.top >= all[i - 1].bottom - 1);
          return [names.length, clear, Math.max(...all.map((each) => each.bottom)) - place.bottom];
        }"""
    )
    assert bottom[:2] == [min(len(shares), 5), True]
    assert bottom[2] <= 1


def test_a_shown_frame_is_young_and_a_second_visitor_is_served_meanwhile(
    open_page: Callable[..., Page], slow_server: AppServer
) -> None:
    page = open_page(slow_server)
    start(page, "live")
    wait_for_frames(page, 2)
    photo = encode(build_quarters(), "JPEG")
    waits: list[float] = []
    statuses: list[int] = []

    def visit() -> None:
        for _ in range(3):
            began = time.monotonic()
            statuses.append(slow_server.post("kfer/analyze", photo)[0])
            waits.append(time.monotonic() - began)

    second = threading.Thread(target=visit)
    second.start()
    ages = []
    for frame in range(3, 9):
        wait_for_frames(page, frame)
        ages.append(int(page.locator(".kfer-frame").get_attribute("data-age-ms") or 0) / 1000)
    second.join()
    assert statuses == [200] * 3
    assert min(ages) >= SLOW_SECONDS
    assert max(ages) < 2 * SLOW_SECONDS
    assert max(waits) < 2 * SLOW_SECONDS


def answer_frames(page: Page, frames: list[dict[str, float]], limit: float) -> None:
    """A frame each, of one face with these probabilities; all later ones wait for ever."""
    waiting = iter(frames)

    def answer(route: Route) -> None:
        probs = next(waiting, None)
        if probs is None:
            return
        label = max(probs, key=lambda name: probs[name])
        face = {"rect": [200, 100, 200, 200], "label": label, "unsure": probs[label] < limit,
                "probs": probs}  # fmt: skip
        analysis = {"width": 640, "height": 480, "model": "any", "taxonomy": "ferplus8",
                    "approximate": False, "faces": [face], "note": None}  # fmt: skip
        route.fulfill(json={"analysis": analysis, "csv": "", "turned": False})

    page.route("**/kfer/analyze*", answer)


@pytest.mark.parametrize(
    ("steps", "unsure"), [((0.1, -0.06), False), ((-0.1, 0.06), True)], ids=["sure", "unsure"]
)
def test_live_answers_are_unsure_by_the_share_that_is_shown(
    steps: tuple[float, float], unsure: bool, page: Page
) -> None:
    """The mean of two frames: the newer one alone would be judged the other way."""
    limit = locate_bundle(None).unsure_below
    assert limit is not None
    others = [label for label in TAXONOMIES["ferplus8"].labels if label != "기쁨"]
    frames = []
    for share in (limit + step for step in steps):
        frames.append({"기쁨": share, **dict.fromkeys(others, (1 - share) / len(others))})
    answer_frames(page, frames, limit)
    start(page, "live")
    wait_for_frames(page, 2)
    expect(page.locator(".kfer-unsure")).to_have_count(int(unsure))
    expect(page.locator(".kfer-tag")).to_have_text(
        re.compile(r"^1 기쁨\? \d+ %$" if unsure else r"^1 기쁨 \d+ %$")
    )
    # A button would lose the keyboard's focus with every frame.
    assert page.locator(".kfer-box").evaluate("(box) => box.tagName") == "SPAN"


@pytest.mark.parametrize("action", ["camera", "live"])
def test_the_keyboard_goes_on_where_a_button_was(action: str, page: Page) -> None:
    page.locator(f"[data-action={action}]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-action=stop]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-action=choose]")).to_be_focused()


def test_a_camera_that_goes_away_is_said(watched: Page) -> None:
    start(watched, "live")
    wait_for_frames(watched, 1)
    watched.evaluate("window.tracks[0].dispatchEvent(new Event('ended'))")
    expect(watched.locator(".kfer-error")).to_contain_text("카메라를 쓸 수 없어요")
    expect(watched.locator(".kfer-empty")).to_be_visible()
    expect(watched.locator("[data-action=choose]")).to_be_visible()
    assert list_tracks(watched) == ["ended"]


@pytest.mark.parametrize("action", ["camera", "live"])
def test_another_tab_ends_the_filming(action: str, watched: Page) -> None:
    start(watched, action)
    results = watched.locator(".kfer-results")
    expect(results).to_have_attribute("aria-live", "off" if action == "live" else "polite")
    watched.get_by_role("tab", name="Take part").click()
    watched.wait_for_function("window.tracks.every((track) => track.readyState === 'ended')")
    assert list_tracks(watched) == ["ended"]
    watched.get_by_role("tab", name="Analyze").click()
    expect(watched.locator(f"[data-action={action}]")).to_be_visible()
    expect(results).to_have_attribute("aria-live", "polite")


def test_frames_are_never_sent_before_the_last_ones_answer_is_there(
    open_page: Callable[..., Page], slow_server: AppServer
) -> None:
    page = open_page(slow_server)
    under_way: set[object] = set()
    most = 0

    def begin(request: object) -> None:
        nonlocal most
        if "kfer/analyze" in getattr(request, "url", ""):
            under_way.add(request)
            most = max(most, len(under_way))

    page.on("request", begin)
    page.on("requestfinished", lambda request: under_way.discard(request))
    start(page, "live")
    wait_for_frames(page, 6)
    assert most == 1
    expect(page.locator(".kfer-tag")).to_have_text(re.compile("^1 기쁨"))
