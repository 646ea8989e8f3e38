"""Awkward photos, as bytes, each made cheaply when asked for.

The picture behind most of them is ``build_quarters``: wider than high, with another colour in every
quarter, so that any turn or mirroring shows.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pillow_heif
from PIL import ExifTags, Image

QUARTERS = ((220, 40, 40), (40, 190, 60), (40, 60, 210), (230, 210, 50))  # tl, tr, bl, br
TEXT = b"These are the notes of our holiday, not its photos.\n" * 20
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"

# How a camera that wrote this orientation held the upright picture.
_HELD = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def build_quarters(width: int = 96, height: int = 64) -> Image.Image:
    image = Image.new("RGB", (2, 2))
    image.putdata(QUARTERS)
    return image.resize((width, height), Image.Resampling.NEAREST)


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def encode_heic(image: Image.Image, exif: bytes | None = None) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90, exif=exif)
    return file.getvalue()


def encode_turned(orientation: Any, format_: str, size: tuple[int, int] = (96, 64)) -> bytes:
    """The quarters as a camera stores them that was held in this EXIF orientation."""
    image = build_quarters(*size)
    if orientation in _HELD:
        image = image.transpose(_HELD[orientation])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 90}, "WEBP": {"quality": 95}}.get(format_, {})
    return encode(image, format_, exif=exif.tobytes(), **options)


def encode_turned_heic(orientation: int) -> bytes:
    """A phone's HEIC: the turn stands in the container, and again in the EXIF part."""
    image = build_quarters()
    if orientation in _HELD:
        image = image.transpose(_HELD[orientation])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode_heic(image, exif.tobytes())


def cut_short(data: bytes, share: float = 0.6) -> bytes:
    return data[: int(len(data) * share)]


def write_png(width: int, height: int, depth: int, row: bytes) -> bytes:
    """A grey PNG that repeats one row; the picture never stands in memory."""
    packer = zlib.compressobj(6)
    line = b"\0" + row
    packed = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def write_bomb(side: int = 20_000) -> bytes:
    """Some 50 kB that unpack to ``side`` x ``side`` pixels."""
    return write_png(side, side, 1, bytes((side + 7) // 8))


def encode_47_megapixels() -> bytes:
    return encode(build_quarters(8000, 5900), "JPEG", quality=40)


def write_tile_bomb(side: int, *more: tuple[int, int, int, bytes]) -> bytes:
    """A grey TIFF of 64 x 64 pixels in a single tile of ``side`` x ``side``, deflated.

    ``more`` tags stand behind the others: number, type, count and four bytes.
    """
    data = zlib.compress(bytes(side * side))
    values = {
        256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1,  # size, bits, deflate, grey, one channel
        322: side, 323: side, 325: len(data),
    }  # fmt: skip
    start = 8 + 2 + 12 * (len(values) + 1 + len(more)) + 4
    tags = [(tag, 4, 1, struct.pack("<I", value)) for tag, value in [*values.items(), (324, start)]]
    entries = b"".join(struct.pack("<HHI4s", *tag) for tag in [*tags, *more])
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags) + len(more)) + entries + bytes(4) + data


def encode_animation(format_: str) -> bytes:
    """The quarters first, then two plain frames."""
    frames = [Image.new("RGB", (96, 64), color) for color in ("white", "black")]
    options: dict[str, Any] = {"lossless": True} if format_ == "WEBP" else {}
    return encode(
        build_quarters(), format_, save_all=True, append_images=frames, duration=40, **options
    )


def encode_grey16(values: Sequence[int], format_: str, byteorder: str = "<") -> bytes:
    """16-bit grey; every value fills a column of 8 px."""
    pixels = np.repeat(np.array(values, dtype=f"{byteorder}u2"), 8)[None, :].repeat(16, axis=0)
    mode = "I;16B" if byteorder == ">" else "I;16"
    image = Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    return encode(image, format_)


def encode_float(values: Sequence[float]) -> bytes:
    """Floating-point TIFF; every value fills a column of 8 px."""
    pixels = np.repeat(np.array(values, dtype=np.float32), 8)[None, :].repeat(16, axis=0)
    return encode(Image.fromarray(pixels), "TIFF")


def encode_transparent(mode: str) -> bytes:
    """RGBA, LA or P; the left half is opaque dark grey, the right half a hidden black."""
    alpha = Image.new("L", (96, 64), 0)
    alpha.paste(255, (0, 0, 48, 64))
    image = Image.new("RGBA", (96, 64), (60, 60, 60, 255))
    image.paste((0, 0, 0, 0), (48, 0, 96, 64))
    image.putalpha(alpha)
    if mode == "P":
        palette = image.convert("RGB").quantize(4)
        hidden = palette.getpixel((80, 10))
        return encode(palette, "PNG", transparency=hidden)
    return encode(image.convert(mode), "PNG")
