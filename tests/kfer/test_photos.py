"""Awkward photos open upright, with the right colours and sizes, or are refused in clear words."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, features

from kfer.errors import PhotoError
from kfer.photos import WORKING_SIDE, Photo, load_photo, open_photo
from tests.kfer import photo_samples as samples
from tests.kfer.photo_samples import QUARTERS, build_quarters, encode

ALLOWED = "JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF"
NEEDS_AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow knows no AVIF")
FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=NEEDS_AVIF)]
Color = tuple[int, int, int]


def read_quarters(image: Image.Image) -> list[Color]:
    """The colours in the middle of the quarters: top left, top right, bottom left, bottom right."""
    w, h = image.size
    pixels = np.asarray(image)
    return [
        tuple(int(value) for value in pixels[y, x])  # type: ignore[misc]
        for y in (h // 4, 3 * h // 4)
        for x in (w // 4, 3 * w // 4)
    ]


def assert_quarters(image: Image.Image, tolerance: int = 12) -> None:
    assert image.mode == "RGB"
    difference = np.subtract(read_quarters(image), QUARTERS)
    assert np.abs(difference).max() <= tolerance, read_quarters(image)


def read_columns(data: bytes) -> list[int]:
    """Grey levels in the middle of the columns of 8 px that the samples draw."""
    pixels = np.asarray(open_photo(data).image)
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 0] == pixels[..., 2]).all()
    return [int(value) for value in pixels[8, 4::8, 0]]


@pytest.mark.parametrize(
    "data",
    [samples.TEXT, samples.PDF, samples.SVG, samples.EPS, b"\0", encode(build_quarters(), "PPM")],
    ids=["text", "pdf", "svg", "eps", "one byte", "ppm"],
)
def test_what_is_no_photo_is_refused_with_the_formats_that_are_allowed(data: bytes) -> None:
    with pytest.raises(PhotoError, match=f"not a photo that can be read; allowed: {ALLOWED}"):
        open_photo(data)


def test_zero_bytes_are_called_empty() -> None:
    with pytest.raises(PhotoError, match=r"empty \(0 bytes\); choose a photo in JPEG"):
        open_photo(b"")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_truncated_photo_is_called_damaged(format_: str, share: float) -> None:
    noise = Image.effect_noise((300, 200), 80)
    with pytest.raises(PhotoError, match=r"damaged or cut short .*; save or download it again"):
        open_photo(samples.cut_short(encode(noise, format_), share))


def test_a_truncated_heic_is_refused() -> None:
    data = samples.cut_short(samples.encode_heic(build_quarters(300, 200)), 0.8)
    with pytest.raises(PhotoError, match="damaged or cut short"):
        open_photo(data)


@pytest.mark.parametrize(
    "data",
    [b"", samples.TEXT, encode(build_quarters(), "PNG")[:200], samples.write_bomb(9000)],
    ids=["empty", "text", "cut", "large"],
)
def test_what_a_visitor_can_meet_is_also_said_in_korean(data: bytes) -> None:
    with pytest.raises(PhotoError) as caught:
        open_photo(data)
    assert re.search("[가-힣]", caught.value.korean)
    assert not re.search("[가-힣]", str(caught.value))


def test_a_photo_of_47_megapixels_opens_reduced_and_remembers_its_size() -> None:
    photo = open_photo(samples.encode_47_megapixels())
    assert (photo.width, photo.height) == (8000, 5900)
    assert photo.image.size == (2000, 1475)  # a quarter: one of JPEG's own sizes
    assert photo.scale == 4
    assert_quarters(photo.image)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_upright(orientation: int, format_: str) -> None:
    photo = open_photo(samples.encode_turned(orientation, format_))
    assert (photo.width, photo.height) == photo.image.size == (96, 64)
    assert_quarters(photo.image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_comes_upright_once_and_not_twice(orientation: int) -> None:
    photo = open_photo(samples.encode_turned_heic(orientation))
    assert (photo.width, photo.height) == photo.image.size == (96, 64)
    assert_quarters(photo.image)


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_large_turned_jpegs_come_upright_though_they_are_decoded_reduced(orientation: int) -> None:
    photo = open_photo(samples.encode_turned(orientation, "JPEG", (6002, 5201)))
    assert (photo.width, photo.height) == (6002, 5201)
    assert photo.image.size == (WORKING_SIDE, 1775)
    assert_quarters(photo.image)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_exif_does_not_know_is_taken_as_upright(orientation: int) -> None:
    photo = open_photo(samples.encode_turned(orientation, "JPEG"))
    assert (photo.width, photo.height) == photo.image.size == (96, 64)
    assert_quarters(photo.image)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_a_photo_with_a_damaged_exif_part_still_opens(format_: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    damaged = exif.tobytes()[:9] + b"\xff" * 20
    assert_quarters(open_photo(encode(build_quarters(), format_, exif=damaged)).image, 45)


@pytest.mark.parametrize(
    ("size", "reduced"),
    [((96, 64), (96, 64)), ((6000, 100), (2048, 34)), ((100, 6000), (34, 2048))],
)
def test_the_scale_leads_from_the_image_back_to_the_original(
    size: tuple[int, int], reduced: tuple[int, int]
) -> None:
    photo = open_photo(encode(build_quarters(*size), "PNG"))
    assert (photo.width, photo.height) == size
    assert photo.image.size == reduced
    assert photo.scale == max(size) / max(reduced)
    # Off by less than a pixel of the reduced image on the short side, too.
    assert [side * photo.scale for side in reduced] == pytest.approx(size, abs=photo.scale / 2)


@pytest.mark.parametrize(
    ("size", "decoded"),
    [
        ((1600, 1200), (1600, 1200)),
        ((2100, 1500), (WORKING_SIDE, 1463)),  # half of it would not be enough
        ((3200, 2401), (1600, 1201)),
        ((4032, 3024), (2016, 1512)),
        ((12800, 800), (1600, 100)),
    ],
)
def test_a_jpeg_is_decoded_small_where_that_is_enough(
    size: tuple[int, int], decoded: tuple[int, int]
) -> None:
    photo = open_photo(encode(Image.new("RGB", size, "teal"), "JPEG"))
    assert photo.image.size == decoded
    assert (photo.width, photo.height) == size


@pytest.mark.parametrize("size", [(1, 1), (2560, 1), (1, 2600), (20000, 3)])
def test_photos_of_odd_shapes_open(size: tuple[int, int]) -> None:
    photo = open_photo(encode(Image.new("RGB", size, "teal"), "PNG"))
    assert (photo.width, photo.height) == size
    assert min(photo.image.size) >= 1
    assert max(photo.image.size) == min(max(size), WORKING_SIDE)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_turns_white_and_the_rest_keeps_its_colour(mode: str) -> None:
    data = samples.encode_transparent(mode)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.mode == mode
        assert stored.has_transparency_data
    image = open_photo(data).image
    assert image.mode == "RGB"
    assert image.getpixel((20, 32)) == (60, 60, 60)
    assert image.getpixel((80, 32)) == (255, 255, 255)


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    image = open_photo(encode(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")).image
    assert image.getpixel((4, 4)) == (127, 127, 127)


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(format_: str) -> None:
    # Pillow writes CMYK into JPEG the inverted way, as Adobe does.
    assert_quarters(open_photo(encode(build_quarters().convert("CMYK"), format_)).image, 45)


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "BMP"])
def test_one_bit_pictures_become_black_and_white(format_: str) -> None:
    bits = build_quarters().convert("L").point(lambda level: 255 if level > 130 else 0, "1")
    image = open_photo(encode(bits, format_)).image
    assert image.mode == "RGB"
    # Luma of the quarters: 94, 130, 71, 198.
    assert [color[0] for color in read_quarters(image)] == [0, 0, 0, 255]


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "BMP", "GIF"])
def test_palettes_keep_their_colours(format_: str) -> None:
    assert_quarters(open_photo(encode(build_quarters().quantize(8), format_)).image)


@pytest.mark.parametrize(
    ("format_", "byteorder"), [("PNG", "<"), ("TIFF", "<"), ("TIFF", ">")], ids=str
)
def test_16_bit_grey_is_scaled_and_not_clipped(format_: str, byteorder: str) -> None:
    data = samples.encode_grey16([0, 16384, 32768, 49152, 65535], format_, byteorder)
    assert read_columns(data) == pytest.approx([0, 64, 128, 191, 255], abs=1)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_a_dark_16_bit_photo_stays_dark(format_: str) -> None:
    assert read_columns(samples.encode_grey16([0, 100, 200], format_)) == [0, 0, 0]


def test_a_turned_16_bit_photo_comes_upright() -> None:
    pixels = np.zeros((16, 24), dtype=np.uint16)
    pixels[:, :12] = 65535
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    photo = open_photo(encode(stored, "PNG", exif=exif.tobytes()))
    assert (photo.width, photo.height) == (24, 16)
    assert np.asarray(photo.image)[8, :, 0].tolist() == [255] * 12 + [0] * 12


def test_32_bit_integers_of_16_bit_range_are_scaled() -> None:
    pixels = np.repeat(np.array([0, 32768, 65535], np.int32), 8)[None, :].repeat(16, 0)
    assert read_columns(encode(Image.fromarray(pixels), "TIFF")) == pytest.approx(
        [0, 128, 255], abs=1
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 127, 255]),
        ([0.0, 0.1, 0.2], [0, 25, 51]),  # a dark one stays dark
        ([0.0, 127.5, 255.0], [0, 127, 255]),
        ([-1.0, 0.0, 1.0], [0, 0, 255]),
        ([0.0, 0.5, float("inf"), float("nan")], [0, 127, 255, 0]),
    ],
)
def test_floating_point_grey_is_scaled(values: list[float], expected: list[int]) -> None:
    assert read_columns(samples.encode_float(values)) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("format_", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_read(format_: str) -> None:
    data = samples.encode_animation(format_)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.n_frames == 3  # type: ignore[attr-defined]
    assert_quarters(open_photo(data).image)


def test_heic_opens() -> None:
    photo = open_photo(samples.encode_heic(build_quarters(200, 100)))
    assert (photo.width, photo.height) == photo.image.size == (200, 100)
    assert_quarters(photo.image, 30)


@pytest.mark.parametrize("orientation", [1, 6])
def test_of_a_phones_double_picture_the_first_is_read(orientation: int) -> None:
    with Image.open(io.BytesIO(samples.encode_turned(orientation, "JPEG"))) as first:
        second = Image.new("RGB", (48, 32), "white")
        exif = first.getexif().tobytes()
        data = encode(first, "MPO", save_all=True, append_images=[second], exif=exif, quality=90)
    with Image.open(io.BytesIO(data)) as stored:
        assert (stored.format, stored.n_frames) == ("MPO", 2)  # type: ignore[attr-defined]
    photo = open_photo(data)
    assert (photo.width, photo.height) == photo.image.size == (96, 64)
    assert_quarters(photo.image)


@pytest.mark.parametrize("format_", [*FORMATS, "BMP", "GIF"])
def test_every_allowed_format_opens(format_: str) -> None:
    assert_quarters(open_photo(encode(build_quarters(), format_)).image, 30)


def test_the_same_bytes_from_a_file_give_the_same_photo(tmp_path: Path) -> None:
    data = samples.encode_turned(6, "JPEG")
    path = tmp_path / "휴가 사진.dat"
    path.write_bytes(data)
    from_file, from_bytes = load_photo(path), open_photo(data)
    assert (from_file.width, from_file.height) == (from_bytes.width, from_bytes.height)
    assert from_file.image.tobytes() == from_bytes.image.tobytes()
    path.unlink()  # nothing of the photo is read later
    assert from_file.image.getpixel((1, 1)) == from_bytes.image.getpixel((1, 1))


def test_a_missing_file_and_a_folder_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="cannot be opened: No such file or directory"):
        load_photo(tmp_path / "none.jpg")
    with pytest.raises(PhotoError, match="cannot be opened: Is a directory"):
        load_photo(tmp_path)


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(PhotoError, match="empty"):
        load_photo(tmp_path / "empty.jpg")


DAMAGED: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: samples.encode_turned(6, "JPEG"),
    "png": lambda: encode(build_quarters(), "PNG"),
    "webp": lambda: samples.encode_turned(6, "WEBP"),
    "gif": lambda: samples.encode_animation("GIF"),
    "heic": lambda: samples.encode_turned_heic(6),
    "bmp": lambda: encode(build_quarters(), "BMP"),
    "tiff": lambda: samples.encode_turned(6, "TIFF"),
    "grey16": lambda: samples.encode_grey16([0, 5], "TIFF"),
}
if features.check("avif"):
    DAMAGED["avif"] = lambda: samples.encode_turned(6, "AVIF")


@pytest.mark.parametrize("name", DAMAGED)
def test_bytes_damaged_at_random_give_a_photo_or_a_photo_error_and_nothing_else(name: str) -> None:
    original = DAMAGED[name]()
    rng = np.random.default_rng(7)
    outcomes = {"opened": 0, "refused": 0}
    for _ in range(120):
        data = bytearray(original)
        for place in rng.integers(0, min(len(data), 300), size=3):
            data[place] = rng.integers(256)
        try:
            photo = open_photo(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)]))
        except PhotoError:
            outcomes["refused"] += 1
        else:
            assert isinstance(photo, Photo)
            outcomes["opened"] += 1
    assert outcomes["refused"] >= 20


@pytest.mark.parametrize("error", [TypeError("x"), RuntimeError("x"), IndexError("x")])
def test_whatever_a_decoder_raises_becomes_a_photo_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_image: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(PhotoError, match=re.escape("damaged or cut short (x)")):
        open_photo(encode(build_quarters(), "PNG"))


def test_importing_photos_loads_neither_torch_nor_heif() -> None:
    code = "import sys, kfer.photos; print({'torch', 'pi_heif'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
