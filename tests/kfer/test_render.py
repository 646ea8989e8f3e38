"""Annotated photos: what is drawn where, in which letters; and the rows of tables and CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFont

from kfer import render
from kfer.labels import COLORS, get_taxonomy
from kfer.photos import WORKING_SIDE, Photo
from kfer.pipeline import Analysis, FaceReading, describe
from kfer.render import build_rows, draw_analysis, find_korean_font, write_csv
from tests.kfer.fake_recognizer import build_reading

BACKGROUND = (0, 0, 255)  # no emotion's colour, nor white
SMALLEST = 12  # px of text
UNASSIGNED = "\U000e0fff"  # a character that no font has
Pixels = NDArray[np.uint8]


@pytest.fixture
def no_korean_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(render, "_KOREAN_FONTS", (("NoSuchFont.ttf", 0),))
    find_korean_font.cache_clear()
    yield
    find_korean_font.cache_clear()


@pytest.fixture
def korean_font() -> ImageFont.FreeTypeFont:
    found = find_korean_font()
    if found is None:
        pytest.skip("this system has no font with Korean letters")
    return ImageFont.truetype(found[0], 24, index=found[1])


def analysis_of(size: tuple[int, int], *readings: FaceReading) -> Analysis:
    """A plain photo of that original size; what is over the working size is reduced."""
    image = Image.new("RGB", size, BACKGROUND)
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.NEAREST)
    photo = Photo(image, *size)
    return Analysis(photo, "fake@0", get_taxonomy("ferplus8"), False, readings, None)


def draw(size: tuple[int, int], *readings: FaceReading) -> Pixels:
    return np.asarray(draw_analysis(analysis_of(size, *readings)))


def find_tag(pixels: Pixels, label: str = "기쁨") -> tuple[int, int, int, int]:
    """left, top, right, bottom of what has the tag's colour: the label's own, darkened."""
    color = [round(0.78 * value) for value in ImageColor.getrgb(COLORS[label])]
    rows, columns = np.nonzero((pixels == color).all(axis=2))
    assert len(rows)
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def find_text(pixels: Pixels, label: str = "기쁨") -> NDArray[np.bool_]:
    """Which pixels of the tag, cut out, are rather letters than ground."""
    left, top, right, bottom = find_tag(pixels, label)
    tag = pixels[top : bottom + 1, left : right + 1].astype(int)
    letters: NDArray[np.bool_] = tag.min(axis=2) > 170
    rows, columns = np.nonzero(letters)
    return letters[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


@pytest.mark.parametrize("size", [(300, 300), (300, 200), (1280, 960), (6000, 4000)])
def test_the_text_of_a_tag_is_large_enough_and_whole(
    size: tuple[int, int], korean_font: ImageFont.FreeTypeFont
) -> None:
    width, height = size
    pixels = draw(size, build_reading((width / 3, height / 3, width / 10, height / 10)))
    text = find_text(pixels)
    assert text.shape[0] >= SMALLEST
    # Nothing cut off: the text is as long, for its height, as this font makes it.
    bounds = korean_font.getbbox("1 기쁨 90%")
    proportion = (bounds[2] - bounds[0]) / (bounds[3] - bounds[1])
    assert text.shape[1] / text.shape[0] == pytest.approx(proportion, rel=0.15)
    left, top, right, bottom = find_tag(pixels)
    assert right - left > text.shape[1]
    assert bottom - top > text.shape[0]


def test_text_grows_with_the_photo() -> None:
    box = 0.3, 0.3, 0.3, 0.3
    heights = [
        find_text(draw((side, side), build_reading(tuple(side * v for v in box)))).shape[0]  # type: ignore[arg-type]
        for side in (300, 1000, 2500)
    ]
    assert heights == sorted(set(heights))


@pytest.mark.parametrize("size", [(300, 300), (6000, 4000)])
@pytest.mark.parametrize("place", ["middle", "left", "right", "top", "bottom", "corner", "beyond"])
def test_tags_lie_inside_the_photo_wherever_the_face_is(place: str, size: tuple[int, int]) -> None:
    width, height = size
    side = width / 5
    x, y = {
        "middle": (width / 2, height / 2),
        "left": (-side / 2, height / 2),
        "right": (width - side / 2, height / 2),
        "top": (width / 2, -side / 2),
        "bottom": (width / 2, height - side / 2),
        "corner": (width - side / 3, -side / 3),
        "beyond": (width + 50, height + 50),
    }[place]
    pixels = draw(size, build_reading((x, y, side, side)))
    whole = find_text(draw(size, build_reading((width / 2, height / 2, side, side))))
    text = find_text(pixels)
    assert text.shape == whole.shape
    assert (text == whole).mean() > 0.97  # placed between two pixels, edges differ a little


@pytest.mark.parametrize("size", [(300, 300), (6000, 4000)])
@pytest.mark.parametrize(
    "corner", [(0.4, 0.4), (-0.1, 0.4), (0.9, 0.4), (0.4, -0.1), (0.4, 0.9), (-0.1, -0.1)]
)
def test_all_four_sides_of_a_box_are_seen(
    corner: tuple[float, float], size: tuple[int, int]
) -> None:
    width, height = size
    x, y, side = corner[0] * width, corner[1] * height, 0.3 * height
    analysis = analysis_of(size, build_reading((x, y, side, side)))
    pixels = np.asarray(draw_analysis(analysis))
    lines = (pixels == ImageColor.getrgb(COLORS["기쁨"])).all(axis=2)
    scale = analysis.photo.scale
    x0, x1 = (round(min(max(v, 0), width) / scale) for v in (x, x + side))
    y0, y1 = (round(min(max(v, 0), height) / scale) for v in (y, y + side))
    rows, columns = slice(y0 + (y1 - y0) // 2, y1 - 8), slice(x0 + 8, x1 - 8)
    assert lines[rows, max(x0 - 2, 0) : x0 + 3].any(axis=1).all()
    assert lines[rows, x1 - 2 : x1 + 3].any(axis=1).all()
    assert lines[y1 - 2 : y1 + 3, columns].any(axis=0).all()
    if y0 > 0:  # at the border the tag lies on this side
        assert lines[y0 - 2 : y0 + 3, columns].any(axis=0).all()


@pytest.mark.parametrize("side", [600, 6000])
def test_sixty_faces_are_all_drawn_and_numbered(side: int) -> None:
    labels = list(get_taxonomy("ferplus8").labels)
    readings = [
        build_reading(
            ((i % 10) * side / 10, (i // 10 + 0.3) * side / 6, side / 20, side / 16), labels[i % 8]
        )
        for i in range(60)
    ]
    analysis = analysis_of((side, side), *readings)
    picture = draw_analysis(analysis)
    for reading in readings:
        x, y, w, h = (value / analysis.photo.scale for value in reading.face.box)
        # The middle of the lower side; no tag reaches down to it.
        side_colors = {picture.getpixel((round(x + w / 2), round(y + h) - i)) for i in range(-2, 3)}
        assert ImageColor.getrgb(COLORS[reading.prediction.label]) in side_colors
    first = find_text(draw((side, side), readings[0]), labels[0])
    assert first.shape[0] >= SMALLEST - 1  # 분노 is a little lower than 기쁨


def test_the_photo_itself_stays_as_it_is() -> None:
    analysis = analysis_of((300, 200), build_reading((10, 10, 50, 50)))
    before = analysis.photo.image.tobytes()
    picture = draw_analysis(analysis)
    assert picture.size == analysis.photo.image.size
    assert analysis.photo.image.tobytes() == before != picture.tobytes()


def test_tags_say_the_label_in_korean_letters(korean_font: ImageFont.FreeTypeFont) -> None:
    texts = {
        label: find_text(draw((600, 600), build_reading((200, 200, 200, 200), label)), label)
        for label in ("기쁨", "슬픔", "공포")
    }
    # Boxes in place of missing letters would make all three the same.
    assert len({text.tobytes() for text in texts.values()}) == 3
    missing = korean_font.getmask(UNASSIGNED)
    for letter in set("".join(COLORS)):
        mask = korean_font.getmask(letter)
        assert mask.getbbox() is not None
        assert (mask.size, bytes(mask)) != (missing.size, bytes(missing))


@pytest.mark.parametrize(
    ("confidence", "approximate", "text"),
    [
        (0.9, False, "1 기쁨 90%"),
        (0.4, False, "1 기쁨? 40%"),
        (0.9, True, "1 기쁨 ≈90%"),
        (0.4, True, "1 기쁨? ≈40%"),
    ],
)
def test_tags_mark_unsure_answers_and_approximations(
    confidence: float, approximate: bool, text: str, korean_font: ImageFont.FreeTypeFont
) -> None:
    reading = build_reading((200, 200, 200, 200), "기쁨", confidence)
    analysis = replace(analysis_of((600, 600), reading), approximate=approximate)
    tag = find_text(np.asarray(draw_analysis(analysis)))
    plain = find_text(draw((600, 600), build_reading((200, 200, 200, 200))))
    longer = korean_font.getlength(text) / korean_font.getlength("1 기쁨 90%")
    assert tag.shape[1] / plain.shape[1] == pytest.approx(longer, rel=0.03)


def test_tags_are_english_where_english_is_asked_for(korean_font: ImageFont.FreeTypeFont) -> None:
    analysis = analysis_of((600, 600), build_reading((200, 200, 200, 200), "기쁨"))
    widths = [
        find_text(np.asarray(draw_analysis(analysis, language))).shape[1]
        for language in ("ko", "en")
    ]
    longer = korean_font.getlength("1 happiness 90%") / korean_font.getlength("1 기쁨 90%")
    assert widths[1] / widths[0] == pytest.approx(longer, rel=0.03)


@pytest.mark.usefixtures("no_korean_font")
def test_without_a_korean_font_tags_are_english() -> None:
    assert find_korean_font() is None
    joy = find_text(draw((600, 600), build_reading((200, 200, 200, 200), "기쁨")))
    sorrow = find_text(draw((600, 600), build_reading((200, 200, 200, 200), "슬픔")), "슬픔")
    size = joy.shape[0] * 1.6  # any: only the widths' proportion is compared
    font = ImageFont.load_default(size)
    expected = font.getlength("1 happiness 90%") / font.getlength("1 sadness 90%")
    assert joy.shape[1] / sorrow.shape[1] == pytest.approx(expected, rel=0.03)
    about = replace(analysis_of((600, 600), build_reading((200, 200, 200, 200))), approximate=True)
    marked = find_text(np.asarray(draw_analysis(about)))
    expected = font.getlength("1 happiness ~90%") / font.getlength("1 happiness 90%")
    assert marked.shape[1] / joy.shape[1] == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("label", COLORS)
def test_white_text_on_a_tag_has_a_contrast_of_4_5(label: str) -> None:
    pixels = draw((300, 300), build_reading((100, 100, 80, 80), "기쁨"))
    assert find_tag(pixels)  # the colour that find_tag knows is the one that is drawn
    shares = [0.78 * value / 255 for value in ImageColor.getrgb(COLORS[label])]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in shares]
    luminance = np.dot(linear, (0.2126, 0.7152, 0.0722))
    assert 1.05 / (luminance + 0.05) >= 4.5


@pytest.fixture
def described(face_photo: Photo) -> dict[str, Any]:
    readings = (build_reading((1, 2, 3, 4)), build_reading((5, 6, 7, 8), "슬픔", 0.4))
    return describe(
        Analysis(face_photo, "fake@0", get_taxonomy("ferplus8"), True, readings, None), "휴가.jpg"
    )


@pytest.fixture
def face_photo() -> Photo:
    return Photo(Image.new("RGB", (20, 10)), 20, 10)


def parse_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_face_is_a_row_with_the_objects_values(described: dict[str, Any]) -> None:
    rows = build_rows(described)
    assert [row["face"] for row in rows] == [1, 2]
    second = rows[1]
    assert [second[key] for key in "xywh"] == [5, 6, 7, 8]
    assert (second["label"], second["label_en"]) == ("슬픔", "sadness")
    assert second["슬픔"] == pytest.approx(0.4)
    assert [(row["approximate"], row["unsure"]) for row in rows] == [(True, False), (True, True)]
    assert sum(second[label] for label in get_taxonomy("ferplus8").labels) == pytest.approx(1)
    assert (second["file"], second["width"], second["height"]) == ("휴가.jpg", 20, 10)
    parsed = parse_csv(write_csv(rows))
    assert [list(row) for row in parsed] == [list(row) for row in rows]
    assert float(parsed[1]["슬픔"]) == second["슬픔"]
    assert (parsed[1]["approximate"], parsed[1]["unsure"]) == ("True", "True")


def test_an_error_is_a_row_among_the_others(described: dict[str, Any]) -> None:
    rows = [*build_rows(described), *build_rows({"file": "b.jpg", "error": "is empty"})]
    parsed = parse_csv(write_csv(rows))
    assert [row["file"] for row in parsed] == ["휴가.jpg", "휴가.jpg", "b.jpg"]
    assert [row["error"] for row in parsed] == ["", "", "is empty"]
    assert parsed[2]["label"] == ""


@pytest.mark.parametrize(
    "name", ["a,b.jpg", 'say "cheese".jpg', "two\nlines.jpg", "쉼표,;.jpg", "  space .jpg"]
)
def test_any_file_name_survives_csv(name: str) -> None:
    assert parse_csv(write_csv([{"file": name, "label": "기쁨"}])) == [
        {"file": name, "label": "기쁨"}
    ]


def test_a_carriage_return_in_a_file_name_does_not_break_the_line() -> None:
    assert parse_csv(write_csv([{"file": "\rx\r.jpg"}])) == [{"file": " x .jpg"}]


@pytest.mark.parametrize("name", ["=1+1.jpg", "+1.jpg", "-1.jpg", "@cmd.jpg", "\tx.jpg"])
def test_a_file_name_cannot_be_a_spreadsheet_formula(name: str) -> None:
    assert parse_csv(write_csv([{"file": name, "x": -1.5}])) == [{"file": "'" + name, "x": "-1.5"}]
