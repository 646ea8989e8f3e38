"""The model against people: tests and differences, against SciPy, statsmodels and by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from survey.statistics.comparison import (
    compare,
    estimate_difference,
    estimate_visibility_gaps,
    permute_images,
    rank,
    run_mcnemar,
)
from survey.statistics.resampling import Sampler
from tests.survey.statistics.planted import build, draw, draw_probabilities


def sampler() -> Sampler:
    return Sampler(seed=0)


def test_mcnemar_is_the_binomial_test_on_the_images_that_one_of_them_gets_right() -> None:
    # The majority is right on the first six images, the model on the last seven of ten.
    table = build([[0] * 6 + [1] * 4] * 3)
    model = np.array([False] * 3 + [True] * 7)
    outcome = run_mcnemar(table, model, sampler())
    assert outcome.p == pytest.approx(binomtest(3, 7).pvalue, abs=1e-9)
    assert outcome.n == 10


def test_the_permutation_test_is_scipys() -> None:
    table = draw(1, people=9, images=12)
    model = draw(2, people=1, images=12).correct[0]
    gaps = model - table.correct.mean(axis=0)
    exact = permutation_test(
        (gaps,), lambda x, axis: np.abs(x.sum(axis=axis)), permutation_type="samples",
        n_resamples=np.inf, alternative="greater", vectorized=True,
    )  # fmt: skip
    assert permute_images(table, model, Sampler(0, 8000)).p == pytest.approx(exact.pvalue, abs=0.01)


def test_a_model_that_is_as_good_everywhere_is_no_different() -> None:
    table = build([[0, 0, 1, 1]] * 4)
    model = np.array([True, True, False, False])
    found = compare(table, np.array([0, 0, 2, 2], dtype=np.int16), sampler())
    assert (found.mcnemar.p, found.permutation.p) == (1, 1)
    assert found.difference.value == 0
    assert found.difference_test.p == 1
    assert rank(table, model) == 50


@pytest.mark.parametrize(
    ("right", "percentile"), [(4, 100.0), (3, 87.5), (2, 62.5), (1, 37.5), (0, 12.5)]
)
def test_the_percentile_counts_ties_half(right: int, percentile: float) -> None:
    table = build([[0] * hits + [1] * (4 - hits) for hits in (0, 1, 2, 3)])
    model = np.arange(4) < right
    assert rank(table, model) == percentile


def test_the_percentile_is_on_the_images_that_each_person_has_answered() -> None:
    table = build([[0, -1, -1], [-1, 0, 1], [-1, -1, -1]])
    model = np.array([False, True, True])
    assert rank(table, model) == 50  # below the first, above the second; the third has no answers
    assert rank(build([[-1, -1]]), model[:2]) is None


def test_the_difference_is_of_means_and_pairs_the_images() -> None:
    table = draw(3, people=30)
    model = draw_probabilities(1, table.truth, 2.0).argmax(axis=1) == table.truth
    found, _ = estimate_difference(table, model, sampler())
    expected = model.mean() - table.correct.mean()
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert found.low is not None
    assert found.high is not None
    assert found.low < expected < found.high
    # A model that errs as people do is compared more exactly than one that errs elsewhere.
    like_people = table.correct.mean(axis=0) > np.median(table.correct.mean(axis=0))
    shuffled = np.random.default_rng(0).permutation(like_people)
    near, far = (estimate_difference(table, each, sampler())[0] for each in (like_people, shuffled))
    assert (near.high or 0) - (near.low or 0) < (far.high or 0) - (far.low or 0)


@pytest.mark.parametrize("skill", np.linspace(0.8, 2.4, 9))
def test_p_is_below_5_percent_just_where_the_interval_does_not_hold_nothing(skill: float) -> None:
    table = draw(3)
    model = draw_probabilities(1, table.truth, skill).argmax(axis=1) == table.truth
    found, chance = estimate_difference(table, model, sampler())
    assert found.low is not None
    assert found.high is not None
    assert (chance.p < 0.05) == (not found.low <= 0 <= found.high)
    assert (chance.n, 0 < chance.p <= 1) == (12, True)


@pytest.mark.parametrize("images", [1, 2, 6])
def test_few_images_prove_nothing(images: int) -> None:
    """Everybody wrong and the model right: no draw says otherwise, as the draws are all alike."""
    table = build([[1] * images] * 6, private=[at == 0 for at in range(images)])
    found, chance = estimate_difference(table, np.ones(images, dtype=bool), sampler())
    assert (found.value, found.low, found.high) == (1, None, None)
    assert chance.p == 2.0 ** (1 - images)
    gap, _ = estimate_visibility_gaps(build([[0, 1]] * 6, private=[False, True]), {}, sampler())
    assert (gap.value, gap.low, gap.high) == (1, None, None)


def test_people_who_differ_make_the_difference_less_sure_and_the_permutations_not() -> None:
    # The model is always right, and so are eight of ten people; or each on eight of ten images.
    split = build([[0] * 40] * 8 + [[1] * 40] * 2)
    alike = build([np.roll([0] * 8 + [1] * 2, at).tolist() * 4 for at in range(10)])
    found, other = (compare(each, each.truth, sampler()) for each in (split, alike))
    assert found.difference.value == pytest.approx(other.difference.value) == pytest.approx(0.2)
    assert found.permutation.p == other.permutation.p < 0.001
    assert found.difference_test.p > 0.05 > other.difference_test.p


def test_gaps_between_the_sets() -> None:
    # People: 3 of 4 public, 1 of 4 private right. The model: 2 of 2 and 0 of 2.
    table = build([[0, 0, 0, 1], [0, 1, 1, 1]], private=[False, True, False, True])
    model = np.array([True, False, True, False])
    people, gaps = estimate_visibility_gaps(table, {"m": model}, sampler())
    assert people.value == pytest.approx(0.75 - 0.25, abs=1e-9)
    assert gaps["m"].value == pytest.approx(1.0 - 0.5, abs=1e-9)
    alone = build([[0, 0]], private=[False, False])
    people, gaps = estimate_visibility_gaps(alone, {"m": model[:2]}, sampler())
    assert people.undefined == gaps["m"].undefined == "needs answers to images of both sets"


def test_a_gap_is_found_where_it_was_planted_and_not_where_not() -> None:
    table = draw(4, people=40)
    cheat = ~table.private | (draw_probabilities(5, table.truth, 1.0).argmax(axis=1) == table.truth)
    fair = draw_probabilities(6, table.truth, 2.0).argmax(axis=1) == table.truth
    _, gaps = estimate_visibility_gaps(table, {"cheat": cheat, "fair": fair}, sampler())
    assert (gaps["cheat"].low or 0) > 0.2
    assert (gaps["fair"].low or 1) < 0 < (gaps["fair"].high or -1)
