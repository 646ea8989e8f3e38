"""Agreement and error consistency, against krippendorff, statsmodels, scikit-learn and papers."""

from dataclasses import replace

import krippendorff
import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from survey.statistics.agreement import (
    add_rater,
    compute_entropies,
    compute_fleiss,
    credit_majority,
    estimate_alpha,
    estimate_steadiness,
    find_majority,
    list_crowd_sizes,
    score_crowds,
    score_majority,
)
from survey.statistics.consistency import (
    Consistency,
    build_matrix,
    compare_people,
    compare_with_people,
)
from survey.statistics.resampling import Sampler
from survey.statistics.table import MISSING
from tests.survey.statistics.planted import K, build, draw


def sampler() -> Sampler:
    return Sampler(seed=0)


def compare_two(one: np.ndarray, other: np.ndarray) -> Consistency:
    """Of one person and a model, both by where they are right."""
    return compare_with_people(build([np.where(one, 0, 1).tolist()]), other, sampler())


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("people", [2, 3, 12])
def test_alpha_is_that_of_the_krippendorff_package(people: int, missing: float) -> None:
    table = draw(people, people, missing=missing)
    rows = np.where(table.answered, table.answers, np.nan)
    expected = krippendorff.alpha(rows, level_of_measurement="nominal")
    figure = estimate_alpha(table.counts, sampler())
    assert figure.value == pytest.approx(expected, abs=1e-9)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < expected < figure.high
    assert figure.n == int((table.answered.sum(axis=0) >= 2).sum())


def test_alpha_of_krippendorffs_own_example() -> None:
    # "Computing Krippendorff's Alpha-Reliability" (2011), part C: four observers, nominal: 0.743.
    star = -1
    rows = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, star, star, star],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, star, 3],
        [star, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, star],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, star],
    ]
    table = build(rows)
    assert estimate_alpha(table.counts, sampler()).value == pytest.approx(0.743, abs=0.0005)


def test_alpha_with_the_model_as_one_more_rater() -> None:
    table = draw(1, 6)
    model = table.truth
    rows = np.vstack([table.answers, model]).astype(float)
    expected = krippendorff.alpha(rows, level_of_measurement="nominal")
    joined = estimate_alpha(add_rater(table.counts, model), sampler())
    assert joined.value == pytest.approx(expected, abs=1e-9)
    assert joined.value > (estimate_alpha(table.counts, sampler()).value or 1)


def test_undefined_agreement_explains_itself() -> None:
    same = build([[0, 0], [0, 0]])
    assert (
        estimate_alpha(same.counts, sampler()).undefined == "alpha is undefined: all answers agree"
    )
    assert compute_fleiss(same.counts).undefined == (
        "Fleiss' kappa is undefined: all answers agree"
    )
    alone = build([[0, 1]])
    assert "two people" in str(estimate_alpha(alone.counts, sampler()).undefined)
    assert "two people" in str(compute_fleiss(alone.counts).undefined)


