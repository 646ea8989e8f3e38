"""Augmentation of whole batches of faces, on whatever device they lie on.

The data set lives in memory as bytes; one resampling turns, scales, shifts, mirrors and draws every
picture up to the network's input size. Larger ones are shrunk to it before.
"""

import io
import math
import random
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from timm.data.auto_augment import RandAugment, rand_augment_transform
from torch import Tensor

from training.config import TrainConfig
from training.distributed import Draws
from training.errors import ConfigError


def augment(pixels: Tensor, config: TrainConfig, draws: Draws) -> Tensor:
    """(n, c, h, w) values in 0-1 -> (n, c, input_size, input_size), not yet normalised.

    What is drawn does not depend on exposure, JPEG, blur and noise: teachers are shown the same
    turns without them.
    """
    pixels = _compress(_rand_augment(pixels, config, draws), config, draws)
    images = _warp(pixels, config, draws)
    images = _soften(images, config, draws)
    images = _relight(images, config, draws)
    images = _erase(images, config, draws)
    return images.clamp_(0, 1)


def mix(
    images: Tensor, targets: list[Tensor], config: TrainConfig, draws: Draws
) -> tuple[Tensor, list[Tensor]]:
    """Mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019), by turns where the recipe has both.

    One share per batch; partners are the batch turned round.
    """
    ways = [way for way, alpha in ((_blend, config.mixup), (_paste, config.cutmix)) if alpha > 0]
    if not ways:
        return images, targets
    way = ways[int(torch.randint(len(ways), (1,), generator=draws.generator))]
    share = _draw_share(config.mixup if way is _blend else config.cutmix, draws)
    images, share = way(images, share, draws)
    return images, [target * share + target.flip(0) * (1 - share) for target in targets]


def _draw_share(alpha: float, draws: Draws) -> float:
    """Beta(alpha, alpha) through two gammas: torch.distributions takes no generator."""
    first, second = (
        torch._standard_gamma(torch.full((1,), alpha), generator=draws.generator) for _ in range(2)
    )
    return float(first / (first + second).clamp_min(1e-12))


def _blend(images: Tensor, share: float, _: Draws) -> tuple[Tensor, float]:
    return images.mul(share).add_(images.flip(0), alpha=1 - share), share


def _paste(images: Tensor, share: float, draws: Draws) -> tuple[Tensor, float]:
    """A box of 1 - share of the area, anywhere on the picture; the share is what is left of it."""
    sides = images.shape[2:]
    ranges = []
    for side in sides:
        half = side * math.sqrt(1 - share) / 2
        center = float(torch.rand(1, generator=draws.generator)) * side
        ranges.append(slice(round(max(center - half, 0)), round(min(center + half, side))))
    rows, columns = ranges
    pasted = images.clone()
    pasted[:, :, rows, columns] = images.flip(0)[:, :, rows, columns]
    covered = (rows.stop - rows.start) * (columns.stop - columns.start)
    return pasted, 1 - covered / (sides[0] * sides[1])


def _uniform(n: int, low: float, high: float, like: Tensor, draws: Draws) -> Tensor:
    return draws.uniform(n, low, high).to(like.device, non_blocking=True)


