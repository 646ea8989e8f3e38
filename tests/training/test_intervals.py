"""Intervals that know who is on the pictures: against scikit-learn, SciPy, and planted people.

``pytest -s tests/training/test_intervals.py`` prints how often they hold what was planted.
"""

import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import f1_score

from kfer import metrics
from kfer.metrics import Estimate
from training.intervals import estimate_accuracy, estimate_macro_f1, number_persons

CLASSES = 4


def draw(
    rng: np.random.Generator, people: int, each: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Truths, answers and persons; the model is good at some people and bad at others."""
    skill = np.repeat(rng.beta(3.5, 1.5, people), each)  # 0.7 on average
    truth = rng.choice(CLASSES, people * each, p=[0.4, 0.3, 0.2, 0.1])
    wrong = (truth + rng.integers(1, CLASSES, len(truth))) % CLASSES
    answers = np.where(rng.random(len(truth)) < skill, truth, wrong)
    return truth, answers, np.repeat(np.arange(people), each)


def test_persons_are_numbered_and_those_unknown_count_one_each() -> None:
    found = number_persons(["kim", "", "lee", "kim", ""])
    assert found is not None
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 4


@pytest.mark.parametrize("persons", [[], ["", ""], ["kim", "kim", ""]])
def test_of_fewer_than_two_persons_nothing_is_learned_about_others(persons: list[str]) -> None:
    assert number_persons(persons) is None


def test_without_persons_accuracy_has_wilsons_interval() -> None:
    truth, answers, _ = draw(np.random.default_rng(0), 20, 10)
    assert estimate_accuracy(truth, answers, None) == metrics.estimate_accuracy(truth, answers)


def test_the_interval_is_that_of_the_persons_shares_where_all_have_as_many_pictures() -> None:
    truth, answers, persons = draw(np.random.default_rng(1), 12, 30)
    found = estimate_accuracy(truth, answers, persons)
    shares = (truth == answers).reshape(12, 30).mean(axis=1)
    mean, error = shares.mean(), stats.sem(shares)
    assert (found.value, found.n) == (pytest.approx(mean), 360)
    reach = stats.t.ppf(0.975, 11) * error / (mean * (1 - mean))  # on the logit scale
    ends = 1 / (1 + np.exp(-(np.log(mean / (1 - mean)) + np.array([-reach, reach]))))
    assert (found.low, found.high) == pytest.approx(tuple(ends))


@pytest.mark.parametrize("known", [True, False])
def test_macro_f1_leaves_out_one_after_the_other(known: bool) -> None:
    truth, answers, persons = draw(np.random.default_rng(2), 9, 7)
    found = estimate_macro_f1(truth, answers, CLASSES, persons if known else None)
    assert found.value == pytest.approx(f1_score(truth, answers, average="macro"))
    cases = persons if known else np.arange(len(truth))
    others = [
        f1_score(truth[cases != case], answers[cases != case], average="macro")
        for case in range(cases.max() + 1)
    ]
    error = np.sqrt((len(others) - 1) * np.var(others))
    reach = stats.t.ppf(0.975, len(others) - 1) * error / (found.value * (1 - found.value))
    assert np.log(found.high / (1 - found.high)) - np.log(
        found.value / (1 - found.value)
    ) == pytest.approx(reach)
    assert found.low < found.value < found.high


def test_a_class_that_is_neither_there_nor_answered_counts_as_zero() -> None:
    truth, answers, persons = draw(np.random.default_rng(3), 5, 40)
    found = estimate_macro_f1(truth, answers, CLASSES + 1, persons)
    assert found.value == pytest.approx(
        f1_score(truth, answers, labels=range(CLASSES + 1), average="macro", zero_division=0)
    )


@pytest.mark.parametrize("right", [True, False])
def test_where_all_are_alike_the_interval_is_that_of_so_many_persons(right: bool) -> None:
    truth, persons = np.zeros(40, dtype=np.int64), np.repeat(np.arange(8), 5)
    answers = truth if right else truth + 1
    wilson = metrics.estimate_accuracy([1] * 8, [int(right)] * 8)
    found = estimate_accuracy(truth, answers, persons)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high))
    assert found.n == 40


def cover(
    estimate: Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], Estimate],
    people: int,
    planted: float,
) -> float:
    rng = np.random.default_rng(people)
    found = [estimate(*draw(rng, people, 20)) for _ in range(600)]
    return float(np.mean([each.low <= planted <= each.high for each in found]))


@pytest.mark.slow
@pytest.mark.parametrize("people", [12, 40])
def test_intervals_hold_what_was_planted(people: int, capsys: pytest.CaptureFixture[str]) -> None:
    truth, answers, _ = draw(np.random.default_rng(99), 400_000, 5)
    planted_f1 = f1_score(truth, answers, average="macro")
    clustered = cover(estimate_accuracy, people, 0.7)
    f1 = cover(lambda t, a, p: estimate_macro_f1(t, a, CLASSES, p), people, planted_f1)
    plain = cover(lambda t, a, _: estimate_accuracy(t, a, None), people, 0.7)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{people} people: accuracy {clustered:.3f}, F1 {f1:.3f}, Wilson {plain:.3f}\n"
        )
    assert 0.925 <= clustered <= 0.975
    assert 0.925 <= f1 <= 0.975
    assert plain < 0.85  # what persons are for
