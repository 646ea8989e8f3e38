"""Readings -> an annotated picture, and rows for tables and CSV."""

import csv
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageColor, ImageDraw, ImageFont

from kfer.labels import COLORS
from kfer.pipeline import Analysis, FaceReading

# File names that Pillow finds in the system's font folders, with the Korean face's index.
_KOREAN_FONTS = (
    ("NotoSansCJK-Bold.ttc", 1),
    ("NotoSansCJK-Regular.ttc", 1),
    ("NotoSansKR-Bold.otf", 0),
    ("NotoSansKR-Regular.ttf", 0),
    ("NanumGothicBold.ttf", 0),
    ("NanumGothic.ttf", 0),
    ("AppleSDGothicNeo.ttc", 0),
    ("malgunbd.ttf", 0),
    ("malgun.ttf", 0),
)
_SMALLEST_TEXT = 12  # px, below which Hangul is no longer legible


@functools.cache
def find_korean_font() -> tuple[str, int] | None:
    """File and index of a font with Hangul on this system, or None."""
    for name, index in _KOREAN_FONTS:
        try:
            ImageFont.truetype(name, 12, index=index)
        except OSError:
            continue
        return name, index
    return None


def draw_analysis(analysis: Analysis, language: str = "ko") -> Image.Image:
    """A copy of the photo with a numbered, labelled box round every face.

    Labels are Korean unless English (``en``) is asked for, or the system has no Korean font.
    """
    picture = analysis.photo.image.copy()
    draw = ImageDraw.Draw(picture)
    for number, reading in enumerate(analysis.readings, start=1):
        text = _write_tag(number, reading, analysis.approximate, language)
        _draw_reading(draw, picture.size, reading, text, 1 / analysis.photo.scale)
    return picture


def _draw_reading(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    reading: FaceReading,
    text: str,
    scale: float,
) -> None:
    x, y, w, h = (value * scale for value in reading.face.box)
    # Of a face across the border, the part inside.
    x, right_edge = (min(max(value, 0), size[0] - 1) for value in (x, x + w))
    y, lower_edge = (min(max(value, 0), size[1] - 1) for value in (y, y + h))
    line = max(2, round(max(size) / 400))
    color = COLORS[reading.prediction.label]
    draw.rectangle(
        (x - line, y - line, right_edge + line, lower_edge + line), outline="white", width=line * 2
    )
    draw.rectangle((x, y, right_edge, lower_edge), outline=color, width=line)
    font = _load_font(_choose_text_size(max(w, h), size))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * line, bottom - top + 2 * line
    # Above the box where there is room, else inside its upper edge; never outside the picture.
    tag_y = y - height if y >= height else y
    tag_x = min(max(x, 0), max(size[0] - width, 0))
    tag_y = min(max(tag_y, 0), max(size[1] - height, 0))
    draw.rectangle((tag_x, tag_y, tag_x + width, tag_y + height), fill=_darken(color))
    draw.text((tag_x + line - left, tag_y + line - top), text, font=font, fill="white")


def _darken(color: str) -> tuple[int, ...]:
    """So that white text on it has a contrast of 4.5:1, as in kfer.css."""
    return tuple(round(0.78 * value) for value in ImageColor.getrgb(color))


def _choose_text_size(face: float, size: tuple[int, int]) -> float:
    """Follows the face, so that tags of a crowd do not cover it, within what can be read."""
    largest = max(_SMALLEST_TEXT, max(size) / 28)
    return min(max(face / 5, _SMALLEST_TEXT, max(size) / 80), largest)


def _load_font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    font = find_korean_font()
    if font is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(font[0], size, index=font[1])


def _write_tag(number: int, reading: FaceReading, approximate: bool, language: str) -> str:
    """``1 기쁨? ≈51%``: not sure, and of a label set that is not the model's own."""
    prediction = reading.prediction
    has_font = find_korean_font() is not None  # Pillow's own knows neither Hangul nor the sign
    korean = has_font and language != "en"
    name = prediction.label if korean else prediction.taxonomy.to_english(prediction.label)
    about = "≈" if has_font else "~"
    doubt, sign = "?" * bool(reading.unsure), about * approximate
    return f"{number} {name}{doubt} {sign}{prediction.confidence:.0%}"


def build_rows(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A flat row per face of what ``pipeline.describe`` gives, or one row for an error."""
    keys = ("file", "width", "height", "model", "taxonomy", "approximate")
    shared = {key: described.get(key) for key in keys}
    if "error" in described:
        return [{**shared, "error": described["error"]}]
    return [
        {
            **shared,
            "face": number,
            **dict(zip("xywh", face["rect"], strict=True)),
            "detection_score": face["detection_score"],
            "label": face["label"],
            "label_en": face["label_en"],
            "unsure": face["unsure"],
            **face["probs"],
            "note": described["note"],
        }
        for number, face in enumerate(described["faces"], start=1)
    ]


def write_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV text with the union of the rows' columns, in order of appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _defuse(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _defuse(value: object) -> object:
    """Spreadsheets run text that begins like a formula; a file name must not be able to."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")  # which the csv module would not quote
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t")) else text
