"""Augmentation: the same by seed, within range, nothing at strength 0, and each part as named."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.synthetic import build_faces
from training.augment import augment, build_rand_augment, mix
from training.config import TrainConfig
from training.distributed import Draws
from training.errors import ConfigError
from training.face_set import to_tensor, transform_faces
from training.network import STD, build_pretrained_cfg

STRENGTHS = [
    "rotation", "scale", "translate", "erasing", "contrast", "exposure", "blur", "jpeg", "noise",
    "mixup", "cutmix",
]  # fmt: skip


def make_config(input_size: int = 48, **strengths: Any) -> TrainConfig:
    """All strengths 0, except those given."""
    settings: dict[str, Any] = {**dict.fromkeys(STRENGTHS, 0.0), **strengths}
    return TrainConfig("test_resnet", {}, input_size, epochs=3, **settings)


def make_faces(count: int = 16, side: int = 48) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(4))


def seed(value: int) -> Draws:
    return Draws(torch.Generator().manual_seed(value))


def distance(first: Tensor, second: Tensor) -> Tensor:
    """The largest difference within each picture."""
    return (first - second).abs().amax(dim=(1, 2, 3))


@pytest.fixture
def everything() -> TrainConfig:
    return TrainConfig(
        "test_resnet", {}, input_size=80, epochs=3, exposure=0.5, jpeg=0.3, cutmix=1.0,
        rand_augment="rand-m9-n2-mstd0.5",
    )  # fmt: skip


def test_the_same_seed_gives_the_same_pictures_and_another_gives_others(
    everything: TrainConfig,
) -> None:
    faces = make_faces()
    first, again, other = (augment(faces, everything, seed(value)) for value in (1, 1, 2))
    assert torch.equal(first, again)
    assert (distance(first, other) > 0.05).all()


def test_the_global_generator_is_neither_read_nor_moved(everything: TrainConfig) -> None:
    faces = make_faces()
    torch.manual_seed(1)
    first = augment(faces, everything, seed(1))
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, augment(faces, everything, seed(1)))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("size", [32, 48, 80])
def test_pictures_come_in_the_networks_size_and_stay_in_range(size: int) -> None:
    config = TrainConfig("test_resnet", {}, size, epochs=3, contrast=0.9, noise=0.5)
    images = augment(make_faces(20), config, seed(3))
    assert images.shape == (20, 1, size, size)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_pictures_given_are_left_as_they_were(everything: TrainConfig) -> None:
    faces = make_faces()
    before = faces.clone()
    augment(faces, everything, seed(1))
    assert torch.equal(faces, before)


def test_with_all_strengths_0_pictures_are_only_mirrored_and_about_half_of_them() -> None:
    faces = make_faces(400)
    images = augment(faces, make_config(), seed(5))
    same = distance(images, faces) < 1e-4
    mirrored = distance(images, faces.flip(3)) < 1e-4
    assert (same ^ mirrored).all()
    assert 160 < int(mirrored.sum()) < 240


def test_without_mirror_no_picture_is_turned_and_the_rest_is_drawn_alike() -> None:
    faces = make_faces(100)
    draws, others = seed(5), seed(5)
    images = augment(faces, make_config(mirror=False), draws)
    assert float(distance(images, faces).max()) < 1e-4
    augment(faces, make_config(), others)
    assert torch.equal(draws.generator.get_state(), others.generator.get_state())


def measure_edges(images: Tensor) -> float:
    """The mean squared step from pixel to pixel, across and down."""
    return float(images.diff(dim=2).square().mean() + images.diff(dim=3).square().mean())


@pytest.mark.parametrize(("side", "size"), [(96, 72), (224, 48), (72, 72), (48, 72)])
def test_pictures_are_as_sharp_as_those_of_evaluation(side: int, size: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, side, side), dtype=np.uint8)
    config = make_config(size, mirror=False)
    shown = augment(to_tensor(pixels).float() / 255, config, seed(1))
    served = transform_faces(
        replace(build_faces(3).chosen(np.arange(21) < 20), pixels=pixels),
        build_pretrained_cfg(replace(config, model_args={"in_chans": 1})),
    )
    assert measure_edges(shown) == pytest.approx(measure_edges(served * STD), rel=0.03)


def test_with_all_strengths_0_a_larger_input_is_the_picture_drawn_up() -> None:
    faces = make_faces(8)
    images = augment(faces, make_config(96), seed(5))
    drawn_up = torch.nn.functional.interpolate(
        faces, (96, 96), mode="bilinear", align_corners=False
    )
    same, mirrored = distance(images, drawn_up), distance(images, drawn_up.flip(3))
    assert (torch.minimum(same, mirrored) < 1e-4).all()


def find_square(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre (x, y) in pixels and area of the one bright square of each picture."""
    weights = images[:, 0]
    area = weights.sum(dim=(1, 2))
    steps = torch.arange(weights.shape[-1]) + 0.5
    x = (weights.sum(dim=1) * steps).sum(dim=1) / area
    y = (weights.sum(dim=2) * steps).sum(dim=1) / area
    return x, y, area


