"""A model against people on the same images: who is better, and by more than chance?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar

from survey.statistics.accuracy import draw_means
from survey.statistics.agreement import find_majority
from survey.statistics.figures import ROUNDING, Figure, explain, take_interval
from survey.statistics.resampling import Sampler
from survey.statistics.table import AnswerTable

BOOTSTRAP = "two-way bootstrap over people and images"
PERMUTATIONS = 5  # for each draw of the bootstrap


@dataclass(frozen=True)
class Outcome:
    """A p-value, two-sided, of the test that is ``named``; ``n`` is what it rests on."""

    named: str
    p: float
    n: int


@dataclass(frozen=True)
class Versus:
    """``difference`` is the model's accuracy minus people's mean.

    ``percentile`` is the share (0-100) of people below the model, ties counted half; ``mcnemar``
    the exact test against the most frequent answer, ``permutation`` that over images.
    """

    difference: Figure
    difference_test: Outcome
    percentile: float | None
    mcnemar: Outcome
    permutation: Outcome


def compare(table: AnswerTable, answers: NDArray[np.int16], sampler: Sampler) -> Versus:
    right = answers == table.truth
    difference, difference_test = estimate_difference(table, right, sampler)
    return Versus(
        difference,
        difference_test,
        rank(table, right),
        run_mcnemar(table, right, sampler),
        permute_images(table, right, sampler),
    )


def estimate_difference(
    table: AnswerTable, right: NDArray[np.bool_], sampler: Sampler
) -> tuple[Figure, Outcome]:
    """Model minus people, the images and the people drawn anew; ``n`` is the number of people.

    Over the answers that there are: an image counts as often as people have answered it. The test
    is the interval's own: p is below 0.05 where the interval does not hold 0 (Efron and Tibshirani
    1993, "An Introduction to the Bootstrap", section 15.4: achieved significance level). It is
    never below what a sign test could tell from so few images, were all on one side.
    """
    people = len(table.participants)
    if not table.answered.any():
        return explain("no answers"), Outcome(BOOTSTRAP, 1.0, people)
    gaps = right.astype(np.float64) - table.correct
    value = gaps[table.answered].mean()
    draws = draw_means(gaps, table.answered, sampler)
    known = draws[np.isfinite(draws)]
    beyond = min((known <= 0).sum(), (known >= 0).sum())
    least = 2.0 ** (1 - int(table.answered.any(axis=0).sum()))
    p = min(1.0, max(2 * (1 + float(beyond)) / (len(known) + 1), least))
    return take_interval(float(value), draws, people), Outcome(BOOTSTRAP, p, people)


def rank(table: AnswerTable, right: NDArray[np.bool_]) -> float | None:
    """The model's percentile among people, each on the images that they have answered."""
    seen = table.answered.sum(axis=1)
    people = table.correct.sum(axis=1)[seen > 0]
    model = (table.answered & right).sum(axis=1)[seen > 0]
    if len(people) == 0:
        return None
    return float(100 * ((people < model).mean() + (people == model).mean() / 2))


def run_mcnemar(table: AnswerTable, right: NDArray[np.bool_], sampler: Sampler) -> Outcome:
    """Exact McNemar test (binomial on the images where just one of the two is right).

    Where answers are equally frequent, the majority's is drawn by lot, once and for all.
    """
    answered = table.answered.any(axis=0)
    majority = find_majority(table.counts, sampler.build_rng("majority"))
    crowd = (majority == table.truth)[answered]
    model = right[answered]
    square = [
        [int((crowd & model).sum()), int((crowd & ~model).sum())],
        [int((~crowd & model).sum()), int((~crowd & ~model).sum())],
    ]
    outcome = mcnemar(square, exact=True)
    return Outcome("exact McNemar test against the majority", float(outcome.pvalue), len(crowd))


def permute_images(table: AnswerTable, right: NDArray[np.bool_], sampler: Sampler) -> Outcome:
    """Were it all the same whether an image is answered by the model or by people: sign flips.

    The statistic is the mean over images of: the model is right, minus the share of people who are.
    It speaks of these people only, and so rejects more often than ``estimate_difference``.
    """
    seen = table.answered.sum(axis=0)
    kept = seen > 0
    gaps = right[kept] - table.correct.sum(axis=0)[kept] / seen[kept]
    permutations = PERMUTATIONS * sampler.draws
    rng = sampler.build_rng("permutation")
    signs = rng.integers(0, 2, size=(permutations, len(gaps))) * 2.0 - 1
    # Rounding must not make equal sums unequal.
    as_far = np.abs(signs @ gaps) >= abs(gaps.sum()) - ROUNDING
    p = (1 + as_far.sum()) / (permutations + 1)
    return Outcome("permutation test over images", float(p), len(gaps))


def estimate_visibility_gaps(
    table: AnswerTable, models: dict[str, NDArray[np.bool_]], sampler: Sampler
) -> tuple[Figure, dict[str, Figure]]:
    """Public minus private accuracy of people; and by model, the model's gap minus people's.

    A model that has seen the public images before loses more on the private ones than people do.
    People are drawn anew, once for both sets, and images within each set.
    """
    sets = (~table.private, table.private)
    if not all((table.answered & chosen).any() for chosen in sets):
        missing = explain("needs answers to images of both sets", len(table.participants))
        return missing, dict.fromkeys(models, missing)
    people = len(table.participants)

    def draw_gap(values: NDArray[np.float64]) -> Figure:
        value, total = 0.0, np.zeros(sampler.draws)
        for at, (sign, chosen) in enumerate(zip((1, -1), sets, strict=True)):
            shown, there = values[:, chosen], table.answered[:, chosen]
            value += sign * shown[there].mean()
            total += sign * draw_means(shown, there, sampler, images=f"images of set {at}")
        return take_interval(value, total, people)

    correct = table.correct.astype(np.float64)
    return draw_gap(correct), {
        name: draw_gap(right.astype(np.float64) - correct) for name, right in models.items()
    }
