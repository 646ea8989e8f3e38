"""Accuracies and confusions, against scikit-learn, SciPy and counting by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from survey.statistics.accuracy import (
    compute_mean,
    draw_means,
    estimate_mean,
    score_model,
    score_participants,
)
from survey.statistics.confusion import (
    Confusion,
    compute_balanced_accuracy,
    compute_label_figures,
    compute_macro_f1,
    compute_weighted_f1,
    confuse_model,
    confuse_people,
)
from survey.statistics.figures import estimate_share, take_interval
from survey.statistics.resampling import Sampler
from tests.survey.statistics.planted import K, build, draw, draw_probabilities


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 7), (50, 100), (100, 100)])
def test_shares_have_wilsons_interval(hits: int, n: int) -> None:
    figure = estimate_share(hits, n)
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert (figure.value, figure.n, figure.undefined) == (hits / n, n, None)
    assert figure.low == pytest.approx(expected.low, abs=1e-9)
    assert figure.high == pytest.approx(expected.high, abs=1e-9)


def test_a_share_of_nothing_says_so() -> None:
    assert estimate_share(0, 0).to_json() == {
        "value": None, "low": None, "high": None, "n": 0, "undefined": "no answers"
    }  # fmt: skip


def test_cannot_tell_counts_as_wrong_and_beside_it_not_at_all() -> None:
    table = build([[0, 0, 1, K], [K, K, K, K], [0, -1, -1, -1]])
    scores = score_participants(table)
    assert [score.value for score in scores] == [0.5, 0.0, 1.0]
    assert [score.n for score in scores] == [4, 4, 1]
    assert compute_mean(table.without_cannot_tell()) == 3 / 4


def test_the_mean_is_over_the_answers_that_there_are() -> None:
    table = build([[0, 0, 1, K], [0, -1, -1, -1]])
    assert compute_mean(table) == 3 / 5
    empty = estimate_mean(build(np.full((2, 3), -1)), Sampler())
    assert empty.undefined == "no answers"


def draw_pigeonholes(correct: np.ndarray, draws: int) -> np.ndarray:
    """Owen's (2007) bootstrap in full: people and images drawn anew, answer by answer."""
    rng = np.random.default_rng(5)
    people, images = correct.shape
    return np.array(
        [
            correct[rng.integers(0, people, people)][:, rng.integers(0, images, images)].mean()
            for _ in range(draws)
        ]
    )


def test_the_two_way_bootstrap_is_owens_but_for_what_is_left_and_without_its_bias() -> None:
    table = draw(3, people=12)
    correct = table.correct.astype(float)
    left = correct - correct.mean(1, keepdims=True) - correct.mean(0) + correct.mean()
    quick = draw_means(table.correct, table.answered, Sampler(1, 20_000))
    full = draw_pigeonholes(table.correct, 20_000)
    assert quick.mean() == pytest.approx(table.correct.mean(), abs=0.001)
    by_person, by_image = correct.mean(axis=1).var(), correct.mean(axis=0).var()
    owens = by_person / 12 + by_image / 100 + left.var() / left.size
    assert full.var() == pytest.approx(owens, rel=0.03)
    assert quick.var() == pytest.approx(by_person / 11 + by_image / 99, rel=0.03)