def _rand_augment(pixels: Tensor, config: TrainConfig, draws: Draws) -> Tensor:
    """RandAugment (Cubuk et al. 2020) by timm, picture by picture at its own size."""
    if not config.rand_augment:
        return pixels
    transform = build_rand_augment(config.rand_augment, pixels.shape[1])
    seeds = draws.integers(len(pixels), 0, 2**31)
    before = random.getstate(), np.random.get_state()
    try:
        edits = [partial(_transform, transform, seed) for seed in seeds.tolist()]
        return torch.stack([_edit(*pair) for pair in zip(pixels, edits, strict=True)])
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _transform(transform: RandAugment, seed: int, face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """timm draws from the global generators."""
    random.seed(seed)
    np.random.seed(seed)
    return np.array(transform(Image.fromarray(face)))


@lru_cache
def build_rand_augment(name: str, channels: int) -> RandAugment:
    """Raises ConfigError."""
    try:
        # Grey pictures are filled with one level.
        transform: RandAugment = rand_augment_transform(
            name, {"img_mean": 128 if channels == 1 else (128,) * 3}
        )
    except Exception as error:  # asserts, key errors and others
        raise ConfigError(
            f"rand_augment: timm cannot read {name!r} ({type(error).__name__}: {error}); write it "
            "like rand-m9-n2-mstd0.5."
        ) from error
    return transform


def _compress(pixels: Tensor, config: TrainConfig, draws: Draws) -> Tensor:
    """JPEG of a quality from 15 to 60, at the picture's own size, where its blocks are largest."""
    chosen = draws.uniform(len(pixels), 0, 1) < config.jpeg
    qualities = draws.integers(len(pixels), 15, 61)
    if not chosen.any():
        return pixels
    compressed = pixels.clone()
    for index in chosen.nonzero()[:, 0].tolist():
        compressed[index] = _edit(pixels[index], partial(compress, quality=int(qualities[index])))
    return compressed


def _edit(face: Tensor, edit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Tensor:
    """(c, h, w) in 0-1, through an edit of its bytes (h, w) or (h, w, 3)."""
    level = face.mul(255).round().to(torch.uint8).movedim(0, -1).squeeze(-1)
    edited = torch.from_numpy(edit(level.cpu().numpy()))
    return edited.view(*edited.shape[:2], -1).movedim(-1, 0).to(face) / 255


def compress(face: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """(h, w) grey or (h, w, 3) in colour, through JPEG."""
    file = io.BytesIO()
    Image.fromarray(face).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def _warp(pixels: Tensor, config: TrainConfig, draws: Draws) -> Tensor:
    n, size = len(pixels), config.input_size
    if pixels.shape[-1] > size:  # sampled at once, pictures would be sharper than evaluation's
        pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    angle = _uniform(n, -1, 1, pixels, draws) * math.radians(config.rotation)
    zoom = torch.exp(_uniform(n, -1, 1, pixels, draws) * math.log1p(config.scale))
    turned = _uniform(n, 0, 1, pixels, draws) < (0.5 if config.mirror else 0)
    mirror = torch.where(turned, -1.0, 1.0)
    matrix = torch.zeros(n, 2, 3, device=pixels.device)
    matrix[:, 0, 0] = mirror * angle.cos() / zoom
    matrix[:, 0, 1] = -angle.sin() / zoom
    matrix[:, 1, 0] = mirror * angle.sin() / zoom
    matrix[:, 1, 1] = angle.cos() / zoom
    # affine_grid's coordinates run from -1 to 1, so a share of the picture counts twice.
    matrix[:, 0, 2] = _uniform(n, -2, 2, pixels, draws) * config.translate
    matrix[:, 1, 2] = _uniform(n, -2, 2, pixels, draws) * config.translate
    grid = F.affine_grid(matrix, [n, pixels.shape[1], size, size], align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _soften(images: Tensor, config: TrainConfig, draws: Draws) -> Tensor:
    blurred = F.avg_pool2d(images, 5, stride=1, padding=2, count_include_pad=False)
    chosen = _uniform(len(images), 0, 1, images, draws) < config.blur
    return torch.where(chosen[:, None, None, None], blurred, images)


def _relight(images: Tensor, config: TrainConfig, draws: Draws) -> Tensor:
    n, shape = len(images), (-1, 1, 1, 1)
    contrast = 1 + _uniform(n, -1, 1, images, draws).view(shape) * config.contrast
    brightness = _uniform(n, -1, 1, images, draws).view(shape) * config.contrast / 2
    light = torch.exp2(_uniform(n, -1, 1, images, draws) * config.exposure).view(shape)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    strength = _uniform(n, 0, config.noise, images, draws).view(shape)
    lit = ((images - mean) * contrast + mean + brightness) * light
    grain = draws.fork(images.device)  # drawn with noise or without: what follows stays the same
    return lit + grain.normal(*images.shape) * strength if config.noise else lit


def _erase(images: Tensor, config: TrainConfig, draws: Draws) -> Tensor:
    """Random erasing (Zhong et al. 2020): a box of 2-20 % of the area, filled with the mean."""
    n, size = len(images), images.shape[-1]
    area = _uniform(n, 0.02, 0.2, images, draws)
    aspect = torch.exp(_uniform(n, -1, 1, images, draws))
    boxes = []
    for side in ((area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)):
        start = _uniform(n, 0, 1, images, draws) * (1 - side)
        steps = (torch.arange(size, device=images.device) + 0.5) / size
        boxes.append((steps >= start[:, None]) & (steps < (start + side)[:, None]))
    chosen = _uniform(n, 0, 1, images, draws) < config.erasing
    mask = boxes[0][:, None, :, None] & boxes[1][:, None, None, :] & chosen[:, None, None, None]
    return torch.where(mask, images.mean(dim=(1, 2, 3), keepdim=True), images)
