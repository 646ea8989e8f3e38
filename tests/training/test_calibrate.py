"""Temperatures and thresholds, against numbers that are known beforehand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from training.calibrate import (
    FOLDS,
    choose_threshold,
    cross_choose,
    cross_fit,
    fit_temperature,
)
from training.errors import DataError


def draw_logits(n: int, temperature: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits ``temperature`` times too sure, and truths drawn from what they should say."""
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, (n, 7))
    cumulated = softmax(honest, axis=1).cumsum(axis=1)
    truth = (rng.uniform(size=(n, 1)) > cumulated).sum(axis=1)
    return (honest * temperature).astype(np.float32), truth


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    assert fit_temperature(*draw_logits(40_000, temperature)) == pytest.approx(
        temperature, rel=0.02
    )


def test_a_temperature_solves_the_two_class_case_by_hand() -> None:
    # Three of four times the first of two classes, whose logit is ahead by 2: the likeliest share
    # is 3/4, so 2 / temperature = log 3.
    logits = np.tile(np.array([[2.0, 0.0]], dtype=np.float32), (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 1, 0])) == pytest.approx(2 / np.log(3), rel=1e-4)


def test_a_temperature_does_not_depend_on_what_is_added_to_all_logits() -> None:
    logits, truth = draw_logits(500, 2.0)
    assert fit_temperature(logits + 50, truth) == pytest.approx(
        fit_temperature(logits, truth), rel=1e-3
    )


def test_a_temperature_without_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="at least one labelled picture"):
        fit_temperature(np.zeros((0, 7), dtype=np.float32), np.zeros(0, dtype=np.int64))


def test_cross_fitting_never_uses_a_rows_own_fold() -> None:
    logits, truth = draw_logits(50, 1.5)
    before = cross_fit(logits, truth)
    other = truth.copy()
    other[17] = (truth[17] + 1) % 7
    unchanged = (cross_fit(logits, other) == before).all(axis=1)
    assert unchanged[17]
    assert unchanged.sum() == 50 / FOLDS  # its fold, and no other, was fitted without it


def test_cross_fitting_is_a_softmax_at_the_temperature_of_the_other_folds() -> None:
    logits, truth = draw_logits(40, 2.0)
    fold_of = np.random.default_rng(0).permutation(40) % FOLDS
    for row in (0, 9, 23):
        others = fold_of != fold_of[row]
        temperature = fit_temperature(logits[others], truth[others])
        by_hand = softmax(logits[row].astype(np.float64) / temperature)
        assert cross_fit(logits, truth)[row] == pytest.approx(by_hand, abs=1e-12)


def test_cross_fitting_repeats_itself_and_its_rows_sum_to_one() -> None:
    logits, truth = draw_logits(103, 0.7)  # folds of 21 and of 20
    probabilities = cross_fit(logits, truth)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert (cross_fit(logits, truth) == probabilities).all()
    assert (cross_fit(logits, truth, seed=1) != probabilities).any()


def spread(confidences: list[float]) -> NDArray[np.float64]:
    """Two-class rows that answer class 0 with these confidences."""
    return np.array([[confidence, 1 - confidence] for confidence in confidences])


@pytest.mark.parametrize(
    ("confidences", "right", "accuracy", "threshold"),
    [
        # Shares from the surest on: 1, 1, 2/3, 3/4, 3/5.
        ([0.9, 0.85, 0.8, 0.7, 0.6], [1, 1, 0, 1, 0], 0.75, 0.7),
        ([0.9, 0.85, 0.8, 0.7, 0.6], [1, 1, 0, 1, 0], 0.76, 0.85),
        ([0.9, 0.85, 0.8, 0.7, 0.6], [1, 1, 0, 1, 0], 0.6, 0.6),
        ([0.6, 0.8, 0.7, 0.9, 0.85], [0, 0, 1, 1, 1], 0.75, 0.7),  # in any order
        ([0.9, 0.85], [0, 0], 0.5, 1.0),  # never reached
        ([0.9, 0.85, 0.8], [0, 1, 1], 0.65, 0.8),  # the surest is wrong, all together are not
        ([0.9, 0.8, 0.8, 0.7], [1, 1, 0, 0], 0.9, 0.9),  # of two equals one is wrong
        ([0.9, 0.8, 0.8, 0.7], [1, 0, 1, 0], 0.9, 0.9),
    ],
)
def test_the_threshold_answers_as_many_as_the_promise_allows(
    confidences: list[float], right: list[int], accuracy: float, threshold: float
) -> None:
    truth = 1 - np.array(right)
    assert choose_threshold(spread(confidences), truth, accuracy) == threshold


def test_the_threshold_keeps_its_promise_on_many_faces() -> None:
    logits, truth = draw_logits(3000, 1.0)
    probabilities = softmax(logits.astype(np.float64), axis=1).round(2)  # with many equals
    threshold = choose_threshold(probabilities, truth, 0.8)
    right = probabilities.argmax(axis=1) == truth
    confidence = probabilities.max(axis=1)
    assert right[confidence >= threshold].mean() >= 0.8
    lower = [value for value in np.unique(confidence) if value < threshold]
    assert lower
    assert all(right[confidence >= value].mean() < 0.8 for value in lower)


def test_who_is_sure_is_told_by_thresholds_of_the_others() -> None:
    """Where a threshold is measured on what it was chosen for, the promise is kept by itself."""
    logits, truth = draw_logits(100 * 200, 1.0)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    right, confidence = probabilities.argmax(axis=1) == truth, probabilities.max(axis=1)
    everywhere = np.arange(len(truth))
    counts = {name: np.zeros(2) for name in ("kept", "crossed", "fresh")}  # of the right, the sure
    for faces in everywhere.reshape(100, 200):
        others = np.setdiff1d(everywhere, faces)
        threshold = choose_threshold(probabilities[faces], truth[faces], 0.7)
        crossed = cross_choose(probabilities[faces], truth[faces], 0.7)
        for name, sure in (
            ("kept", faces[confidence[faces] >= threshold]),
            ("crossed", faces[crossed]),
            ("fresh", others[confidence[others] >= threshold]),
        ):
            counts[name] += right[sure].sum(), len(sure)
    shares = {name: hits / n for name, (hits, n) in counts.items()}
    assert shares["kept"] > 0.7 > shares["fresh"] + 0.005, shares
    assert shares["crossed"] == pytest.approx(shares["fresh"], abs=0.01), shares
