"""MTCNN's cascade (Zhang et al. 2016) over facenet-pytorch's three networks and their weights.

The first network looks at every place of an image pyramid, the second and third sift what it
proposes. facenet-pytorch's own loop finds the same faces in one and a half to two times the time.
Saved here: all crops of a pyramid level are cut in one call, each from the level nearest to its
size; double boxes are dropped before the costly third network; and the convolutions, which have few
channels, run with the channels last. As crops are cut at fractions of a pixel, the landmarks of
faces of 30 px lie half a pixel nearer to the truth.
"""

import math

import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import grid_sample, pad
from torchvision.ops import nms

from kfer.faces import MIN_FACE

WINDOW, STRIDE = 12, 2  # px: what the first network sees, and how far apart it looks
FACTOR = 0.709  # from one level of the pyramid to the next: half the area
THRESHOLDS = (0.6, 0.7, 0.7)  # of the three networks' scores
# IoU from which two boxes are one: within a level, over all levels, after the second network (there
# 0.7 is usual; 0.5 halves the third network's work and costs no face).
MERGE_IN_LEVEL, MERGE_LEVELS, MERGE_REFINED = 0.5, 0.7, 0.5
MERGE_FINAL = 0.7  # share of the smaller box


class Cascade:
    """Thread-safe: it holds no state between calls."""

    def __init__(self) -> None:
        self._propose_net, self._refine_net, self._finish_net = (
            network.eval().to(memory_format=torch.channels_last)
            for network in (PNet(), RNet(), ONet())
        )
        self._propose_net.pool1 = HalvingPool()

    @torch.inference_mode()
    def detect(self, image: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
        """(faces, 4) left, top, right, bottom; (faces,) scores, best first; (faces, 5, 2) points.

        ``image`` is RGB, in whose pixels boxes and points are.
        """
        levels = build_pyramid(image)
        boxes = self._propose(levels[1:], image.width)
        if len(boxes):  # the networks take no empty batch
            boxes = self._refine(levels, boxes)
        if len(boxes):
            return self._finish(levels, boxes)
        return torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 5, 2)

    def _propose(self, levels: list[Tensor], width: int) -> Tensor:
        """Squares where the first network suspects a face, at any level of the pyramid."""
        found = []
        for level in levels:
            offsets, scores = self._propose_net(level)
            scores = scores[0, 1]
            rows, columns = (scores >= THRESHOLDS[0]).nonzero(as_tuple=True)
            corners = torch.stack([columns, rows, columns, rows], dim=1) * STRIDE
            scale = level.shape[3] / width
            boxes = ((corners + torch.tensor([1, 1, WINDOW, WINDOW])) / scale).floor()
            scores, offsets = scores[rows, columns], offsets[0, :, rows, columns].T
            kept = nms(boxes, scores, MERGE_IN_LEVEL)
            found.append(torch.cat([boxes[kept], scores[kept, None], offsets[kept]], dim=1))
        if not found:
            return torch.zeros(0, 4)
        boxes, scores, offsets = torch.cat(found).split([4, 1, 4], dim=1)
        kept = nms(boxes, scores[:, 0], MERGE_LEVELS)
        boxes, offsets = boxes[kept], offsets[kept]
        return make_square(boxes + offsets * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2))

    def _refine(self, levels: list[Tensor], boxes: Tensor) -> Tensor:
        """Squares that the second network takes for faces, moved to where it sees them."""
        offsets, scores = self._refine_net(cut(levels, boxes, 24))
        kept = scores[:, 1] > THRESHOLDS[1]
        boxes, offsets, scores = boxes[kept], offsets[kept], scores[kept, 1]
        kept = nms(boxes, scores, MERGE_REFINED)
        return make_square(move(boxes[kept], offsets[kept]))

    def _finish(self, levels: list[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What ``detect`` gives: the third network's faces."""
        offsets, marks, scores = self._finish_net(cut(levels, boxes, 48))
        kept = scores[:, 1] > THRESHOLDS[2]
        boxes, offsets, marks, scores = boxes[kept], offsets[kept], marks[kept], scores[kept, 1]
        sides = boxes[:, None, 2:] - boxes[:, None, :2] + 1
        points = boxes[:, None, :2] - 1 + sides * marks.view(-1, 2, 5).transpose(1, 2)
        boxes = move(boxes, offsets)
        kept = merge_contained(boxes, scores)
        return boxes[kept], scores[kept], points[kept]


class HalvingPool(nn.Module):
    """MaxPool2d(2, 2, ceil_mode=True) exactly, in a fifth of its time where channels are few.

    The first network, half of all work, spends a fifth of its time there.
    """

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if height % 2 or width % 2:
            images = pad(images, (0, width % 2, 0, height % 2), value=-math.inf)
        rows = torch.maximum(images[:, :, ::2], images[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def build_pyramid(image: Image.Image) -> list[Tensor]:
    """The image itself, then copies in which faces of MIN_FACE and more are WINDOW px large."""
    pictures = [image]
    scale = WINDOW / MIN_FACE
    while min(image.size) * scale >= WINDOW:
        size = (int(image.width * scale + 1), int(image.height * scale + 1))
        # From two levels above, twice as large, rather than from the whole image: cheaper.
        source = pictures[max(len(pictures) - 2, 0)]
        pictures.append(source.resize(size, Image.Resampling.HAMMING))
        scale *= FACTOR
    return [to_tensor(picture) for picture in pictures]


def to_tensor(picture: Image.Image) -> Tensor:
    """(1, 3, height, width), -1 to 1."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    return pixels[None].float().sub_(127.5).mul_(1 / 128)


def cut(levels: list[Tensor], boxes: Tensor, size: int) -> Tensor:
    """(boxes, 3, size, size), each from the smallest level where it has ``size`` px or more.

    Boxes too small for that are enlarged from the image itself.
    """
    height, width = levels[0].shape[2:]
    limits = torch.tensor([width, height])
    # The networks count pixels from 1, and a box's last ones are in it.
    low = (boxes[:, :2] - 1).clamp(min=0)
    sides = boxes[:, 2:].minimum(limits) - low
    scales = torch.tensor([level.shape[3] / width for level in levels])
    large_enough = sides.amin(dim=1, keepdim=True) * scales >= size  # true for the first levels
    chosen = (large_enough.sum(dim=1) - 1).clamp(min=0)

    steps = (torch.arange(size)[:, None] + 0.5) / size
    places = (low[:, None] + steps * sides[:, None]) / limits * 2 - 1  # the image spans -1 to 1
    x, y = places[:, None, :, 0], places[:, :, None, 1]
    grid = torch.stack(torch.broadcast_tensors(x, y), dim=3)
    crops = torch.zeros(len(boxes), 3, size, size)
    for index in chosen.unique().tolist():
        here = chosen == index
        # All boxes of a level below one another: one call instead of one for each.
        column = grid_sample(
            levels[index],
            grid[here].view(1, -1, size, 2),
            padding_mode="border",
            align_corners=False,
        )
        crops[here] = column.view(3, -1, size, size).transpose(0, 1)
    return crops


def move(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes corrected by what a network answered: shares of their sides."""
    return boxes + offsets * (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)


def make_square(boxes: Tensor) -> Tensor:
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([centers - half, centers + half], dim=1)


def merge_contained(boxes: Tensor, scores: Tensor) -> Tensor:
    """Indices, best score first, without boxes that lie in a better one or round it."""
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(dim=1)
    shared = (high - low + 1).clamp(min=0).prod(dim=2)
    covered = shared / torch.minimum(areas[:, None], areas[None]) > MERGE_FINAL
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if not covered[index, kept].any():
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long)
