"""The Analyze tab in a browser: photos in, boxes and readings out, in the visitor's language."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Page, Route, expect

from kfer.labels import TAXONOMIES
from tests.browser.conftest import PHONE, wait_until_ready
from tests.kfer.photo_samples import TEXT, cut_short, encode, encode_heic, write_bomb
from tests.servers import AppServer

pytestmark = pytest.mark.browser

GROUP = Path(__file__).parents[2] / "kfer" / "examples" / "group.webp"
HANGUL = re.compile("[가-힣]")
FERPLUS8 = TAXONOMIES["ferplus8"]


def upload(page: Page, photo: Path | bytes, name: str = "photo.jpg") -> None:
    """Through the file input; bytes under that name."""
    page.locator(".kfer-file").set_input_files(
        photo
        if isinstance(photo, Path)
        else {"name": name, "mimeType": "image/jpeg", "buffer": photo}
    )


def expect_three_faces(page: Page) -> None:
    expect(page.locator(".kfer-card")).to_have_count(3)
    expect(page.locator(".kfer-box")).to_have_count(3)


def read_download(page: Page, kind: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.locator(f"[data-download={kind}]").click()
    download = waiting.value
    return download.suggested_filename, Path(download.path()).read_bytes()


@pytest.mark.parametrize(
    ("locale", "index", "face", "button"),
    [("ko-KR", 0, "얼굴 1", "사진 고르기"), ("en-US", 1, "Face 1", "Choose a photo")],
)
def test_a_group_photo_is_read_in_the_browsers_language(
    locale: str,
    index: int,
    face: str,
    button: str,
    open_page: Callable[..., Page],
    server: AppServer,
) -> None:
    page = open_page(server, locale)
    expect(page.locator("[data-action=choose]")).to_have_text(button)
    upload(page, GROUP)
    expect_three_faces(page)
    expect(page.locator(".kfer-busy")).to_be_hidden()
    expect(page.locator(".kfer-card-name").first).to_have_text(face)
    names = (FERPLUS8.labels, FERPLUS8.english)[index]
    for card in page.locator(".kfer-card").all():
        words = card.locator(".kfer-words").all_inner_texts()
        assert sorted(words) == sorted(names)
        assert card.locator(".kfer-card-answer").inner_text() == words[0]
        shares = card.locator("li b").all_inner_texts()
        assert card.locator(".kfer-card-share").inner_text() == shares[0]
        values = [int(share.removesuffix(" %")) for share in shares]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(100, abs=4)
    # The tag above each box begins with the number and says the card's answer.
    for number, tag in enumerate(page.locator(".kfer-tag").all_inner_texts(), 1):
        answer = page.locator(".kfer-card-answer").nth(number - 1).inner_text()
        assert tag.startswith(f"{number} {answer}")


def test_boxes_lie_on_the_faces(page: Page, server: AppServer) -> None:
    upload(page, GROUP)
    expect_three_faces(page)
    _, body = server.post("kfer/analyze", GROUP.read_bytes())
    faces = json.loads(body)["analysis"]["faces"]
    photo = page.locator(".kfer-photo").bounding_box()
    assert photo is not None
    scale = photo["width"] / 1280
    for box, face in zip(page.locator(".kfer-box").all(), faces, strict=True):
        place = box.bounding_box()
        assert place is not None
        found = [place["x"] - photo["x"], place["y"] - photo["y"], place["width"], place["height"]]
        assert found == pytest.approx([value * scale for value in face["rect"]], abs=1)


def list_texts(page: Page) -> list[str]:
    """Every text that is seen, piece by piece."""
    texts: list[str] = page.evaluate(
        """() => {
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          const texts = [];
          while (walker.nextNode()) {
            const parent = walker.currentNode.parentElement;
            if (parent.closest("script, style, noscript")) continue;
            if (!parent.checkVisibility({ visibilityProperty: true })) continue;
            if (walker.currentNode.data.trim()) texts.push(walker.currentNode.data.trim());
          }
          return texts;
        }"""
    )
    return texts


def test_the_switch_changes_every_text_and_the_choice_survives_a_reload(page: Page) -> None:
    upload(page, GROUP)
    expect_three_faces(page)
    page.locator(".kfer-table summary").click()
    korean = list_texts(page)
    page.locator("[data-language=en]").click()
    expect(page.locator("[data-action=choose]")).to_have_text("Choose a photo")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator(".kfer-photo").get_attribute("alt") == "Your photo"
    english = list_texts(page)
    labels = set(FERPLUS8.labels)
    assert len(english) == len(korean) > 80
    # What stays Korean: the language's own name, the tabs' names, the cards' second words.
    left = {text for text in english if HANGUL.search(text)} - labels
    tabs = {
        "표정 분석 · Analyze",
        "설문 참여 · Take part",
        "사람과 모델 · Compare",
        "모델과 데이터 · About",
    }
    assert left == {"한국어", *tabs}
    second = set(page.locator(".kfer-card li small").all_inner_texts())
    assert second == labels
    changed = [(a, b) for a, b in zip(korean, english, strict=True) if HANGUL.search(a)]
    assert [pair for pair in changed if pair[0] == pair[1] and pair[0] not in left] == []

    page.reload()
    wait_until_ready(page)
    expect(page.locator("[data-action=choose]")).to_have_text("Choose a photo")
    assert page.evaluate("({...localStorage})") == {"kfer-language": "en"}


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_can_be_dropped_or_pasted(way: str, page: Page) -> None:
    page.evaluate(
        """async ([way, address]) => {
          const blob = await (await fetch(address)).blob();
          const transfer = new DataTransfer();
          transfer.items.add(new File([blob], "dropped.webp", { type: "image/webp" }));
          const frame = document.querySelector(".kfer-frame");
          const options = { bubbles: true, cancelable: true };
          if (way === "paste") {
            document.dispatchEvent(
              new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
          } else {
            for (const type of ["dragover", "drop"]) {
              frame.dispatchEvent(new DragEvent(type, { ...options, dataTransfer: transfer }));
            }
          }
        }""",
        [way, "kfer/examples/group.webp"],
    )
    expect_three_faces(page)
    assert json.loads(read_download(page, "json")[1])["file"] == "dropped.webp"


def test_an_example_is_read_on_a_click(page: Page) -> None:
    examples = page.locator(".kfer-example")
    expect(examples).to_have_count(5)
    examples.nth(1).click()
    expect(page.locator(".kfer-card")).to_have_count(1)
    examples.first.click()
    expect_three_faces(page)


def test_the_readings_can_be_downloaded(page: Page, server: AppServer) -> None:
    upload(page, GROUP.read_bytes(), "휴가.webp")
    expect_three_faces(page)
    _, body = server.post("kfer/analyze", GROUP.read_bytes())
    expected = json.loads(body)

    name, data = read_download(page, "json")
    assert name == "kfer.json"
    assert json.loads(data) == {**expected["analysis"], "file": "휴가.webp"}

    name, data = read_download(page, "csv")
    assert name == "kfer.csv"
    assert data.startswith(b"\xef\xbb\xbf")  # so that spreadsheets read the Korean
    text = data.decode("utf-8-sig")
    assert text == re.sub("^photo,", "휴가.webp,", expected["csv"], flags=re.MULTILINE)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["label"] for row in rows] == [
        face["label"] for face in expected["analysis"]["faces"]
    ]
    assert set(FERPLUS8.labels) < set(rows[0])

    name, data = read_download(page, "photo")
    assert name == "kfer.jpg"
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (1280, 470))


def test_other_labels_are_read_anew_and_called_an_approximation(page: Page) -> None:
    upload(page, GROUP)
    expect_three_faces(page)
    line = page.locator(".kfer-approximate")
    expect(line).to_be_hidden()
    page.locator("[data-setting=taxonomy]").select_option("aihub7")
    expect(line).to_be_visible()
    expect(line).to_contain_text("어림값이에요. 이 모델이 답할 수 없는 감정: 상처.")
    expect_three_faces(page)
    for card in page.locator(".kfer-card").all():
        words = card.locator(".kfer-words").all_inner_texts()
        assert set(words) == set(TAXONOMIES["aihub7"].labels)
    page.locator("[data-language=en]").click()
    expect(line).to_contain_text("Emotions this model cannot answer: hurt.")
    page.locator("[data-setting=taxonomy]").select_option("fer7")  # a head of the model's own
    expect(line).to_be_hidden()
    expect_three_faces(page)
    expect(page.locator(".kfer-card").first.locator("li")).to_have_count(7)


def test_without_a_detector_the_photo_is_one_card(page: Page) -> None:
    upload(page, GROUP)
    expect_three_faces(page)
    page.locator("[data-setting=detector]").select_option("none")
    expect(page.locator(".kfer-card")).to_have_count(1)
    expect(page.locator(".kfer-card-name")).to_have_text("사진 전체")
    expect(page.locator(".kfer-box")).to_have_count(0)
    expect(page.locator(".kfer-note")).to_be_hidden()


def test_without_a_face_the_photo_stays_and_a_line_says_how_to_do_better(page: Page) -> None:
    upload(page, encode(Image.new("RGB", (400, 300), "seagreen"), "JPEG"))
    expect(page.locator(".kfer-card")).to_have_count(1)
    expect(page.locator(".kfer-card-name")).to_have_text("사진 전체")
    expect(page.locator(".kfer-note")).to_contain_text("얼굴을 찾지 못해")
    expect(page.locator(".kfer-photo")).to_be_visible()


def test_a_tap_on_a_box_marks_its_card_and_the_other_way_round(
    open_page: Callable[..., Page], server: AppServer
) -> None:
    page = open_page(server, size=PHONE)
    upload(page, GROUP)
    expect_three_faces(page)
    chosen = re.compile("kfer-chosen")
    page.locator(".kfer-box").nth(2).click()
    expect(page.locator(".kfer-card").nth(2)).to_have_class(chosen)
    expect(page.locator(".kfer-card").nth(2)).to_be_in_viewport()
    expect(page.locator(".kfer-chosen")).to_have_count(2)
    page.locator(".kfer-card").nth(0).click()
    expect(page.locator(".kfer-box").nth(0)).to_have_class(chosen)
    expect(page.locator(".kfer-chosen")).to_have_count(2)


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One byte over the limit."""
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    with path.open("wb") as file:
        file.truncate(30 * 2**20 + 1)
    return path


BAD = {
    "text": (TEXT, "읽을 수 있는 사진 파일이 아니에요", "is not a photo that can be read"),
    "nothing": (b"", "파일이 비어 있어요", "The file is empty"),
    "cut": (b"cut", "사진이 손상되었거나 중간에 잘렸어요", "damaged or cut short"),
    "bomb": (write_bomb(), "사진의 화소가 너무 많아요", "too many pixels"),
    "large": (b"large", "파일이 30 MB보다 커요", "larger than 30 MB"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_photo_is_said_in_the_pages_language_and_the_page_goes_on(
    name: str, page: Page, large_file: Path
) -> None:
    data, korean, english = BAD[name]
    if name == "cut":
        with Image.open(GROUP) as image:
            data = cut_short(encode(image.convert("RGB"), "JPEG"), 0.4)
    error = page.locator(".kfer-error")
    upload(page, large_file if name == "large" else data)
    expect(error).to_contain_text(korean)
    expect(page.locator(".kfer-busy")).to_be_hidden()
    page.locator("[data-language=en]").click()
    expect(error).to_contain_text(english)
    expect(page.locator(".kfer-card")).to_have_count(0)
    upload(page, GROUP)
    expect_three_faces(page)
    expect(error).to_be_hidden()


def test_a_file_that_is_too_large_is_not_sent(page: Page, large_file: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    upload(page, large_file)
    expect(page.locator(".kfer-error")).to_contain_text("파일이 30 MB보다 커요")
    expect(page.locator(".kfer-view")).to_be_hidden()
    page.locator("[data-setting=taxonomy]").select_option("fer7")
    upload(page, GROUP)
    expect_three_faces(page)
    posted = [url for url in sent if re.search("/kfer/(analyze|preview)", url)]
    assert len(posted) == 1


def test_a_newer_photo_wins_over_one_that_is_still_being_read(page: Page, large_file: Path) -> None:
    upload(page, GROUP)
    upload(page, large_file)
    expect(page.locator(".kfer-error")).to_contain_text("파일이 30 MB보다 커요")
    expect(page.locator(".kfer-busy")).to_be_hidden()
    upload(page, encode(Image.new("RGB", (400, 300), "seagreen"), "JPEG"))
    upload(page, GROUP)
    expect_three_faces(page)
    expect(page.locator(".kfer-busy")).to_be_hidden()


def test_a_heic_photo_is_shown_by_the_servers_preview(page: Page) -> None:
    held: list[Route] = []
    page.route("**/kfer/preview*", lambda route: held.append(route))
    with Image.open(GROUP) as image, page.expect_request("**/kfer/preview*"):
        upload(page, encode_heic(image.convert("RGB")), "IMG_0001.HEIC")
    expect_three_faces(page)
    (preview,) = held
    preview.continue_()
    page.wait_for_function("document.querySelector('.kfer-photo').naturalWidth === 1280")
    # Now that the photo has its size, the tags say more than a number.
    expect(page.locator(".kfer-tag").first).to_contain_text(HANGUL)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_a_turned_photo_is_shown_upright(format_: str, page: Page) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    with Image.open(GROUP) as image:
        held = image.transpose(Image.Transpose.ROTATE_90)
    upload(page, encode(held, format_, exif=exif.tobytes()))
    expect_three_faces(page)
    analysis = json.loads(read_download(page, "json")[1])
    page.wait_for_function(
        """([width, height]) => {
          const photo = document.querySelector(".kfer-photo");
          return photo.naturalWidth === width && photo.naturalHeight === height;
        }""",
        arg=[analysis["width"], analysis["height"]],
    )
    assert (analysis["width"], analysis["height"]) == (1280, 470)


def test_a_late_preview_does_not_replace_a_newer_photo(page: Page) -> None:
    held: list[Route] = []
    page.route("**/kfer/preview*", lambda route: held.append(route))
    plain = Image.new("RGB", (400, 300), "seagreen")
    with page.expect_request("**/kfer/preview*"):
        upload(page, encode_heic(plain), "IMG_0001.HEIC")
    upload(page, GROUP)
    expect_three_faces(page)
    (preview,) = held
    with page.expect_response("**/kfer/preview*"):
        preview.continue_()
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('.kfer-photo').naturalWidth") == 1280


def test_an_answer_that_breaks_off_or_an_example_that_does_not_come_is_said(page: Page) -> None:
    error = page.locator(".kfer-error")
    page.route("**/kfer/analyze*", lambda route: route.fulfill(status=200, body='{"analysis": {'))
    upload(page, GROUP)
    expect(error).to_contain_text("서버에 연결하지 못했어요")
    page.unroute("**/kfer/analyze*")
    page.route("**/kfer/examples/*", lambda route: route.abort())
    upload(page, GROUP)
    expect_three_faces(page)
    page.locator(".kfer-example").first.click()
    expect(error).to_contain_text("서버에 연결하지 못했어요")
    expect(page.locator(".kfer-busy")).to_be_hidden()
    expect(page.locator(".kfer-card")).to_have_count(0)


def test_a_server_that_is_gone_is_said(page: Page) -> None:
    page.route("**/kfer/analyze*", lambda route: route.abort())
    upload(page, GROUP)
    expect(page.locator(".kfer-error")).to_contain_text("서버에 연결하지 못했어요")
    page.unroute("**/kfer/analyze*")
    upload(page, GROUP)
    expect_three_faces(page)


def test_the_about_tab_says_what_kfer_is_for(page: Page) -> None:
    page.get_by_role("tab", name="About").click()
    about = page.locator(".kfer-about")
    expect(about).to_contain_text("쓰임새와 한계")
    page.locator("[data-language=en]").click()
    expect(about).to_contain_text("forbids inferring emotions at work and in education")
    assert not HANGUL.search(about.inner_text())
