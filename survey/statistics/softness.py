"""Does a model doubt where people do? Distributions of answers against probabilities, per image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy, rankdata

from survey.statistics.agreement import compute_entropies
from survey.statistics.figures import Figure, explain, take_interval
from survey.statistics.resampling import Sampler
from survey.statistics.table import AnswerTable, ModelColumn

FLOOR = 1e-6  # under which no probability is counted: a model may say 0, people hardly ever do


@dataclass(frozen=True)
class Softness:
    """``divergence`` is the mean over images of KL(people || model), in bits, less its bias.

    ``difficulty`` is Spearman's correlation of the share of people who are right with the model's
    probability of the truth; ``doubt`` that of the entropies of both.
    """

    divergence: Figure
    difficulty: Figure
    doubt: Figure


def compare_doubts(table: AnswerTable, model: ModelColumn, sampler: Sampler) -> Softness:
    """On the images that somebody has named an emotion for; intervals over images."""
    told = table.counts[:, :-1]
    kept = told.sum(axis=1) > 0
    if kept.sum() < 3:
        none = explain("needs three images that people have answered", int(kept.sum()))
        return Softness(none, none, none)
    people = told[kept] / told[kept].sum(axis=1, keepdims=True)
    said = np.maximum(model.probabilities[kept], FLOOR)
    said = said / said.sum(axis=1, keepdims=True)
    divergences = entropy(people, said, base=2, axis=1) - compute_bias(told[kept])
    drawn = sampler.count("images", len(people))
    truth = table.truth[kept]
    shares = table.counts[kept, truth] / table.counts[kept].sum(axis=1)
    return Softness(
        take_interval(float(divergences.mean()), drawn @ divergences / len(people), len(people)),
        correlate(shares, said[np.arange(len(said)), truth], sampler),
        correlate(compute_entropies(told[kept]), entropy(said, base=2, axis=1), sampler),
    )


def compute_bias(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(I,) bits by which the entropy of few answers, (I, K) of them, falls short.

    And so by which their divergence from anything is too large. By the jackknife: Zahl 1977,
    "Jackknifing an index of diversity".
    """
    n = counts.sum(axis=1)
    without = np.zeros(len(counts))  # mean entropy with one answer left out
    for label in range(counts.shape[1]):
        given = counts[:, label]
        fewer = counts.copy()
        fewer[:, label] -= given > 0
        without += given / n * np.nan_to_num(compute_entropies(fewer))
    return np.asarray((n - 1) * (compute_entropies(counts) - without))


def correlate(one: NDArray[np.float64], other: NDArray[np.float64], sampler: Sampler) -> Figure:
    """Spearman's rank correlation over images, drawn anew for the interval."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return explain("a rank correlation is undefined: all values are the same", len(one))
    value = np.corrcoef(rankdata(one), rankdata(other))[0, 1]
    chosen = sampler.build_rng("ranks").integers(0, len(one), size=(sampler.draws, len(one)))
    first, second = rankdata(one[chosen], axis=1), rankdata(other[chosen], axis=1)
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    spread = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = (first * second).sum(axis=1) / spread
    return take_interval(float(value), drawn, len(one))
