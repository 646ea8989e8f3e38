"""The cascade's parts against the library's own, and its faces against facenet-pytorch's."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from facenet_pytorch import MTCNN
from PIL import Image
from torch import Tensor, nn

from kfer.faces import MIN_FACE
from kfer.faces_mtcnn import (
    WINDOW,
    Cascade,
    HalvingPool,
    build_pyramid,
    cut,
    make_square,
    merge_contained,
    move,
    to_tensor,
)


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade()


@pytest.mark.parametrize("size", [(2, 2), (5, 7), (6, 9), (1, 1), (24, 31)])
def test_the_pool_is_pytorchs(size: tuple[int, int]) -> None:
    images = torch.randn(3, 10, *size, generator=torch.Generator().manual_seed(1))
    assert torch.equal(HalvingPool()(images), nn.MaxPool2d(2, 2, ceil_mode=True)(images))


def test_a_face_of_the_smallest_size_fills_the_window_on_the_first_level() -> None:
    sizes = [tuple(level.shape) for level in build_pyramid(Image.new("RGB", (400, 300)))]
    assert sizes[0] == (1, 3, 300, 400)
    assert sizes[1][3] == int(400 * WINDOW / MIN_FACE + 1)
    assert min(sizes[-1][2:]) >= WINDOW
    ratios = [after[3] / before[3] for before, after in pairwise(sizes[1:])]
    assert ratios == pytest.approx([0.709] * len(ratios), abs=0.03)


def test_an_image_smaller_than_the_smallest_face_has_no_level_to_look_at() -> None:
    assert len(build_pyramid(Image.new("RGB", (100, MIN_FACE - 1)))) == 1


def draw_ramp(width: int, height: int) -> Image.Image:
    """Red grows to the right and green downwards, one step a pixel; blue is flat."""
    ramp = np.zeros((height, width, 3), dtype=np.uint8)
    ramp[:, :, 0] = np.arange(width)
    ramp[:, :, 1] = np.arange(height)[:, None]
    return Image.fromarray(ramp)


def cut_one(image: Image.Image, box: list[float], size: int) -> Tensor:
    """(3, size, size) in levels of 0-255."""
    (crop,) = cut([to_tensor(image)], torch.tensor([box]), size)
    return crop * 128 + 127.5


def test_a_box_of_the_networks_size_is_cut_pixel_by_pixel() -> None:
    # Pixels are counted from 1 and the last is inside: 21 to 44 are the columns 20 to 43.
    crop = cut_one(draw_ramp(200, 150), [21, 31, 44, 54], 24)
    assert torch.allclose(crop[0], torch.arange(20.0, 44).expand(24, 24), atol=1e-3)
    assert torch.allclose(crop[1], torch.arange(30.0, 54)[:, None].expand(24, 24), atol=1e-3)


@pytest.mark.parametrize(
    ("box", "columns", "rows"),
    [
        ([-11, 31, 24, 66], (0, 24), (30, 66)),
        ([181, 131, 216, 166], (180, 200), (130, 150)),
        ([-50, -50, 300, 300], (0, 200), (0, 150)),
    ],
    ids=["left", "lower right", "all round"],
)
def test_across_the_border_the_part_inside_is_stretched_to_the_whole_crop(
    box: list[float], columns: tuple[int, int], rows: tuple[int, int]
) -> None:
    crop = cut_one(draw_ramp(200, 150), box, 12)
    for channel, (first, last) in ((crop[0, 0], columns), (crop[1, :, 0], rows)):
        step = (last - first) / 12
        expected = first + step * (torch.arange(12) + 0.5) - 0.5
        assert torch.allclose(channel, expected.clamp(first, last - 1), atol=0.01)


def test_crops_come_from_the_level_nearest_to_their_size_in_the_order_of_the_boxes() -> None:
    levels = [torch.full((1, 3, 120 // step, 160 // step), float(step)) for step in (1, 2, 4)]
    boxes = torch.tensor([[1.0, 1, 96, 96], [1, 1, 24, 24], [1, 1, 48, 48], [9, 9, 20, 20]])
    assert cut(levels, boxes, 24).mean(dim=(1, 2, 3)).tolist() == [4, 1, 2, 1]


def test_squares_keep_the_centre_and_the_longer_side() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60], [0, 0, 50, 10]])
    assert make_square(boxes).tolist() == [[0, 20, 40, 60], [0, -20, 50, 30]]


def test_a_move_is_in_shares_of_the_sides() -> None:
    moved = move(torch.tensor([[10.0, 20, 29, 59]]), torch.tensor([[0.1, -0.1, 0, 0.5]]))
    assert moved.tolist() == [[12, 16, 29, 79]]


def test_a_box_in_a_better_one_goes_and_one_beside_it_stays() -> None:
    boxes = torch.tensor(
        [[10.0, 10, 20, 20], [0, 0, 100, 100], [95, 0, 195, 100], [200, 0, 260, 60]]
    )
    scores = torch.tensor([0.8, 0.9, 0.95, 0.99])
    assert merge_contained(boxes, scores).tolist() == [3, 2, 1]
    # The better one of two decides, whichever is larger.
    assert merge_contained(boxes, torch.tensor([0.99, 0.9, 0.95, 0.8])).tolist() == [0, 2, 3]
    assert merge_contained(torch.zeros(0, 4), torch.zeros(0)).tolist() == []


def test_it_finds_the_faces_of_facenet_pytorch_in_the_same_places(
    cascade: Cascade, face_images: dict[str, Image.Image]
) -> None:
    reference = MTCNN(keep_all=True, min_face_size=MIN_FACE)
    for name, image in face_images.items():
        picture = image.convert("RGB")
        boxes, scores, points = cascade.detect(picture)
        expected, probabilities, marks = reference.detect(picture, landmarks=True)
        assert len(boxes) == len(expected) == 1, name
        side = float(expected[0, 3] - expected[0, 1])
        assert boxes[0].numpy() == pytest.approx(expected[0], abs=0.05 * side), name
        assert points[0].numpy() == pytest.approx(marks[0], abs=0.03 * side), name
        assert float(scores[0]) == pytest.approx(probabilities[0], abs=0.02), name


@pytest.mark.parametrize("size", [(1, 1), (WINDOW, 500), (640, 480)])
def test_where_nobody_is_nothing_is_found(size: tuple[int, int], cascade: Cascade) -> None:
    boxes, scores, points = cascade.detect(Image.new("RGB", size, "teal"))
    assert (boxes.shape, scores.shape, points.shape) == ((0, 4), (0,), (0, 5, 2))