def draw_square(count: int, left: int, top: int, side: int) -> Tensor:
    images = torch.zeros(count, 1, 48, 48)
    images[..., top : top + side, left : left + side] = 1
    return images


def test_translate_moves_by_at_most_its_share_of_the_picture() -> None:
    x, y, area = find_square(
        augment(draw_square(300, 18, 18, 12), make_config(translate=0.1), seed(6))
    )
    for center in (x, y):
        assert (center - 24).abs().max() <= 0.1 * 48 + 0.1
        assert (center - 24).abs().max() > 3.5
        assert abs(float(center.mean()) - 24) < 0.6
    assert area == pytest.approx(torch.full((300,), 144.0), rel=0.02)


def test_scale_enlarges_and_shrinks_by_at_most_its_share() -> None:
    x, y, area = find_square(augment(draw_square(300, 14, 14, 20), make_config(scale=0.2), seed(7)))
    sides = area.sqrt() / 20
    assert 1 / 1.2 - 0.01 <= sides.min() < 0.87
    assert 1.15 < sides.max() <= 1.2 + 0.01
    assert (x - 24).abs().max() < 0.1
    assert (y - 24).abs().max() < 0.1


def test_rotation_turns_by_at_most_its_angle_and_both_ways() -> None:
    # 16 px to the right of the middle, or to its left once mirrored.
    x, y, _ = find_square(augment(draw_square(300, 37, 21, 6), make_config(rotation=15), seed(8)))
    angles = torch.rad2deg(torch.atan2(y - 24, (x - 24).abs()))
    assert -15.5 < angles.min() < -12
    assert 12 < angles.max() < 15.5
    assert torch.hypot(x - 24, y - 24) == pytest.approx(torch.full((300,), 16.0), abs=0.2)


def test_erasing_hides_a_box_of_the_stated_size_in_the_stated_share_of_pictures() -> None:
    faces = make_faces(400)
    images = augment(faces, make_config(erasing=0.3), seed(9))
    restored = torch.where(
        (distance(images, faces) < distance(images, faces.flip(3)))[:, None, None, None],
        faces,
        faces.flip(3),
    )
    changed = ((images - restored).abs() > 1e-4).sum(dim=(1, 2, 3)) / 48**2
    erased = changed > 0
    assert 90 < int(erased.sum()) < 150
    assert changed[erased].max() < 0.22
    assert changed[erased].min() > 0.01


def test_blur_softens_the_stated_share_of_pictures() -> None:
    faces = make_faces(400)
    images = augment(faces, make_config(blur=0.25), seed(10))
    softened = images.std(dim=(1, 2, 3)) < 0.15
    assert 70 < int(softened.sum()) < 130


def test_contrast_changes_light_within_its_range() -> None:
    grey = torch.full((300, 1, 48, 48), 0.5)
    levels = augment(grey, make_config(contrast=0.4), seed(11)).mean(dim=(1, 2, 3))
    assert 0.3 <= levels.min() < 0.33
    assert 0.67 < levels.max() <= 0.7


def test_exposure_brightens_and_darkens_by_at_most_its_stops() -> None:
    grey = torch.full((300, 1, 48, 48), 0.25)
    levels = augment(grey, make_config(exposure=1.0), seed(11)).mean(dim=(1, 2, 3))
    assert 0.125 <= levels.min() < 0.13
    assert 0.48 < levels.max() <= 0.5
    assert float((levels < 0.25).float().mean()) == pytest.approx(0.5, abs=0.1)