@pytest.mark.parametrize(("hit", "cases"), [(1, 5), (0, 5)])
def test_where_all_are_right_or_wrong_the_interval_is_wilsons_of_the_fewer(
    hit: int, cases: int
) -> None:
    figure = estimate_mean(build(np.full((cases, 20), 1 - hit)), Sampler())
    expected = binomtest(hit * cases, cases).proportion_ci(method="wilson")
    assert (figure.value, figure.n) == (hit, cases)
    assert (figure.low, figure.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_interval_of_a_share_ends_at_everything() -> None:
    answers = np.zeros((5, 20))
    answers[0, :4] = answers[1, 3] = 1
    table = build(answers)
    assert draw_means(table.correct, table.answered, Sampler()).max() > 1
    assert estimate_mean(table, Sampler()).high == 1


def test_it_is_wider_than_drawing_people_alone_where_images_differ() -> None:
    hard = np.array(
        [[1] * 50 + [0] * 50] * 20
    )  # all people alike: images alone make the difference
    table = build(hard)
    draws = draw_means(table.correct, table.answered, Sampler(1))
    by_people = np.random.default_rng(2).choice(hard.mean(axis=1), (2000, 20)).mean(axis=1)
    assert by_people.std() == 0
    assert draws.std() == pytest.approx(0.05, rel=0.1)  # sqrt(0.5 * 0.5 / 100)


def test_missing_answers_weigh_nothing() -> None:
    table = draw(4, people=20, missing=0.3)
    filled = build(np.where(table.answered, table.answers, 3), table.truth.tolist())
    one = draw_means(table.correct, table.answered, Sampler(1))
    other = draw_means(filled.correct, table.answered, Sampler(1))
    assert np.array_equal(one, other)


def test_an_interval_leaves_out_undefined_draws() -> None:
    figure = take_interval(0.5, np.array([np.nan, 0.4, 0.5, 0.6]), 3)
    assert (figure.low, figure.high) == (pytest.approx(0.405), pytest.approx(0.595))
    assert take_interval(0.5, np.array([np.nan]), 3).low is None


def test_confusions_are_scikit_learns() -> None:
    table = draw(6, people=9, missing=0.1)
    truths = np.broadcast_to(table.truth, table.answers.shape)[table.answered]
    said = table.answers[table.answered]
    confusion = confuse_people(table)
    expected = metrics.confusion_matrix(truths, said, labels=range(K + 1))
    assert np.array_equal(confusion.counts, expected[:K])
    report = metrics.precision_recall_fscore_support(truths, said, labels=range(K))
    for at, figures in enumerate(compute_label_figures(confusion)):
        found = figures.precision, figures.recall.value, figures.f1, figures.recall.n
        assert found == pytest.approx([column[at] for column in report], abs=1e-9)
        # Answers of one person, or to one image, are no independent cases.
        assert (figures.recall.low, figures.recall.high) == (None, None)
    for figures in compute_label_figures(confuse_model(table, table.truth)):
        assert figures.recall.low is not None
        assert figures.recall.low < figures.recall.high == 1
    labels = {"labels": list(range(K)), "zero_division": 0}
    for average, compute in (("macro", compute_macro_f1), ("weighted", compute_weighted_f1)):
        wanted = metrics.f1_score(truths, said, average=average, **labels)
        assert compute(confusion) == pytest.approx(wanted, abs=1e-9)
    recalls = metrics.recall_score(truths, said, average="macro", **labels)
    assert compute_balanced_accuracy(confusion) == pytest.approx(recalls, abs=1e-9)


def test_macro_and_weighted_f1_differ_where_emotions_are_uneven() -> None:
    counts = np.zeros((2, 3), dtype=np.int64)
    counts[0, 0], counts[0, 1], counts[1, 0] = 80, 10, 10
    confusion = Confusion(("a", "b"), counts, independent=True)
    # F1 is 2*80 / (90 + 90) for a and 0 for b.
    assert compute_macro_f1(confusion) == pytest.approx(8 / 9 / 2, abs=1e-9)
    assert compute_weighted_f1(confusion) == pytest.approx(0.9 * 8 / 9, abs=1e-9)


def test_leaving_out_cannot_tell_raises_recall_and_leaves_precision() -> None:
    confusion = confuse_people(build([[0, 0, 1, K]], truth=[0, 0, 1, 1]))
    whole, told = (
        compute_label_figures(each) for each in (confusion, confusion.without_cannot_tell())
    )
    assert (whole[1].recall.value, told[1].recall.value) == (0.5, 1.0)
    assert (whole[1].precision, told[1].precision) == (1.0, 1.0)
    assert whole[2].recall.undefined == "no answers"
    assert (whole[2].precision, whole[2].f1) == (None, None)


def test_a_models_confusion_and_score() -> None:
    table = draw(8)
    answers = draw_probabilities(1, table.truth, 2.0).argmax(axis=1).astype(np.int16)
    confusion = confuse_model(table, answers)
    expected = metrics.confusion_matrix(table.truth, answers, labels=range(K))
    assert np.array_equal(confusion.counts[:, :K], expected)
    assert not confusion.counts[:, K].any()
    hits = int((answers == table.truth).sum())
    assert score_model(table, answers) == estimate_share(hits, 100)


def test_shares_are_of_each_emotions_answers() -> None:
    shares = confuse_people(build([[0, 1, K]], truth=[0, 0, 0])).shares
    assert shares[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0, 0, 1 / 3])
    assert np.isnan(shares[1:]).all()
