"""MTCNN's cascade (Zhang et al. 2016) over facenet-pytorch's three networks and their weights.

The first network looks at every place of an image pyramid, the second and third sift what it
proposes. facenet-pytorch's own loop finds the same faces in about twice the time. Saved here: one
call cuts all crops, each from the pyramid level nearest to its size; double boxes are dropped
before the costly third network; and the convolutions, which have few channels, run channels last.
"""

from itertools import pairwise

import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

WINDOW, STRIDE = 12, 2  # px: what the first network sees, and how far apart it looks
MIN_FACE = 20  # px
FACTOR = 0.709  # from one level of the pyramid to the next: half the area
THRESHOLDS = (0.6, 0.7, 0.7)  # of the three networks' scores
# IoU from which two boxes are one. Between networks 0.7 is usual; 0.5 halves the third one's work.
MERGE = 0.5
CONTAINED = 0.7  # share of the smaller box, of the final ones


class Cascade:
    """Thread-safe: it holds no state between calls."""

    def __init__(self) -> None:
        self._networks: tuple[nn.Module, ...] = (PNet(), RNet(), ONet())
        for network in self._networks:
            network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def detect(self, image: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
        """(faces, 4) left, top, right, bottom; (faces,) scores, best first; (faces, 5, 2) points.

        ``image`` is RGB, in whose pixels boxes and points are.
        """
        levels = build_pyramid(image)
        boxes = self._propose(levels[1:], image.size)
        _, refine, finish = self._networks

        offsets, scores = refine(cut(levels, boxes, 24))
        kept = scores[:, 1] > THRESHOLDS[1]
        boxes, offsets, scores = boxes[kept], offsets[kept], scores[kept, 1]
        kept = nms(boxes, scores, MERGE)
        boxes = make_square(move(boxes[kept], offsets[kept]))

        offsets, marks, scores = finish(cut(levels, boxes, 48))
        kept = scores[:, 1] > THRESHOLDS[2]
        boxes, offsets, marks, scores = boxes[kept], offsets[kept], marks[kept], scores[kept, 1]
        sides = boxes[:, None, 2:] - boxes[:, None, :2] + 1
        points = boxes[:, None, :2] - 1 + sides * marks.view(-1, 2, 5).transpose(1, 2)
        boxes = move(boxes, offsets)
        kept = merge_contained(boxes, scores)
        return boxes[kept], scores[kept], points[kept]

    def _propose(self, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Squares where the first network suspects a face, at any level of the pyramid."""
        found = []
        for level in levels:
            offsets, scores = self._networks[0](level)
            scores = scores[0, 1]
            rows, columns = (scores >= THRESHOLDS[0]).nonzero(as_tuple=True)
            corners = torch.stack([columns, rows, columns, rows], dim=1) * STRIDE
            scale = level.shape[3] / size[0]
            boxes = ((corners + torch.tensor([1, 1, WINDOW, WINDOW])) / scale).floor()
            scores, offsets = scores[rows, columns], offsets[0, :, rows, columns].T
            kept = nms(boxes, scores, MERGE)
            found.append(torch.cat([boxes[kept], scores[kept, None], offsets[kept]], dim=1))
        if not found:
            return torch.zeros(0, 4)
        boxes, scores, offsets = torch.cat(found).split([4, 1, 4], dim=1)
        kept = nms(boxes, scores[:, 0], MERGE)
        boxes, offsets = boxes[kept], offsets[kept]
        return make_square(boxes + offsets * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2))


def build_pyramid(image: Image.Image) -> list[Tensor]:
    """The image itself, then copies in which faces of MIN_FACE and more are WINDOW px large."""
    pictures = [image]
    scale = WINDOW / MIN_FACE
    while min(image.size) * scale >= WINDOW:
        size = (int(image.width * scale + 1), int(image.height * scale + 1))
        # From two levels above, not from the whole image: cheaper, and then exact halves.
        source = pictures[max(len(pictures) - 2, 0)]
        pictures.append(source.resize(size, Image.Resampling.BOX))
        scale *= FACTOR
    return [to_tensor(picture) for picture in pictures]


def to_tensor(picture: Image.Image) -> Tensor:
    """(1, 3, height, width), -1 to 1, channels last in memory."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    return pixels.float().sub_(127.5).mul_(1 / 128)


def cut(levels: list[Tensor], boxes: Tensor, size: int) -> Tensor:
    """(boxes, 3, size, size): each box from the smallest level where it still has ``size`` px."""
    height, width = levels[0].shape[2:]
    limits = torch.tensor([width, height, width, height])
    # The networks count pixels from 1, and a box's last ones are in it.
    inside = (boxes - torch.tensor([1, 1, 0, 0])).clamp(min=0).minimum(limits)
    sides = (inside[:, 2:] - inside[:, :2]).amin(dim=1)
    scales = [level.shape[3] / width for level in levels]
    crops = torch.zeros(len(boxes), 3, size, size)
    for level, (scale, smaller) in zip(levels, pairwise([*scales, 0.0]), strict=True):
        here = (sides * smaller < size) & ((sides * scale >= size) | (scale == 1))
        if here.any():
            crops[here] = roi_align(
                level, [inside[here]], size, spatial_scale=scale, sampling_ratio=2, aligned=True
            )
    return crops.contiguous(memory_format=torch.channels_last)


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
    covered = shared / torch.minimum(areas[:, None], areas[None]) > CONTAINED
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if not covered[index, kept].any():
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long)
