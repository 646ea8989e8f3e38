"""How often people and models are right: per person, emotion and set, and on the whole."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from survey.statistics.figures import (
    Figure,
    estimate_share,
    estimate_shares,
    explain,
    take_interval,
)
from survey.statistics.resampling import Sampler
from survey.statistics.table import AnswerTable


def score_participants(table: AnswerTable) -> list[Figure]:
    """Share of right answers per participant, in the table's order, with Wilson intervals."""
    return estimate_shares(table.correct.sum(axis=1), table.answered.sum(axis=1))


def score_model(table: AnswerTable, answers: NDArray[np.int16]) -> Figure:
    """A model's share of right answers on the table's images, with Wilson's interval."""
    return estimate_shares([int((answers == table.truth).sum())], [len(table.images)])[0]


def estimate_mean(table: AnswerTable, sampler: Sampler) -> Figure:
    """Mean share of right answers of people, with a two-way bootstrap interval.

    ``n`` is the number of participants. Both people and images are drawn anew, because the same
    people and the same images come again and again in the answers (Owen 2007, "The pigeonhole
    bootstrap"): an interval over answers alone would be far too narrow. Where all are right or all
    wrong, drawing anew tells nothing: the interval is Wilson's, of as many cases as there are
    people or images, whichever are fewer.
    """
    if not table.answered.any():
        return explain("no answers")
    people, mean = len(table.participants), compute_mean(table)
    if mean in (0, 1):
        cases = min(people, len(table.images))
        return replace(estimate_share(round(mean) * cases, cases), n=people)
    draws = draw_means(table.correct, table.answered, sampler)
    return take_interval(mean, np.clip(draws, 0, 1), people)


def compute_mean(table: AnswerTable) -> float:
    """Right answers of all answers; NaN without any."""
    total = table.answered.sum()
    return float(table.correct.sum() / total) if total else float("nan")


def draw_means(
    values: NDArray[np.generic],
    there: NDArray[np.bool_],
    sampler: Sampler,
    images: str = "images",
) -> NDArray[np.float64]:
    """(draws,) means of ``values`` (P, I) where ``there``, people and images drawn anew.

    ``images`` names the kind of case that the sampler draws: images of another set are another.

    The two drawings are of sums by person and by image, so that they cost as much as there are
    people and images, not answers: a mean is nearly the sum of what both bring to it. What is
    peculiar to one person at one image enters twice, where Owen's counts it three times and the
    truth once: the interval is a little on the safe side. Each drawing is spread by as much as
    drawing anew from n is too narrow, sqrt(n / (n - 1)) (Efron 1982, section 5.8).
    """
    weights = there.astype(np.float64)
    shown = np.where(there, values, 0).astype(np.float64)
    mean = shown.sum() / weights.sum()
    excess = shown - mean * weights
    total = np.full(sampler.draws, mean)
    for kind, axis in (("people", 1), (images, 0)):
        sums, sizes = excess.sum(axis=axis), weights.sum(axis=axis)
        drawn = sampler.count(kind, len(sums))
        with np.errstate(invalid="ignore", divide="ignore"):
            total += _spread(len(sums)) * (drawn @ sums) / (drawn @ sizes)
    return total


def _spread(n: int) -> float:
    """By what deviations of n cases drawn anew are too small; 1 for a single case."""
    return float(np.sqrt(n / max(n - 1, 1)))