def test_jpeg_compresses_the_stated_share_of_pictures() -> None:
    faces = make_faces(300)
    images = augment(faces, make_config(jpeg=0.3), seed(12))
    away = torch.minimum(distance(images, faces), distance(images, faces.flip(3)))
    compressed = away > 1 / 255
    assert float(compressed.float().mean()) == pytest.approx(0.3, abs=0.08)
    assert (away[compressed] > 0.05).all()
    means = (images.mean(dim=(1, 2, 3)) - faces.mean(dim=(1, 2, 3))).abs()
    assert float(means.max()) < 0.02


def test_noise_is_no_stronger_than_asked() -> None:
    grey = torch.full((200, 1, 48, 48), 0.5)
    strengths = augment(grey, make_config(noise=0.1), seed(12)).std(dim=(1, 2, 3))
    assert strengths.max() < 0.105
    assert strengths.max() > 0.09
    assert strengths.min() < 0.01


def test_mixup_of_0_changes_nothing() -> None:
    faces, targets = make_faces(), [torch.rand(16, 7)]
    images, mixed = mix(faces, targets, make_config(), seed(1))
    assert images is faces
    assert mixed is targets


def test_mixup_mixes_pictures_and_targets_by_one_share() -> None:
    faces = make_faces(6)
    hard, soft = torch.eye(7)[:6], torch.full((6, 8), 1 / 8)
    images, (mixed_hard, mixed_soft) = mix(
        faces.clone(), [hard, soft], make_config(mixup=1.0), seed(2)
    )
    share = float(mixed_hard[0, 0])
    assert 0.01 < share < 0.99
    assert torch.allclose(images, share * faces + (1 - share) * faces.flip(0), atol=1e-6)
    assert torch.allclose(mixed_hard, share * hard + (1 - share) * hard.flip(0), atol=1e-6)
    assert mixed_hard.sum(dim=1) == pytest.approx(torch.ones(6), abs=1e-5)
    assert torch.allclose(mixed_soft, soft)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixups_shares_follow_the_beta_distribution(alpha: float) -> None:
    draws, config = seed(3), make_config(mixup=alpha)
    ones_then_zeros = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    shares = torch.tensor(
        [float(mix(ones_then_zeros.clone(), [], config, draws)[0][0]) for _ in range(1500)]
    )
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_cutmix_pastes_a_box_and_targets_take_its_share_of_the_area() -> None:
    faces = make_faces(6)
    hard = torch.eye(7)[:6]
    for value in range(20):
        images, (mixed,) = mix(faces.clone(), [hard], make_config(cutmix=1.0), seed(value))
        own = (images == faces).all(dim=1)
        partner = (images == faces.flip(0)).all(dim=1)
        assert (own | partner).all()
        rows, columns = (~own[0]).nonzero(as_tuple=True)
        if len(rows):  # one box, the same in every picture
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        share = float(own[0].float().mean())
        assert torch.allclose(mixed, share * hard + (1 - share) * hard.flip(0), atol=1e-6)


def test_mixup_and_cutmix_take_turns() -> None:
    faces = make_faces(4)
    config = make_config(mixup=1.0, cutmix=1.0)
    pasted = 0
    for value in range(60):
        images, _ = mix(faces.clone(), [], config, seed(value))
        pasted += bool(((images == faces) | (images == faces.flip(0))).all())
    assert 18 <= pasted <= 42


@pytest.mark.parametrize("channels", [1, 3])
def test_randaugment_edits_every_picture_in_its_own_way(channels: int) -> None:
    faces = make_faces(40).expand(-1, channels, -1, -1)
    config = make_config(rand_augment="rand-m9-n2", rotation=0.0)
    plain, edited = (augment(faces, each, seed(13)) for each in (make_config(), config))
    assert edited.shape == plain.shape
    # Two operations of fifteen at random; a few of them change nothing.
    assert float((edited - plain).abs().amax(dim=(1, 2, 3)).gt(0.05).float().mean()) > 0.6
    same = augment(faces[:1].expand(40, -1, -1, -1), config, seed(13))
    assert len({tuple(face.flatten().tolist()) for face in same}) > 20


def test_randaugment_leaves_the_global_generators_as_they_were() -> None:
    random.seed(1)
    np.random.seed(1)
    expected = random.Random(1).random(), np.random.RandomState(1).rand()
    augment(make_faces(), make_config(rand_augment="rand-m9-n2"), seed(1))
    assert (random.random(), np.random.rand()) == expected


@pytest.mark.parametrize("name", ["strong", "rand-m9-x3", "augmix-m3"])
def test_a_randaugment_that_timm_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"rand_augment: timm cannot read '{name}' .* write it"):
        build_rand_augment(name, 1)
