"""How often people and models are right: per person, emotion and set, and on the whole."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from survey.statistics.figures import Figure, estimate_shares, explain, take_interval
from survey.statistics.resampling import Sampler
from survey.statistics.table import AnswerTable


@dataclass(frozen=True)
class Scores:
    """Of one person or model: right answers among all, and among those that name an emotion."""

    right: Figure
    right_when_told: Figure


def score_participants(table: AnswerTable) -> list[Scores]:
    """Per participant, in the table's order, with Wilson intervals."""
    right = table.correct.sum(axis=1)
    told = (table.answered & (table.answers != table.cannot_tell)).sum(axis=1)
    return [
        Scores(whole, when_told)
        for whole, when_told in zip(
            estimate_shares(right, table.answered.sum(axis=1)),
            estimate_shares(right, told),
            strict=True,
        )
    ]


def score_model(table: AnswerTable, answers: NDArray[np.int16]) -> Figure:
    """A model's share of right answers on the table's images, with Wilson's interval."""
    return estimate_shares([int((answers == table.truth).sum())], [len(table.images)])[0]


def estimate_mean(table: AnswerTable, sampler: Sampler) -> Figure:
    """Mean share of right answers of people, with a two-way bootstrap interval.

    ``n`` is the number of participants. Both people and images are drawn anew, because the same
    people and the same images come again and again in the answers (Owen 2007, "The pigeonhole
    bootstrap"): an interval over answers alone would be far too narrow.
    """
    return (
        take_interval(
            compute_mean(table),
            draw_means(table.correct, table.answered, sampler),
            len(table.participants),
        )
        if table.answered.any()
        else explain("no answers")
    )


def compute_mean(table: AnswerTable) -> float:
    """Right answers of all answers; NaN without any."""
    total = table.answered.sum()
    return float(table.correct.sum() / total) if total else float("nan")


def draw_means(
    values: NDArray[np.generic], there: NDArray[np.bool_], sampler: Sampler
) -> NDArray[np.float64]:
    """(draws,) means of ``values`` (P, I) where ``there``, people and images drawn anew.

    The two drawings are of sums by person and by image, so that they cost as much as there are
    people and images, not answers: a mean is nearly the sum of what both bring to it. What is
    peculiar to one person at one image enters twice, where Owen's counts it three times and the
    truth once: the interval is a little on the safe side.
    """
    weights = there.astype(np.float64)
    shown = np.where(there, values, 0).astype(np.float64)
    mean = shown.sum() / weights.sum()
    excess = shown - mean * weights
    total = np.full(sampler.draws, mean)
    for kind, axis in (("people", 1), ("images", 0)):
        sums, sizes = excess.sum(axis=axis), weights.sum(axis=axis)
        drawn = sampler.count(kind, len(sums))
        with np.errstate(invalid="ignore", divide="ignore"):
            total += (drawn @ sums) / (drawn @ sizes)
    return total