def test_fleiss_kappa_of_his_own_example() -> None:
    # Fleiss 1971, table 1, as in every textbook: 14 raters, 10 subjects, 5 kinds, kappa 0.210.
    counts = np.array(
        [
            [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
        ]
    )  # fmt: skip
    figure = compute_fleiss(counts)
    assert figure.value == pytest.approx(0.210, abs=0.0005)
    assert figure.value == pytest.approx(fleiss_kappa(counts), abs=1e-9)


def test_fleiss_looks_at_complete_images_only() -> None:
    table = draw(2, 8, missing=0.05)
    complete = table.answered.all(axis=0)
    figure = compute_fleiss(table.counts)
    assert figure.n == complete.sum()
    assert figure.value == pytest.approx(fleiss_kappa(table.counts[complete]), abs=1e-9)


def test_entropies_are_scipys() -> None:
    table = draw(3, 9, missing=0.1)
    expected = [entropy(row, base=2) for row in table.counts]
    assert compute_entropies(table.counts) == pytest.approx(expected, abs=1e-9)
    assert np.isnan(compute_entropies(np.zeros((1, 6), dtype=np.int64)))


def test_error_consistency_is_cohens_kappa_over_right_and_wrong() -> None:
    table = draw(4, 2)
    one, other = table.correct
    found = compare_two(one, other)
    assert found.kappa.value == pytest.approx(cohen_kappa_score(one, other), abs=1e-9)
    first, second = one.mean(), other.mean()
    assert found.observed == pytest.approx((one == other).mean(), abs=1e-9)
    expected = first * second + (1 - first) * (1 - second)
    assert found.expected == pytest.approx(expected, abs=1e-9)


def test_agreement_without_kappa_is_not_consistency() -> None:
    # Both 90 % right and never wrong together: they agree on 80 %, less than chance would give.
    one = np.array([True] * 9 + [False]).repeat(10)
    other = np.roll(one, 10)
    found = compare_two(one, other)
    assert found.observed == pytest.approx(0.8, abs=1e-9)
    assert found.kappa.value == pytest.approx((0.8 - 0.82) / 0.18, abs=1e-9)
    assert found.lowest == pytest.approx(found.kappa.value, abs=1e-9)
    assert found.highest == pytest.approx(1, abs=1e-9)


def test_bounds_are_those_of_the_best_and_the_worst_overlap() -> None:
    one = np.array([True] * 8 + [False] * 2)
    other = np.array([True] * 5 + [False] * 5)
    best, worst = compare_two(one, other), compare_two(one, other[::-1])
    assert best.kappa.value == pytest.approx(best.highest, abs=1e-9)
    assert worst.kappa.value == pytest.approx(worst.lowest, abs=1e-9)
    assert (best.lowest, best.highest) == (worst.lowest, worst.highest)


def test_people_are_compared_pair_by_pair_and_with_the_model() -> None:
    table = draw(5, 5, missing=0.2)
    model = draw(6, 1).correct[0]

    def kappa(one: np.ndarray, other: np.ndarray, both: np.ndarray) -> float:
        return float(cohen_kappa_score(one[both], other[both]))

    seen, right = table.answered, table.correct
    pairs = [
        kappa(right[a], right[b], seen[a] & seen[b]) for a in range(5) for b in range(a + 1, 5)
    ]
    assert compare_people(table, sampler()).kappa.value == pytest.approx(np.mean(pairs), abs=1e-9)
    with_model = [kappa(right[a], model, seen[a]) for a in range(5)]
    found = compare_with_people(table, model, sampler())
    assert found.kappa.value == pytest.approx(np.mean(with_model), abs=1e-9)
    matrix = build_matrix(right, seen)
    assert matrix[np.triu_indices(5, 1)] == pytest.approx(pairs, abs=1e-9)
    assert np.diag(matrix) == pytest.approx(np.ones(5))


def test_consistency_of_the_faultless_is_undefined() -> None:
    faultless = np.ones(10, dtype=bool)
    found = compare_two(faultless, faultless)
    assert "undefined" in str(found.kappa.undefined)
    assert found.observed is None
    alone = compare_people(build([[0, 1]]), sampler())
    assert "two who have seen" in str(alone.kappa.undefined)


def test_the_interval_covers_a_hundred_images_as_klein_2025_simulate() -> None:
    # About 0.36 with 0.16 to 0.55 at 100 images: one kappa of one pair says little.
    table = draw(7, 2, cannot_tell=0)
    figure = compare_two(*table.correct).kappa
    assert figure.low is not None
    assert figure.high is not None
    assert 0.25 < figure.high - figure.low < 0.6


def test_majorities_and_ties() -> None:
    counts = np.array([[3, 1, 0], [2, 2, 0], [0, 0, 4]])
    drawn = np.array([find_majority(counts, np.random.default_rng(seed)) for seed in range(200)])
    assert (drawn[:, 0] == 0).all()
    assert (drawn[:, 2] == 2).all()
    assert 60 < (drawn[:, 1] == 1).sum() < 140


def test_a_crowd_of_one_is_a_person_and_bigger_ones_are_better() -> None:
    table = draw(8, 30)
    sizes = list_crowd_sizes(30)
    assert sizes == [1, 2, 3, 5, 10, 20, 30]
    figures = score_crowds(table, sizes, sampler())
    values = [figure.value or 0 for figure in figures]
    assert values[0] == pytest.approx(table.correct.mean(), abs=1e-12)
    assert values[2] > values[0]
    assert values[-2] > values[2]
    # Everybody is one crowd: its value is the majority's, its interval that of other images.
    majority = score_majority(table)
    assert figures[-1].value == pytest.approx(majority.value, abs=1e-9)
    widths = [(figure.high or 0) - (figure.low or 0) for figure in (figures[-1], majority)]
    assert widths[0] == pytest.approx(widths[1], rel=0.35)


def test_ties_count_as_lots_would_have_it_on_average() -> None:
    counts = np.array([[3, 1, 0], [2, 2, 0], [1, 1, 1], [0, 0, 4], [0, 0, 0]])
    truth = np.array([0, 1, 2, 0, 0])
    credit = credit_majority(counts, truth)
    assert credit[:4].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0])
    assert np.isnan(credit[4])
    rng = np.random.default_rng(0)
    lots = np.mean([find_majority(counts[:4], rng) == truth[:4] for _ in range(4000)], axis=0)
    assert lots == pytest.approx(credit[:4], abs=0.03)
    table = build([[0, 1, -1], [1, 1, -1]])
    figure = score_majority(table)
    assert (figure.value, figure.n) == (0.25, 2)


def test_crowds_that_have_seen_nothing_weigh_nothing() -> None:
    table = build([[0, -1], [-1, 0]])
    assert [figure.value for figure in score_crowds(table, [1, 2], sampler())] == [1, 1]


def test_crowd_sizes_end_with_everybody() -> None:
    assert list_crowd_sizes(1) == [1]
    assert list_crowd_sizes(5) == [1, 2, 3, 5]
    assert list_crowd_sizes(260) == [1, 2, 3, 5, 10, 20, 50, 100, 200, 260]
    assert K == 5


def test_agreement_with_oneself_is_cohens_kappa_over_all_repeats() -> None:
    table = draw(3, people=9, images=40)
    chance = np.random.default_rng(1)
    repeated = chance.random(table.answers.shape) < 0.2
    slipped = chance.random(table.answers.shape) < 0.3
    later = np.where(slipped, chance.integers(0, K, table.answers.shape), table.answers)
    again = np.where(repeated, later, MISSING).astype(np.int16)
    figure = estimate_steadiness(replace(table, again=again), sampler())
    expected = cohen_kappa_score(table.answers[repeated], again[repeated])
    assert figure.value == pytest.approx(expected, abs=1e-9)
    assert figure.n == repeated.sum()
    assert figure.low is not None and figure.high is not None
    assert figure.low < expected < figure.high < 1
    # Agreement by share alone is higher: a part of it is chance.
    assert np.mean(table.answers[repeated] == again[repeated]) > expected + 0.05


def test_agreement_with_oneself_needs_repeats() -> None:
    assert "repeats no image" in str(estimate_steadiness(build([[0, 1]]), sampler()).undefined)
    same = build([[0, 1]], again=[[0, MISSING]])
    assert "all answers agree" in str(estimate_steadiness(same, sampler()).undefined)
