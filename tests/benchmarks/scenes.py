"""Photos for the recognition benchmark: rendered faces on a textured background, and an astronaut.

All of it is made at run time from a seed, so that the repository carries no large photos.
"""

import io
from collections.abc import Sequence
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
# A face fills this part of its rendered picture, round this point (measured with MTCNN).
FACE_PART = 0.62
FACE_CENTER = (0.5, 0.5)
PICTURES = (".webp", ".png", ".jpg", ".jpeg")
TRIES = 4000


@dataclass(frozen=True)
class Scene:
    """A JPEG photo and how many faces it shows."""

    name: str
    megapixels: str
    faces: int
    long_side: int
    jpeg: bytes


def load_faces(folder: Path) -> list[Image.Image]:
    """Square pictures of one face each; others (a group photo) are left out."""
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in PICTURES)
    pictures = [Image.open(file).convert("RGB") for file in files]
    return [picture for picture in pictures if picture.width == picture.height]


def build_scenes(pictures: Sequence[Image.Image], seed: int) -> list[Scene]:
    """One-, three- and many-face photos and the astronaut, each at every size."""
    scenes = []
    for megapixels, size in SIDES.items():
        for name, shares in FACE_SHARES.items():
            photo = compose(pictures, size, shares, np.random.default_rng(seed))
            scenes.append(_build_scene(name, megapixels, len(shares), photo))
        scenes.append(_build_scene("astronaut", megapixels, 1, _build_astronaut(size)))
    return scenes


def compose(
    pictures: Sequence[Image.Image],
    size: tuple[int, int],
    shares: Sequence[float],
    rng: np.random.Generator,
) -> Image.Image:
    """Paste one picture per share, largest first; faces do not cover one another."""
    photo = build_background(size, rng)
    chosen = rng.permutation(np.resize(np.arange(len(pictures)), len(shares)))
    taken: list[tuple[float, float, float]] = []
    for index, share in zip(chosen, shares, strict=True):
        face = share * max(size)
        x, y = _place(size, face, taken, rng)
        taken.append((x, y, face))
        tile = round(face / FACE_PART)
        picture = pictures[index].resize((tile, tile), Image.Resampling.LANCZOS)
        corner = (round(x - FACE_CENTER[0] * tile), round(y - FACE_CENTER[1] * tile))
        photo.paste(picture, corner, _build_mask(tile))
    return photo


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


def _build_astronaut(size: tuple[int, int]) -> Image.Image:
    """NASA's portrait of Eileen Collins; enlarged it is soft, but as large as a photo."""
    from skimage.data import astronaut  # noqa: PLC0415  # scikit-image is slow to import

    side = min(size)
    scale = np.sqrt(size[0] * size[1]) / side  # as many pixels as the others, but square
    square = (round(side * scale), round(side * scale))
    return Image.fromarray(astronaut()).resize(square, Image.Resampling.LANCZOS)


def _build_scene(name: str, megapixels: str, faces: int, photo: Image.Image) -> Scene:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Scene(name, megapixels, faces, max(photo.size), buffer.getvalue())
