"""Photos that would fill the memory: refused by what they say of themselves, however disguised."""

import struct

import pytest

from kfer.errors import PhotoError
from kfer.photos import MAX_MEGAPIXELS, open_photo
from tests.kfer import photo_samples as samples


@pytest.mark.parametrize("length", [None, 60])
def test_a_bomb_of_20000_by_20000_pixels_is_refused_by_its_header_alone(length: int | None) -> None:
    bomb = samples.write_bomb()
    assert len(bomb) < 100_000
    with pytest.raises(PhotoError, match=r"too many pixels: .* at most 64 are allowed"):
        open_photo(bomb[:length])


def test_a_photo_over_our_limit_but_under_pillows_is_refused_with_its_size() -> None:
    with pytest.raises(PhotoError, match=r"9000 x 9000 px, 81 megapixels, and at most 64"):
        open_photo(samples.write_bomb(9000))


def test_a_small_picture_in_a_huge_tile_is_refused_before_it_is_decoded() -> None:
    assert open_photo(samples.write_tile_bomb(128)).image.size == (64, 64)
    bomb = samples.write_tile_bomb(9000)
    assert len(bomb) < 100_000
    with pytest.raises(PhotoError, match="a tile of 81 megapixels, and at most 64 are allowed"):
        open_photo(bomb)


@pytest.mark.parametrize(
    "more",
    [
        [(322, 4, 1, struct.pack("<I", 64)), (323, 4, 1, struct.pack("<I", 64))],  # Pillow's choice
        [(322, 2, 4, b"164\0"), (323, 4, 1, b"\xff\xff\xff\xff")],  # a text, four billion times
    ],
    ids=["said twice", "no number"],
)
def test_the_size_of_a_tile_cannot_be_disguised(more: list[tuple[int, int, int, bytes]]) -> None:
    with pytest.raises(PhotoError, match="is damaged or cut short"):
        open_photo(samples.write_tile_bomb(9000, *more))


def test_a_photo_just_under_the_limit_opens() -> None:
    assert MAX_MEGAPIXELS == 8000 * 8000 / 1e6
    photo = open_photo(samples.write_bomb(8000))
    assert (photo.width, photo.height, photo.image.size) == (8000, 8000, (2048, 2048))
    assert photo.image.getcolors() == [(2048 * 2048, (0, 0, 0))]
