"""Pure: 95 % intervals that hold for other people, where it is known who is on the pictures.

A model is right about one person more often than about another, so that pictures of one person
tell less than as many pictures of many. Hence a jackknife that leaves out one person after the
other (Efron and Tibshirani 1993, chapter 11; "CV3" in MacKinnon, Nielsen and Webb 2023,
"Cluster-robust inference"), on the logit scale, with Student's t of persons - 1 degrees of freedom.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import t
from statsmodels.stats.proportion import proportion_confint

from kfer import metrics
from kfer.metrics import Estimate

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]


def number_persons(persons: Sequence[str]) -> Indices | None:
    """A number for each picture's person; pictures of nobody known count as a person each.

    None where fewer than two persons are known: nothing is to be learned about others then.
    """
    codes, names = pd.factorize(np.array(persons, dtype=object))
    unnamed = np.array(persons, dtype=object) == ""
    if len(names) - unnamed.any() < 2:
        return None
    codes[unnamed] = len(names) + np.arange(unnamed.sum())
    return codes


def estimate_accuracy(truth: Indices, predicted: Indices, persons: Indices | None) -> Estimate:
    """Share of right answers; Wilson's interval (1927) where ``persons`` is None."""
    if persons is None or len(np.unique(persons)) < 2:
        return metrics.estimate_accuracy(truth, predicted)
    classes = int(max(truth.max(), predicted.max())) + 1
    return _jackknife(_compute_accuracy, _tally(truth, predicted, classes, persons))


def estimate_macro_f1(
    truth: Indices, predicted: Indices, classes: int, persons: Indices | None
) -> Estimate:
    """``persons`` None: every picture counts as a case of its own."""
    cases = np.arange(len(truth)) if persons is None else persons
    return _jackknife(_compute_macro_f1, _tally(truth, predicted, classes, cases))


def _tally(truth: Indices, predicted: Indices, classes: int, cases: Indices) -> Floats:
    """(cases, 3, classes): how often each class was hit, was there, was answered."""
    names, number = np.unique(cases, return_inverse=True)

    def count(labels: Indices, weights: NDArray[np.bool_] | None = None) -> Floats:
        cells = np.bincount(number * classes + labels, weights, len(names) * classes)
        return cells.reshape(len(names), classes).astype(np.float64)

    return np.stack([count(truth, truth == predicted), count(truth), count(predicted)], axis=1)


def _compute_accuracy(tally: Floats) -> Floats:
    shares: Floats = tally[..., 0, :].sum(axis=-1) / tally[..., 1, :].sum(axis=-1)
    return shares


def _compute_macro_f1(tally: Floats) -> Floats:
    hits, truths, answers = np.moveaxis(tally, -2, 0)
    means: Floats = (2 * hits / np.maximum(truths + answers, 1)).mean(axis=-1)
    return means


def _jackknife(measure: Callable[[Floats], Floats], tally: Floats) -> Estimate:
    total = tally.sum(axis=0)
    value, n, cases = float(measure(total)), int(total[1].sum()), len(tally)
    others = measure(total - tally)  # without each case in turn
    error = np.sqrt((cases - 1) / cases * ((others - others.mean()) ** 2).sum())
    if error == 0 or value in (0, 1):  # no spread is seen; that is no proof that there is none
        low, high = proportion_confint(value * cases, cases, method="wilson")
    else:
        reach = t.ppf(0.975, cases - 1) * error / (value * (1 - value))
        low, high = expit(logit(value) + np.array([-reach, reach]))
    return Estimate(value, float(low), float(high), n)
