"""Bytes -> an upright RGB photo, whatever the format, or a PhotoError that says what is wrong.

Every door (page, API, command line, survey import) opens photos here, so that all of them give the
same pixels and the same messages.
"""

import functools
import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from kfer.errors import PhotoError

MAX_MEGAPIXELS = 64
WORKING_SIDE = 2048  # px; a face of 2 % of the long side still has 40 px here
ENOUGH_SIDE = 1600  # px; JPEG may be decoded this small, in one of its own sizes
PLAIN_TIFF = 42
MAX_TAGS = 65535  # that a plain TIFF can have
FORMATS = "JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF"
_PIL_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "GIF", "BMP", "TIFF")
_TURNED_BY_BROWSERS = ("JPEG", "MPO", "PNG")  # MPO: a JPEG with further pictures behind it
# What brings a picture of each EXIF orientation upright; from 5 on, width and height change places.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's decoders raise all of these for damaged files.
_DAMAGE = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class Photo:
    """An upright photo.

    ``image`` is RGB with a long side of at most WORKING_SIDE; ``width`` and ``height`` are those of
    the upright original, in whose pixels every box is given. ``turned`` when not every browser
    would have turned the file upright.
    """

    image: Image.Image
    width: int
    height: int
    turned: bool = False

    @property
    def scale(self) -> float:
        """Original pixels per pixel of ``image``."""
        return max(self.width, self.height) / max(self.image.size)


def load_photo(path: Path) -> Photo:
    """Raises PhotoError when the file cannot be read or is no photo."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise PhotoError(f"The file cannot be opened: {error.strerror or error}.") from None


def open_photo(data: bytes) -> Photo:
    """Raises PhotoError when the bytes are no photo."""
    return _read(io.BytesIO(data))


def _read(file: IO[bytes]) -> Photo:
    if not file.read(1):
        raise PhotoError(
            f"The file is empty (0 bytes); choose a photo in {FORMATS}.",
            "파일이 비어 있어요 (0바이트). 다른 사진을 골라 주세요.",
        )
    file.seek(0)
    _register_heif()
    try:
        with warnings.catch_warnings():
            # Our own limit, below, is lower than Pillow's and has a message of its own.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_PIL_FORMATS) as image:
                return _decode(image)
    except UnidentifiedImageError:
        raise PhotoError(
            f"The file is not a photo that can be read; allowed: {FORMATS}.",
            "읽을 수 있는 사진 파일이 아니에요. JPEG, PNG, WebP, HEIC 같은 사진을 골라 주세요.",
        ) from None
    except Image.DecompressionBombError:
        raise _too_large("several hundred") from None
    except _DAMAGE as error:
        raise PhotoError(
            f"The photo is damaged or cut short ({error}); save or download it again.",
            "사진이 손상되었거나 중간에 잘렸어요. 다시 저장하거나 내려받아 주세요.",
        ) from None


def _decode(image: Image.Image) -> Photo:
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise _too_large(f"{image.width} x {image.height} px, {megapixels:.0f}")
    if isinstance(image, TiffImageFile):
        _check_tiles(image)
    original = image.size
    # Lets JPEG decode straight to 1/2, 1/4 or 1/8 where that is still large enough: a photo of 12
    # megapixels in a tenth of the time that decoding and shrinking take.
    share = ENOUGH_SIDE / max(image.size)
    enough = (max(int(image.width * share), 1), max(int(image.height * share), 1))
    image.draft("RGB", enough)
    image.load()
    # Only now: PNG may keep its EXIF part behind the pixels, and TIFF and HEIC turn by themselves.
    orientation = _find_orientation(image)
    upright = image if orientation == 1 else image.transpose(_TURNS[orientation])
    width, height = original[::-1] if orientation >= 5 else original
    turned = orientation != 1 and image.format not in _TURNED_BY_BROWSERS
    return Photo(_to_rgb(upright), width, height, turned)


def _check_tiles(image: TiffImageFile) -> None:
    """A TIFF is decoded by whole tiles, which may be far larger than what it shows."""
    assert image.fp is not None  # it is open
    tags = _list_tags(image.fp)
    if len(set(tags)) < len(tags):  # Pillow goes by the last of them, its decoder by the first
        raise ValueError("a TIFF tag stands there twice")
    width, height = (float(image.tag_v2.get(tag, 0)) for tag in (TILEWIDTH, TILELENGTH))
    megapixels = width * height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise _too_large(f"a tile of {megapixels:.0f}")


def _list_tags(file: IO[bytes]) -> list[int]:
    """Of a TIFF's first picture, as they stand in the file."""
    file.seek(0)
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    (version,) = struct.unpack(f"{order}H", file.read(2))
    # Plain TIFF, or BigTIFF: where the place of the tags stands, and the sizes of what is there.
    at, place, count, entry = (4, "I", "H", 12) if version == PLAIN_TIFF else (8, "Q", "Q", 20)
    file.seek(at)
    (start,) = struct.unpack(f"{order}{place}", file.read(struct.calcsize(place)))
    file.seek(start)
    (n,) = struct.unpack(f"{order}{count}", file.read(struct.calcsize(f"={count}")))
    entries = file.read(min(n, MAX_TAGS) * entry)
    return [tag for tag, _ in struct.iter_unpack(f"{order}H{entry - 2}s", entries)]


def _find_orientation(image: Image.Image) -> int:
    """1, upright, where the EXIF part is missing, damaged or says nothing that EXIF knows."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _DAMAGE:
        return 1
    return orientation if orientation in _TURNS else 1


def _too_large(got: str) -> PhotoError:
    return PhotoError(
        f"The photo has too many pixels: {got} megapixels, and at most {MAX_MEGAPIXELS} are "
        "allowed; make it smaller and try again.",
        f"사진의 화소가 너무 많아요. {MAX_MEGAPIXELS}메가픽셀까지 읽을 수 있으니 "
        "줄여서 다시 해 주세요.",
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    """A picture of its own, shrunk to WORKING_SIDE."""
    if image.mode.startswith("I") or image.mode == "F":
        return _shrink(_rescale(image)).convert("RGB")
    if image.has_transparency_data:
        # On white, as browsers and printers show it.
        layer = _shrink(image.convert("RGBA"))
        background = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(background, layer).convert("RGB")
    return _shrink(image.convert("RGB"))


def _shrink(image: Image.Image) -> Image.Image:
    image.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BILINEAR, reducing_gap=1.0)
    return image


def _rescale(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float grey -> 8-bit; Pillow's own conversion clips them to white."""
    values = np.array(image, dtype=np.float32)
    brightest = float(values.max(initial=0, where=np.isfinite(values)))
    if image.mode.startswith("I;16"):
        top = 65535.0
    elif image.mode == "I":  # 32 bits, which often hold no more than 16
        top = 65535.0 if 255 < brightest <= 65535 else max(brightest, 255.0)
    else:
        top = max(brightest, 1.0)
    # In place: of 64 megapixels, each copy would be a quarter of a gigabyte.
    values *= 255.0 / top
    np.clip(values, 0, 255, out=values)
    np.nan_to_num(values, copy=False)
    return Image.fromarray(values.astype(np.uint8))


@functools.cache
def _register_heif() -> None:
    # Here, not at the top: importing pi-heif costs 40 ms that no other format should pay.
    from pi_heif import register_heif_opener  # noqa: PLC0415

    register_heif_opener()
