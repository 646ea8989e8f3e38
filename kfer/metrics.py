"""Figures of merit with intervals; scikit-learn and SciPy behind them. No I/O, no randomness.

Labels are integer class indices, probabilities are rows over the classes that sum to 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and the number of cases it rests on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is recognised. ``support`` is its number of cases."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Averages:
    """Means over the classes, as scikit-learn computes them."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ReliabilityBin:
    """The ``n`` answers whose confidence is above ``low`` and at most ``high``: means of both."""

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


def estimate_accuracy(truth: ArrayLike, predicted: ArrayLike) -> Estimate:
    """Share of right answers with Wilson's (1927) interval. Raises ValueError without cases."""
    right = np.asarray(truth) == np.asarray(predicted)
    if right.size == 0:
        raise ValueError("accuracy needs at least one case, got none")
    interval = binomtest(int(right.sum()), right.size).proportion_ci(method="wilson")
    return Estimate(float(right.mean()), float(interval.low), float(interval.high), right.size)


def compute_confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: rows are the truth, columns the answers."""
    matrix: NDArray[np.int64] = sklearn_metrics.confusion_matrix(
        truth, predicted, labels=np.arange(classes)
    )
    return matrix


def compute_class_figures(
    truth: ArrayLike, predicted: ArrayLike, classes: int
) -> list[ClassFigures]:
    """One entry per class; a figure that is undefined (no case, no answer) counts as 0."""
    columns = sklearn_metrics.precision_recall_fscore_support(
        truth, predicted, labels=np.arange(classes), zero_division=0
    )
    return [
        ClassFigures(float(precision), float(recall), float(f1), int(support))
        for precision, recall, f1, support in zip(*columns, strict=True)
    ]


def compute_averages(
    truth: ArrayLike, predicted: ArrayLike, classes: int, average: str
) -> Averages:
    """``average`` is "macro", each class counting alike, or "weighted", each by its cases.

    A figure that is undefined counts as 0.
    """
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        truth, predicted, labels=np.arange(classes), average=average, zero_division=0
    )
    return Averages(float(precision), float(recall), float(f1))


def compute_reliability(
    truth: ArrayLike, probabilities: ArrayLike, bins: int = 15
) -> list[ReliabilityBin]:
    """Of the top answer, in bins of equal width (Guo et al. 2017); those without a case left out.

    Right-closed bins, so that a confidence of exactly 1 falls into the last one.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    confidence = rows.max(axis=1)
    right = rows.argmax(axis=1) == np.asarray(truth)
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    sizes = np.bincount(bin_of, minlength=bins)
    sums, hits = (np.bincount(bin_of, weights=each, minlength=bins) for each in (confidence, right))
    return [
        ReliabilityBin(at / bins, (at + 1) / bins, float(sums[at] / n), float(hits[at] / n), n)
        for at, n in enumerate(sizes.tolist())
        if n
    ]


def compute_ece(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the top answer (Guo et al. 2017), 0-1."""
    found = compute_reliability(truth, probabilities, bins)
    gaps = [abs(each.accuracy - each.confidence) * each.n for each in found]
    return float(sum(gaps) / sum(each.n for each in found))


def compute_brier(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Multi-class Brier score (Brier 1950): 0 is perfect, 2 the worst."""
    rows = np.asarray(probabilities, dtype=np.float64)
    hits = np.eye(rows.shape[1])[np.asarray(truth)]
    return float(((rows - hits) ** 2).sum(axis=1).mean())
