"""Pure: one temperature per head (Guo et al. 2017), and where a reading is called "not sure"."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from training.errors import DataError

FOLDS = 5


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """The temperature that makes the truth most likely.

    Args:
        logits: (n, classes) of one head.
        truth: (n,) class indices.
    """
    if len(truth) == 0:
        raise DataError("a temperature needs at least one labelled picture, got none")
    rows = np.arange(len(truth))

    def mean_loss(log_temperature: float) -> float:
        scaled = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return float(-scaled[rows, truth].mean())

    found = minimize_scalar(mean_loss, bounds=(-3, 3), method="bounded")
    return float(np.exp(found.x))


def cross_fit(
    logits: NDArray[np.float32], truth: NDArray[np.int64], seed: int = 0
) -> NDArray[np.float64]:
    """(n, classes) probabilities, each row calibrated by a temperature that never saw it.

    What an error of calibration is estimated on: fitting and measuring on the same pictures
    would flatter it.
    """
    probabilities = np.empty(logits.shape, dtype=np.float64)
    for held_out in _deal(len(truth), seed):
        temperature = fit_temperature(logits[~held_out], truth[~held_out])
        probabilities[held_out] = softmax(logits[held_out].astype(np.float64) / temperature, axis=1)
    return probabilities


def cross_choose(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], accuracy: float, seed: int = 0
) -> NDArray[np.bool_]:
    """(n,) who is sure, each row by a threshold that ``choose_threshold`` chose without it."""
    sure = np.empty(len(truth), dtype=bool)
    for held_out in _deal(len(truth), seed):
        threshold = choose_threshold(probabilities[~held_out], truth[~held_out], accuracy)
        sure[held_out] = probabilities[held_out].max(axis=1) >= threshold
    return sure


def choose_threshold(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], accuracy: float
) -> float:
    """The lowest confidence from which on answers are right in at least ``accuracy`` of cases.

    Chosen so that as many faces as possible are answered at that accuracy; 1.0 when it cannot be
    reached.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence)
    right = (probabilities.argmax(axis=1) == truth)[order]
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    # Equal confidences stand or fall together: a threshold can only lie behind the last of them.
    last = np.diff(confidence[order], append=-np.inf) < 0
    reached = np.flatnonzero((share >= accuracy) & last)
    return float(confidence[order][reached[-1]]) if reached.size else 1.0


def _deal(n: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """What is held out of ``n`` rows in each of FOLDS turns."""
    fold_of = np.random.default_rng(seed).permutation(n) % FOLDS
    for fold in range(FOLDS):
        yield fold_of == fold
