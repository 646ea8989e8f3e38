"""Does a model's probability mean what it says? On the images of a study."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfer.metrics import compute_brier, compute_ece, compute_reliability
from survey.statistics.figures import Figure, estimate_share, take_interval
from survey.statistics.resampling import Sampler

BINS = 10  # of equal width: a study has few images


@dataclass(frozen=True)
class Bin:
    """Answers with a confidence in (low, high], their mean confidence and share right."""

    low: float
    high: float
    confidence: float
    right: Figure


@dataclass(frozen=True)
class Calibration:
    """Of one model's top answers. ``bins`` are those that hold an answer.

    ECE is of ``BINS`` bins, biased upwards with few images. It has no interval: images drawn anew
    bias it once more, so that theirs can lie above it.
    """

    bins: tuple[Bin, ...]
    ece: Figure
    brier: Figure


def measure_calibration(
    truth: NDArray[np.int16], probabilities: NDArray[np.float64], sampler: Sampler
) -> Calibration:
    """Of (I, K) probabilities; the Brier score with an interval over images drawn anew."""
    n = len(truth)
    weights = sampler.count("images", n) / n
    losses = ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1)
    return Calibration(
        tuple(
            Bin(
                each.low, each.high, each.confidence, estimate_share(each.accuracy * each.n, each.n)
            )
            for each in compute_reliability(truth, probabilities, BINS)
        ),
        Figure(compute_ece(truth, probabilities, BINS), None, None, n),
        take_interval(compute_brier(truth, probabilities), weights @ losses, n),
    )
