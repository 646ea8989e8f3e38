"""Pictures made worse by a known amount, and the points of accuracy that they cost."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kfer.bundle import Bundle
from tests.training.synthetic import build_answered
from training import robustness
from training.augment import compress
from training.face_set import FaceSet
from training.robustness import JPEG_QUALITY, darken, measure_robustness, roll, shrink

GREY = np.full((48, 48), 120, dtype=np.uint8)
CHECKS = (np.indices((48, 48)).sum(axis=0) % 2 * 200).astype(np.uint8)  # one pixel black, one light


def test_an_even_grey_stays_what_it_is_where_light_does_not_change() -> None:
    for same in (compress(GREY, JPEG_QUALITY), roll(GREY, 15), shrink(GREY)):
        assert same.shape == GREY.shape
        assert same.dtype == np.uint8
        assert np.abs(same.astype(int) - 120).max() <= 1


def test_warm_light_at_half_brightness_is_weighed_as_grey_is() -> None:
    # ITU-R 601: 0.299 red, 0.587 green, 0.114 blue.
    expected = 120 * 0.5 * (0.299 * 1.0 + 0.587 * 0.85 + 0.114 * 0.6)
    assert np.abs(darken(GREY) - expected).max() <= 1


def test_a_small_face_has_lost_what_was_finer_than_two_pixels() -> None:
    assert CHECKS.std() == 100
    assert shrink(CHECKS).std() < 1


def test_compression_loses_detail_and_keeps_the_mean() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (48, 48), dtype=np.uint8)
    worse = compress(noise, JPEG_QUALITY)
    assert np.abs(worse.astype(int) - noise).mean() > 10
    assert abs(float(worse.mean()) - float(noise.mean())) < 3


def test_a_mark_right_of_the_centre_turns_upwards() -> None:
    face = GREY.copy()
    face[23:25, 38:41] = 255
    row, column = np.argwhere(roll(face, 15) > 200).mean(axis=0) - 23.5
    assert np.degrees(np.arctan2(-row, column)) == pytest.approx(15, abs=2)
    assert np.hypot(row, column) == pytest.approx(15.5, abs=1)
    assert (roll(np.flipud(face), -15) == np.flipud(roll(face, 15))).mean() > 0.95


def test_losses_are_points_against_the_pictures_as_they_are(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, logits = build_answered()
    wrong = np.roll(logits[:, :7], 1, axis=1)
    seen: list[FaceSet] = []

    def answer(_bundle: Bundle, worse: FaceSet) -> NDArray[np.float32]:
        """fer7 is wrong on 7 of 28 more with every call; ferplus8 stays right."""
        seen.append(worse)
        changed = logits.copy()
        changed[: 7 * len(seen), :7] = wrong[: 7 * len(seen)]
        return changed

    monkeypatch.setattr(robustness, "compute_logits", answer)
    jpeg, turned, *others = measure_robustness(bundle, faces, logits, None)
    assert (jpeg.condition, jpeg.goal) == ("JPEG of quality 30", 3)
    assert jpeg.losses == pytest.approx({"ferplus8": 0, "fer7": 25})
    assert turned.losses == pytest.approx({"ferplus8": 0, "fer7": 62.5})  # of 50 and 75
    assert len(others) == 2
    assert len(seen) == 5
    assert (
        seen[0].pixels == np.stack([compress(face, JPEG_QUALITY) for face in faces.pixels])
    ).all()
