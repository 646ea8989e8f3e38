"""The arithmetic of crops: what is inside, what repeats, what is turned."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from kfer.faces import CropSpec, Face, crop_face, crop_whole


def make_spec(
    size: int, margin: float = 0.0, *, grey: bool = True, align: bool = False
) -> CropSpec:
    return CropSpec(margin=margin, size=size, grey=grey, align=align)


def make_face(x: float, y: float, w: float, h: float, roll: float = 0.0) -> Face:
    """A face whose eyes lie on a line through its middle that leans by ``roll`` degrees."""
    cx, cy = x + w / 2, y + h / 2
    dx, dy = math.cos(math.radians(roll)) * w / 4, math.sin(math.radians(roll)) * w / 4
    eyes = ((cx - dx, cy - dy), (cx + dx, cy + dy))
    return Face((x, y, w, h), 1.0, (*eyes, (cx, cy), *eyes))


def draw_square(box: tuple[int, int, int, int], size: tuple[int, int] = (200, 160)) -> Image.Image:
    """White on black; ``box`` is x, y, width, height."""
    image = Image.new("RGB", size)
    x, y, w, h = box
    image.paste((255, 255, 255), (x, y, x + w, y + h))
    return image


def draw_pattern(size: int = 300) -> Image.Image:
    """Soft blobs, the same every time, that look different from every side."""
    noise = np.random.default_rng(3).integers(0, 256, (size // 10, size // 10), dtype=np.uint8)
    image = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
    return image.filter(ImageFilter.GaussianBlur(3)).convert("RGB")


def to_array(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64)


@pytest.mark.parametrize("box", [(60, 40, 80, 80), (61, 33, 51, 51), (0, 0, 30, 30)])
def test_without_a_margin_the_crop_holds_exactly_the_box(box: tuple[int, int, int, int]) -> None:
    crop = crop_face(draw_square(box), Face(box, 1.0), make_spec(box[2]))
    assert crop.mode == "L"
    assert crop.size == (box[2], box[2])
    assert (to_array(crop) == 255).all()


def test_the_crop_is_not_off_by_a_pixel_on_any_side() -> None:
    image = draw_square((60, 40, 80, 80))
    one_more = crop_face(image, Face((59, 39, 82, 82), 1.0), make_spec(82))
    frame = np.full((82, 82), 255.0)
    frame[[0, -1], :] = frame[:, [0, -1]] = 0
    assert (to_array(one_more) == frame).all()


@pytest.mark.parametrize(("margin", "inner"), [(0.0, 60), (0.25, 48), (1.0, 30)])
def test_the_margin_is_a_share_of_the_box(margin: float, inner: int) -> None:
    image = draw_square((80, 60, 40, 40))
    crop = to_array(crop_face(image, Face((80, 60, 40, 40), 1.0), make_spec(60, margin)))
    # The square's sides, from what its middle row and column add up to.
    assert crop[30].sum() / 255 == pytest.approx(inner, abs=0.5)
    assert crop[:, 30].sum() / 255 == pytest.approx(inner, abs=0.5)
    assert crop[30] == pytest.approx(crop[30, ::-1], abs=1)


@pytest.mark.parametrize("box", [(70, 40, 40, 80), (50, 60, 80, 40)])
def test_an_oblong_box_gives_a_square_of_its_longer_side_without_stretching(
    box: tuple[int, int, int, int],
) -> None:
    crop = to_array(crop_face(draw_square(box), Face(box, 1.0), make_spec(80)))
    assert crop[40].sum() / 255 == pytest.approx(box[2], abs=0.01)
    assert crop[:, 40].sum() / 255 == pytest.approx(box[3], abs=0.01)


def test_colour_is_kept_unless_the_spec_is_grey() -> None:
    image = Image.new("RGB", (50, 50), (200, 100, 0))
    face = Face((10, 10, 20, 20), 1.0)
    assert crop_face(image, face, make_spec(8, grey=False)).getpixel((4, 4)) == (200, 100, 0)
    # 0.299 R + 0.587 G + 0.114 B
    assert crop_face(image, face, make_spec(8)).getpixel((4, 4)) == pytest.approx(118.5, abs=1)


@pytest.mark.parametrize("grey", [True, False])
def test_across_the_border_the_outermost_pixels_are_repeated(grey: bool) -> None:
    levels = np.arange(100, 160, dtype=np.uint8)
    image = Image.fromarray(np.broadcast_to(levels[None, :, None], (40, 60, 3)).copy())
    left = to_array(crop_face(image, Face((-10, -5, 20, 20), 1.0), make_spec(20, grey=grey)))
    right = to_array(crop_face(image, Face((50, 30, 20, 20), 1.0), make_spec(20, grey=grey)))
    if not grey:
        left, right = left[..., 0], right[..., 0]
    assert (left == [100] * 10 + list(range(100, 110))).all()
    assert (right == list(range(150, 160)) + [159] * 10).all()


def test_a_crop_larger_than_the_photo_has_it_in_the_middle() -> None:
    image = Image.new("RGB", (10, 10), (90, 90, 90))
    crop = crop_face(image, Face((-20, -20, 50, 50), 1.0), make_spec(50))
    assert crop.getcolors() == [(2500, 90)]


@pytest.mark.parametrize(
    ("corner", "level"), [((-80, 60), 10), ((200, 60), 30), ((300, 60), 30), ((-80, -90), 10)]
)
def test_a_face_wholly_outside_repeats_the_border_that_is_nearest(
    corner: tuple[int, int], level: int
) -> None:
    image = Image.new("RGB", (200, 160), (20, 20, 20))
    image.paste((10, 10, 10), (0, 0, 60, 160))
    image.paste((30, 30, 30), (140, 0, 200, 160))
    crop = crop_face(image, Face((*corner, 40, 40), 1.0), make_spec(24))
    assert (crop.mode, crop.getcolors()) == ("L", [(576, level)])


@pytest.mark.parametrize("box", [(10, 10, 0, 0), (10.3, 10.8, 0.4, 0.2), (149.9, 149.9, 1, 1)])
def test_the_smallest_faces_give_a_crop(box: tuple[float, float, float, float]) -> None:
    assert crop_face(draw_pattern(), Face(box, 1.0), make_spec(24, 0.3)).size == (24, 24)


@pytest.mark.parametrize("roll", [-75, -30, -8, 0, 12, 45, 90, 170])
def test_an_aligned_crop_of_a_turned_face_is_the_crop_of_the_upright_one(roll: int) -> None:
    pattern = draw_pattern()
    upright = crop_face(pattern, make_face(90, 90, 120, 120), make_spec(60, 0.2, align=True))
    turned = pattern.rotate(-roll, Image.Resampling.BICUBIC)  # PIL turns the other way round
    face = make_face(90, 90, 120, 120, roll)
    aligned = crop_face(turned, face, make_spec(60, 0.2, align=True))
    assert np.abs(to_array(aligned) - to_array(upright)).mean() < 1.5
    if abs(roll) > 10:
        left_alone = crop_face(turned, face, make_spec(60, 0.2))
        assert np.abs(to_array(left_alone) - to_array(upright)).mean() > 10


def test_an_aligned_crop_of_level_eyes_is_the_plain_crop() -> None:
    face = make_face(90, 90, 120, 120)
    plain = crop_face(draw_pattern(), face, make_spec(60, 0.2))
    assert crop_face(draw_pattern(), face, make_spec(60, 0.2, align=True)).tobytes() == (
        plain.tobytes()
    )


def test_without_landmarks_alignment_leaves_the_crop_as_it_is() -> None:
    plain = crop_face(draw_pattern(), Face((90, 90, 120, 120), 1.0), make_spec(60, 0.2))
    face = Face((90, 90, 120, 120), 1.0, None)
    aligned = crop_face(draw_pattern(), face, make_spec(60, 0.2, align=True))
    assert aligned.tobytes() == plain.tobytes()


def test_a_turned_face_across_the_border_repeats_the_border_too() -> None:
    image = Image.new("RGB", (100, 100), (90, 90, 90))
    face = make_face(-20, -20, 60, 60, roll=30)
    assert crop_face(image, face, make_spec(32, 0.3, align=True)).getcolors() == [(1024, 90)]


def test_a_large_face_is_averaged_and_not_thinned_out() -> None:
    stripes = np.zeros((400, 400), dtype=np.uint8)
    stripes[:, ::2] = 255
    image = Image.fromarray(stripes).convert("RGB")
    crop = to_array(crop_face(image, Face((40, 40, 320, 320), 1.0), make_spec(40)))
    assert np.abs(crop[2:-2, 2:-2] - 127.5).max() < 3


def test_a_small_face_is_drawn_up() -> None:
    crop = to_array(
        crop_face(draw_square((80, 60, 10, 10)), Face((80, 60, 10, 10), 1), make_spec(48))
    )
    assert (crop == 255).all()


@pytest.mark.parametrize("size", [(120, 60), (60, 120), (60, 60)])
def test_the_whole_photo_is_read_as_its_largest_central_square(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    left, top = (size[0] - 60) // 2, (size[1] - 60) // 2
    ImageDraw.Draw(image).rectangle((left, top, left + 59, top + 59), fill="white")
    crop = crop_whole(image, make_spec(60, margin=0.5, align=True))
    assert (to_array(crop) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (2560, 1), (3, 2560)])
def test_photos_of_odd_shapes_can_be_read_as_a_whole(size: tuple[int, int]) -> None:
    crop = crop_whole(Image.new("RGB", size, (70, 70, 70)), make_spec(24))
    assert crop.getcolors() == [(576, 70)]


def test_a_face_is_scaled_with_its_landmarks() -> None:
    face = make_face(10, 20, 30, 40).scaled(2.5)
    assert face.box == (25, 50, 75, 100)
    assert face.landmarks == make_face(25, 50, 75, 100).landmarks
    assert face.score == 1.0
    assert Face((1, 2, 3, 4), 0.5).scaled(2) == Face((2, 4, 6, 8), 0.5)
