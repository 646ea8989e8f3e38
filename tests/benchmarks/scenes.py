"""Photos for the recognition benchmark: rendered faces on a textured background, and an astronaut.

All of it is made at run time from a seed, so that the repository carries no large photos.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

JPEG_QUALITY = 90
SIDES = {"0.3": (640, 480), "2": (1632, 1224), "12": (4000, 3000)}  # megapixels -> width, height
# Longer side of each face, as a share of the photo's long side.
FACE_SHARES = {
    "one": (0.60,),
    "three": (0.40, 0.20, 0.06),
    "many": tuple(float(share) for share in np.geomspace(0.14, 0.02, 20)),
}
FACE_PART = 0.62  # of a rendered picture's side, in its middle (measured with MTCNN)
ASTRONAUT_FACE = (0.33, 0.12, 0.55, 0.34)  # as shares of the picture
PICTURES = (".webp", ".png", ".jpg", ".jpeg")
TRIES = 4000


@dataclass(frozen=True)
class Scene:
    """A JPEG photo and the squares, left, top, right, bottom, where it shows a face."""

    name: str
    megapixels: str
    shown: tuple[tuple[float, float, float, float], ...]
    long_side: int
    jpeg: bytes


def load_faces(folders: Sequence[Path]) -> list[Image.Image]:
    """Square pictures of one face each; others (a group photo) are left out."""
    files = [file for folder in folders for file in sorted(folder.glob("*"))]
    pictures = [Image.open(file).convert("RGB") for file in files if file.suffix in PICTURES]
    return [picture for picture in pictures if picture.width == picture.height]


def build_scenes(pictures: Sequence[Image.Image], seed: int) -> Iterator[Scene]:
    """One-, three- and many-face photos and the astronaut, each at every size."""
    for megapixels, size in SIDES.items():
        for name, shares in FACE_SHARES.items():
            yield compose(name, megapixels, pictures, shares, np.random.default_rng(seed))
        yield build_astronaut(megapixels, size)


def compose(
    name: str,
    megapixels: str,
    pictures: Sequence[Image.Image],
    shares: Sequence[float],
    rng: np.random.Generator,
) -> Scene:
    """Paste one picture per share, largest first; faces do not cover one another."""
    size = SIDES[megapixels]
    photo = build_background(size, rng)
    chosen = np.resize(rng.permutation(len(pictures)), len(shares)).tolist()
    taken: list[tuple[float, float, float]] = []
    for index, share in zip(chosen, shares, strict=True):
        face = share * max(size)
        x, y = _place(size, face, taken, rng)
        taken.append((x, y, face))
        tile = round(face / FACE_PART)
        picture = pictures[index].resize((tile, tile), Image.Resampling.LANCZOS)
        photo.paste(picture, (round(x - tile / 2), round(y - tile / 2)), _build_mask(tile))
    shown = tuple((x - face / 2, y - face / 2, x + face / 2, y + face / 2) for x, y, face in taken)
    return Scene(name, megapixels, shown, max(size), _encode(photo))


def build_background(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Noise whose octaves fall off as those of natural pictures do, with a little colour."""
    texture = np.full((size[1], size[0], 3), 110.0, dtype=np.float32)
    cells = 4
    while cells <= max(size):
        rows = max(cells * size[1] // size[0], 1)
        grey, colour = rng.normal(0, 1, (rows, cells, 1)), rng.normal(0, 0.3, (rows, cells, 3))
        grid = (60 / cells**0.4 * (grey + colour)).astype(np.float32)
        for channel in range(3):
            octave = Image.fromarray(np.ascontiguousarray(grid[:, :, channel]))
            texture[:, :, channel] += np.asarray(octave.resize(size, Image.Resampling.BICUBIC))
        cells *= 2
    return Image.fromarray(np.clip(texture, 0, 255).astype(np.uint8))


def _place(
    size: tuple[int, int],
    face: float,
    taken: Sequence[tuple[float, float, float]],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """A centre where the face lies inside the photo and its picture off the other faces."""
    half = face / 2
    for _ in range(TRIES):
        x, y = rng.uniform(half, size[0] - half), rng.uniform(half, size[1] - half)
        if all(
            max(abs(x - other_x), abs(y - other_y)) > (face + other) / 2 / FACE_PART
            for other_x, other_y, other in taken
        ):
            return float(x), float(y)
    raise ValueError(f"no room for a face of {face:.0f} px in {size}; use fewer or smaller ones")


def _build_mask(tile: int) -> Image.Image:
    """Opaque with soft edges, so that a pasted picture's frame makes no hard line."""
    soft = max(tile // 24, 1)
    mask = Image.new("L", (tile, tile), 0)
    box = (soft, soft, tile - 1 - soft, tile - 1 - soft)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=tile // 5, fill=255)
    return mask.filter(ImageFilter.BoxBlur(soft / 2))


def build_astronaut(megapixels: str, size: tuple[int, int]) -> Scene:
    """NASA's portrait of Eileen Collins; enlarged it is soft, but as large as a photo."""
    from skimage.data import astronaut  # noqa: PLC0415  # slow to import

    side = round((size[0] * size[1]) ** 0.5)  # as many pixels as the other photos, but square
    photo = Image.fromarray(astronaut()).resize(  # type: ignore[no-untyped-call]
        (side, side), Image.Resampling.LANCZOS
    )
    left, top, right, bottom = (share * side for share in ASTRONAUT_FACE)
    shown = ((left, top, right, bottom),)
    return Scene("astronaut", megapixels, shown, side, _encode(photo))


def _encode(photo: Image.Image) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
