"""Do two deciders fail on the same images? Error consistency, after Geirhos et al. 2020.

"Beyond accuracy: quantifying trial-by-trial behaviour of CNNs and humans by measuring error
consistency", NeurIPS 2020, section 2.1: kappa over right and wrong. Intervals by drawing images
anew, after Klein et al. 2025, "Quantifying uncertainty in error consistency".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from survey.statistics.figures import Figure, explain, take_interval
from survey.statistics.resampling import Sampler
from survey.statistics.table import AnswerTable

MOST_PEOPLE = 60  # whose pairs are looked at; of more, that many are drawn
DRAWS_AT_ONCE = 100

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Consistency:
    """``kappa`` of one pair or the mean of many; ``n`` counts images.

    ``lowest`` and ``highest``: what kappa could be at all with these accuracies.
    """

    kappa: Figure
    observed: float | None
    expected: float | None
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class _Pairs:
    """Of pairs: kappa, observed and expected share of images on which both are right or wrong."""

    kappa: Array
    observed: Array
    expected: Array
    lowest: Array
    highest: Array


def compare_with_people(
    table: AnswerTable, right: NDArray[np.bool_], sampler: Sampler
) -> Consistency:
    """The mean over people of a model's consistency with each; ``right`` (I,) is the model's."""
    chosen = _choose_people(table, sampler.build_rng("people to compare"))
    everywhere = np.ones((1, len(right)), dtype=bool)
    return _summarize(
        right[None], everywhere, chosen.correct, chosen.answered, sampler, ordered=True
    )


def compare_people(table: AnswerTable, sampler: Sampler) -> Consistency:
    """The mean over all pairs of people."""
    chosen = _choose_people(table, sampler.build_rng("people to compare"))
    right, there = chosen.correct, chosen.answered
    return _summarize(right, there, right, there, sampler, ordered=False)


def build_matrix(right: NDArray[np.bool_], there: NDArray[np.bool_]) -> Array:
    """(D, D) kappas of all pairs of deciders (D, I); NaN where undefined."""
    weights = np.ones((1, right.shape[1]))
    return np.asarray(_compare(right, there, right, there, weights).kappa[0])


def _choose_people(table: AnswerTable, rng: np.random.Generator) -> AnswerTable:
    people = len(table.participants)
    if people <= MOST_PEOPLE:
        return table
    chosen = np.zeros(people, dtype=bool)
    chosen[rng.choice(people, MOST_PEOPLE, replace=False)] = True
    return table.select(chosen)


def _summarize(
    right: NDArray[np.bool_],
    there: NDArray[np.bool_],
    other_right: NDArray[np.bool_],
    other_there: NDArray[np.bool_],
    sampler: Sampler,
    *,
    ordered: bool,
) -> Consistency:
    """Means over pairs: ``ordered``, each one with each other; else those above the diagonal."""
    images = right.shape[1]
    pairs = (
        np.ones((len(right), len(other_right)), dtype=bool)
        if ordered
        else np.triu(np.ones((len(right), len(right)), dtype=bool), k=1)
    )
    if not pairs.any() or images == 0:
        return _give_none("error consistency needs two who have seen the same images", images)
    whole = _compare(right, there, other_right, other_there, np.ones((1, images)))
    value = _average(whole.kappa, pairs)[0]
    if not np.isfinite(value):
        return _give_none(
            "error consistency is undefined: everybody is always right, or wrong", images
        )
    counts = sampler.count("images", images)
    # In parts, because all pairs of all draws at once take a gigabyte.
    drawn = np.concatenate(
        [
            _average(_compare(right, there, other_right, other_there, part).kappa, pairs)
            for part in np.array_split(counts, max(len(counts) // DRAWS_AT_ONCE, 1))
        ]
    )
    others = (
        float(_average(values, pairs)[0])
        for values in (whole.observed, whole.expected, whole.lowest, whole.highest)
    )
    return Consistency(take_interval(float(value), drawn, images), *others)


def _give_none(reason: str, images: int) -> Consistency:
    return Consistency(explain(reason, images), None, None, None, None)


def _average(values: Array, pairs: NDArray[np.bool_]) -> Array:
    """(draws,) means over the pairs (draws, D, E) that are defined."""
    shown = values[:, pairs]
    known = np.isfinite(shown)
    totals = known.sum(axis=1)
    sums = np.where(known, shown, 0).sum(axis=1)
    return np.where(totals > 0, sums / np.maximum(totals, 1), np.nan)


def _compare(
    right: NDArray[np.bool_],
    there: NDArray[np.bool_],
    other_right: NDArray[np.bool_],
    other_there: NDArray[np.bool_],
    weights: Array,
) -> _Pairs:
    """(draws, D, E) of all pairs, on the images that both have seen, weighted by (draws, I)."""
    hits, seen = (right & there).astype(np.float64), there.astype(np.float64)
    other_hits, other_seen = (
        (other_right & other_there).astype(np.float64),
        other_there.astype(np.float64),
    )

    def sum_pairs(one: Array, other: Array) -> Array:
        return np.asarray((one * weights[:, None, :]) @ other.T)

    n = sum_pairs(seen, other_seen)
    both_right = sum_pairs(hits, other_hits)
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = sum_pairs(hits, other_seen) / n, sum_pairs(seen, other_hits) / n
        observed = (n - sum_pairs(hits, other_seen) - sum_pairs(seen, other_hits)) / n
        observed = observed + 2 * both_right / n
        expected = first * second + (1 - first) * (1 - second)
        room = np.where(np.isclose(expected, 1), np.nan, 1 - expected)
        return _Pairs(
            (observed - expected) / room,
            observed,
            expected,
            (np.abs(first + second - 1) - expected) / room,
            (1 - np.abs(first - second) - expected) / room,
        )
