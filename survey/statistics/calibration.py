"""Does a model's probability mean what it says? On the images of a study."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfer.metrics import compute_brier, compute_ece
from survey.statistics.figures import Figure, estimate_shares, take_interval
from survey.statistics.resampling import Sampler

BINS = 10  # of equal width: a study has few images


@dataclass(frozen=True)
class Bin:
    """Answers with a confidence in (low, high], their mean confidence and share right."""

    low: float
    high: float
    confidence: float | None
    right: Figure


@dataclass(frozen=True)
class Calibration:
    """Of one model's top answers. ECE is of ``BINS`` bins, biased upwards with few images.

    It has no interval: images drawn anew bias it once more, so that theirs can lie above it.
    """

    bins: tuple[Bin, ...]
    ece: Figure
    brier: Figure


def measure_calibration(
    truth: NDArray[np.int16], probabilities: NDArray[np.float64], sampler: Sampler
) -> Calibration:
    """Of (I, K) probabilities; the Brier score with an interval over images drawn anew."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bin_of = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    sizes = np.bincount(bin_of, minlength=BINS)
    hits = np.bincount(bin_of, weights=right, minlength=BINS)
    sums = np.bincount(bin_of, weights=confidence, minlength=BINS)
    shares = estimate_shares(hits.astype(int), sizes)
    n = len(truth)
    weights = sampler.count("images", n) / n
    losses = ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1)
    return Calibration(
        tuple(
            Bin(at / BINS, (at + 1) / BINS, float(sums[at] / size) if size else None, share)
            for at, (size, share) in enumerate(zip(sizes, shares, strict=True))
        ),
        Figure(compute_ece(truth, probabilities, BINS), None, None, n),
        take_interval(compute_brier(truth, probabilities), weights @ losses, n),
    )
