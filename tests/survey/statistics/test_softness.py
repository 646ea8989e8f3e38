"""Doubt, calibration and response times, against SciPy, kfer.metrics and by hand."""

import numpy as np
import pytest
from scipy.stats import entropy, spearmanr

from kfer.metrics import compute_brier, compute_ece
from survey.statistics.calibration import BINS, measure_calibration
from survey.statistics.figures import Figure
from survey.statistics.resampling import Sampler
from survey.statistics.softness import FLOOR, compare_doubts, correlate
from survey.statistics.table import AnswerTable, ModelColumn
from survey.statistics.timing import measure_by_speed, relate_to_confidence, relate_to_difficulty
from tests.survey.statistics.planted import K, build, draw, draw_probabilities


def sampler() -> Sampler:
    return Sampler(seed=0)


def holds(figure: Figure, value: float) -> bool:
    """The value to 1e-9, within its own interval."""
    assert figure.value == pytest.approx(value, abs=1e-9)
    return (figure.low or 0) <= value <= (figure.high or 0)


def jackknife(table: AnswerTable) -> np.ndarray:
    """By leaving out every single answer: (n - 1) * (entropy - mean entropy of the others)."""
    biases = []
    for column in table.answers.T:
        told = column[column < K]
        rest = [np.bincount(np.delete(told, at), minlength=K) for at in range(len(told))]
        whole = entropy(np.bincount(told, minlength=K), base=2)
        biases.append((len(told) - 1) * (whole - np.mean([entropy(each, base=2) for each in rest])))
    return np.array(biases)


def test_doubts_of_a_model_and_of_people() -> None:
    table = draw(1, people=15)
    model = ModelColumn("m", "m", draw_probabilities(2, table.truth, 2.0))
    found = compare_doubts(table, model, sampler())
    told = table.counts[:, :K] / table.counts[:, :K].sum(axis=1, keepdims=True)
    kl = np.mean([entropy(p, q, base=2) for p, q in zip(told, model.probabilities, strict=True)])
    assert holds(found.divergence, kl - jackknife(table).mean())
    right = table.correct.mean(axis=0)
    of_truth = model.probabilities[np.arange(100), table.truth]
    assert holds(found.difficulty, spearmanr(right, of_truth).statistic)
    entropies = entropy(told, axis=1).round(12), entropy(model.probabilities, axis=1)
    assert holds(found.doubt, spearmanr(*entropies).statistic)


@pytest.mark.parametrize(("people", "most"), [(5, 0.15), (20, 0.02), (200, 0.005)])
def test_the_divergence_of_people_from_what_they_are_drawn_from_is_hardly_any(
    people: int, most: float
) -> None:
    rng = np.random.default_rng(people)
    chances = rng.dirichlet(np.ones(K), 400)
    answers = [rng.choice(K, people, p=row / row.sum()) for row in chances]
    table = build(np.array(answers).T, [0] * 400)
    found = compare_doubts(table, ModelColumn("m", "m", chances), sampler()).divergence
    told = table.counts[:, :K] / people
    plain = entropy(told, np.maximum(chances, FLOOR), base=2, axis=1).mean()
    assert abs(found.value or 1) < most
    assert abs(found.value or 1) < 0.25 * plain


def test_a_model_that_rules_out_what_people_see_diverges_far_but_not_for_ever() -> None:
    table = build([[1, 0, 0]] * 3)
    sure = ModelColumn("m", "m", np.eye(K)[[0, 0, 0]])
    found = compare_doubts(table, sure, sampler())
    assert found.divergence.value == pytest.approx(-np.log2(FLOOR) / 3, rel=1e-3)


def test_correlations_that_are_undefined_say_so() -> None:
    same = correlate(np.ones(5), np.arange(5.0), sampler())
    assert same.undefined == "a rank correlation is undefined: all values are the same"
    few = compare_doubts(build([[0, 1]]), ModelColumn("m", "m", np.eye(K)[:2]), sampler())
    assert "three images" in str(few.doubt.undefined)


def test_calibration_is_that_of_the_metrics() -> None:
    table = draw(3)
    probabilities = draw_probabilities(4, table.truth, 2.0)
    found = measure_calibration(table.truth, probabilities, sampler())
    assert holds(found.brier, compute_brier(table.truth, probabilities))
    assert found.ece.value == pytest.approx(compute_ece(table.truth, probabilities, BINS), abs=1e-9)
    assert (found.ece.low, found.ece.high) == (None, None)
    assert sum(each.right.n for each in found.bins) == 100
    assert all(each.low < each.confidence <= each.high for each in found.bins)
    # ECE put together again from what the diagram shows.
    gaps = [each.right.n * abs((each.right.value or 0) - each.confidence) for each in found.bins]
    assert sum(gaps) / 100 == pytest.approx(found.ece.value, abs=1e-9)


def test_certainty_falls_into_the_last_bin_and_empty_ones_are_left_out() -> None:
    found = measure_calibration(np.zeros(4, dtype=np.int16), np.eye(K)[[0, 0, 0, 1]], sampler())
    assert (found.bins[-1].confidence, found.bins[-1].right.value) == (1.0, 0.75)
    assert len(found.bins) == 1


def test_speed_is_each_persons_own() -> None:
    # The quick person is right, the slow one wrong: within each, speed makes no difference.
    times = np.array([np.arange(10) + 100.0, np.arange(10) + 9000.0])
    table = build([[0] * 10, [1] * 10], response_ms=times)
    assert [part.right.value for part in measure_by_speed(table, sampler())] == [0.5] * 5
    # Everybody's quickest answers are right.
    table = build([[0] * 2 + [1] * 8] * 2, response_ms=times)
    parts = measure_by_speed(table, sampler())
    assert [part.right.value for part in parts] == [1, 0, 0, 0, 0]
    assert parts[0].median_ms == pytest.approx((101 + 9000) / 2)


def test_speed_parts_hold_every_answer_once() -> None:
    table = draw(5, people=8, images=23, missing=0.3)
    parts = measure_by_speed(table, sampler())
    times = [
        np.sort(row[~np.isnan(row)]) for row in table.response_ms if (~np.isnan(row)).sum() >= 5
    ]
    first = np.concatenate([row[: int(np.ceil(len(row) / 5))] for row in times])
    assert parts[0].median_ms == pytest.approx(np.median(first))
    assert measure_by_speed(build([[0, 0, 0, 0]]), sampler()) == []


def test_times_and_difficulty() -> None:
    table = draw(6, people=11, missing=0.1)
    medians = np.nanmedian(table.response_ms, axis=0)
    shares = np.array([
        table.correct[table.answered[:, at], at].mean() for at in range(100)
    ])  # fmt: skip
    expected = spearmanr(medians, shares).statistic
    assert holds(relate_to_difficulty(table, sampler()), expected)
    model = ModelColumn("m", "m", draw_probabilities(7, table.truth, 1.0))
    expected = spearmanr(medians, model.probabilities.max(axis=1)).statistic
    assert holds(relate_to_confidence(table, model, sampler()), expected)
