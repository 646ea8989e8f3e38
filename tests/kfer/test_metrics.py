"""Figures of merit against sums done by hand, each beside the figure it is easily taken for."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from kfer.metrics import (
    compute_averages,
    compute_brier,
    compute_class_figures,
    compute_confusion,
    compute_ece,
    compute_reliability,
    estimate_accuracy,
)

# Ten faces, three classes; class 2 is never answered, class 1 is rare.
TRUTH = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]
ANSWERS = [0, 0, 0, 0, 1, 1, 1, 0, 0, 1]
EXACT = 1e-9


def rows(*confidences: float, classes: int = 4) -> NDArray[np.float64]:
    """Rows that answer class 0 with these confidences and share out the rest."""
    return np.array([[c, *[(1 - c) / (classes - 1)] * (classes - 1)] for c in confidences])


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson 1927, as statsmodels' proportion_confint(method="wilson") computes it."""
    z = 1.959963984540054  # 97.5 % point of the normal distribution
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - reach, middle + reach


@pytest.mark.parametrize(("right", "n"), [(5, 10), (2512, 3589), (1, 3), (0, 7), (7, 7)])
def test_accuracy_has_wilsons_interval(right: int, n: int) -> None:
    found = estimate_accuracy([1] * n, [1] * right + [0] * (n - right))
    assert (found.value, found.n) == (pytest.approx(right / n, abs=EXACT), n)
    assert (found.low, found.high) == pytest.approx(wilson(right, n), abs=EXACT)


def test_wilsons_interval_is_not_the_textbooks_one() -> None:
    # 8 of 10: statsmodels says 0.490162, 0.943318; share +- z * deviation would pass 1.
    found = estimate_accuracy([1] * 10, [1] * 8 + [0] * 2)
    assert (found.low, found.high) == pytest.approx((0.4901624715, 0.9433178485), abs=EXACT)


def test_accuracy_without_cases_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one case, got none"):
        estimate_accuracy([], [])


def test_rows_of_the_confusion_are_the_truth() -> None:
    by_hand = [[4, 2, 0], [1, 1, 0], [1, 1, 0]]
    assert compute_confusion(TRUTH, ANSWERS, 3).tolist() == by_hand
    assert compute_confusion(ANSWERS, TRUTH, 3).tolist() == np.transpose(by_hand).tolist()


def test_the_confusion_has_a_row_for_classes_that_never_occur() -> None:
    assert compute_confusion([1], [1], 3).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_figures_of_each_class_by_hand() -> None:
    first, second, third = compute_class_figures(TRUTH, ANSWERS, 3)
    assert (first.precision, first.recall) == pytest.approx((4 / 6, 4 / 6), abs=EXACT)
    assert (second.precision, second.recall) == pytest.approx((1 / 4, 1 / 2), abs=EXACT)
    assert (third.precision, third.recall, third.f1) == (0, 0, 0)  # never answered
    assert (first.f1, second.f1) == pytest.approx((2 / 3, 1 / 3), abs=EXACT)
    assert [c.support for c in (first, second, third)] == [6, 2, 2]


def test_averages_count_classes_alike_or_by_their_cases() -> None:
    macro, weighted = (compute_averages(TRUTH, ANSWERS, 3, each) for each in ("macro", "weighted"))
    assert macro.f1 == pytest.approx((2 / 3 + 1 / 3 + 0) / 3, abs=EXACT)
    assert weighted.f1 == pytest.approx((6 * 2 / 3 + 2 * 1 / 3 + 2 * 0) / 10, abs=EXACT)
    assert macro.precision == pytest.approx((4 / 6 + 1 / 4 + 0) / 3, abs=EXACT)
    assert weighted.precision == pytest.approx((6 * 4 / 6 + 2 * 1 / 4 + 2 * 0) / 10, abs=EXACT)
    assert macro.recall == pytest.approx((4 / 6 + 1 / 2 + 0) / 3, abs=EXACT)
    assert weighted.recall == pytest.approx(5 / 10, abs=EXACT)  # the accuracy


def test_macro_averages_count_a_class_without_cases_as_zero() -> None:
    assert compute_averages([0, 1], [0, 1], 4, "macro").f1 == pytest.approx(2 / 4, abs=EXACT)


def test_bins_of_reliability_hold_their_right_end_and_none_is_empty() -> None:
    probabilities = rows(0.9, 0.8, 0.81, 0.5)
    low, high = compute_reliability([0, 1, 0, 0], probabilities, bins=5)[0::2]
    assert (low.low, low.high, low.n) == (0.4, 0.6, 1)
    assert (high.low, high.high, high.n) == (0.8, 1.0, 2)
    assert (high.confidence, high.accuracy) == pytest.approx((0.855, 1.0), abs=EXACT)
    assert [each.n for each in compute_reliability([0, 1, 0, 0], probabilities, bins=5)] == [
        1,
        1,
        2,
    ]


def test_ece_weighs_each_bins_gap_by_its_cases() -> None:
    # Ten bins: three answers at 0.95 of which two are right, one at 0.55 that is right.
    probabilities = rows(0.95, 0.95, 0.95, 0.55)
    by_hand = 3 / 4 * abs(2 / 3 - 0.95) + 1 / 4 * abs(1 - 0.55)
    assert compute_ece([0, 0, 1, 0], probabilities, bins=10) == pytest.approx(by_hand, abs=EXACT)
    largest = max(abs(2 / 3 - 0.95), abs(1 - 0.55))  # the maximum calibration error
    assert abs(by_hand - largest) > 0.05


def test_ece_lets_gaps_cancel_within_a_bin_only() -> None:
    probabilities = rows(0.9, 0.6)
    truth = [1, 0]  # one too sure by 0.9, one too unsure by 0.4
    assert compute_ece(truth, probabilities, bins=1) == pytest.approx(0.5 / 2, abs=EXACT)
    assert compute_ece(truth, probabilities, bins=15) == pytest.approx(1.3 / 2, abs=EXACT)


def test_ece_uses_fifteen_bins() -> None:
    # 0.61 and 0.66 share the bin from 9/15 to 10/15; with ten or twenty bins they do not.
    probabilities = rows(0.61, 0.66)
    together = abs((0.61 - 1) + 0.66) / 2
    apart = (abs(0.61 - 1) + 0.66) / 2
    assert compute_ece([0, 1], probabilities) == pytest.approx(together, abs=EXACT)
    assert compute_ece([0, 1], probabilities, bins=20) == pytest.approx(apart, abs=EXACT)


def test_a_confidence_of_one_falls_into_the_last_bin() -> None:
    assert compute_ece([0, 0], rows(1.0, 1.0)) == 0
    # Together with 0.99: (1 - 1) + (0 - 0.99).
    assert compute_ece([0, 1], rows(1.0, 0.99)) == pytest.approx(0.99 / 2, abs=EXACT)
    assert compute_ece([1, 0], rows(1.0, 0.99)) == pytest.approx((1 - 0.01) / 2, abs=EXACT)


def test_a_bin_holds_its_upper_bound_and_not_its_lower() -> None:
    # Four bins: 0.5 belongs with 0.45, not with 0.7.
    probabilities = rows(0.45, 0.5, 0.7)
    truth = [1, 0, 0]
    by_hand = (abs((0 - 0.45) + (1 - 0.5)) + abs(1 - 0.7)) / 3
    left_closed = (abs(0 - 0.45) + abs((1 - 0.5) + (1 - 0.7))) / 3
    assert compute_ece(truth, probabilities, bins=4) == pytest.approx(by_hand, abs=EXACT)
    assert abs(by_hand - left_closed) > 0.1


def test_ece_measures_the_top_answer_alone() -> None:
    # 0.6 on the answer, which is right; where the rest goes does not matter.
    for rest in ([0.4, 0.0], [0.2, 0.2]):
        assert compute_ece([0], [[0.6, *rest]]) == pytest.approx(0.4, abs=EXACT)


@pytest.mark.parametrize("classes", [2, 7, 8])
def test_brier_of_not_knowing(classes: int) -> None:
    uniform = np.full((5, classes), 1 / classes)
    truth = np.arange(5) % classes
    by_hand = (1 - 1 / classes) ** 2 + (classes - 1) / classes**2
    assert compute_brier(truth, uniform) == pytest.approx(by_hand, abs=EXACT)
    assert by_hand == pytest.approx(1 - 1 / classes)


def test_brier_sums_over_the_classes() -> None:
    # Halved (scikit-learn's two-class score) or averaged over the classes it would differ.
    assert compute_brier([0], [[0.7, 0.3]]) == pytest.approx(0.09 + 0.09, abs=EXACT)
    by_hand = ((0.3**2 + 0.2**2 + 0.1**2) + (0.5**2 + 0.9**2 + 0.4**2)) / 2
    found = compute_brier([0, 1], [[0.7, 0.2, 0.1], [0.5, 0.1, 0.4]])
    assert found == pytest.approx(by_hand, abs=EXACT)


def test_brier_of_the_sure_is_zero_or_two() -> None:
    assert compute_brier([2], [[0, 0, 1]]) == 0
    assert compute_brier([0], [[0, 0, 1]]) == 2


def test_brier_does_and_ece_does_not_see_the_order_of_the_others() -> None:
    truth = [1]
    near, far = [[0.5, 0.4, 0.1]], [[0.5, 0.1, 0.4]]
    assert compute_ece(truth, near) == compute_ece(truth, far)
    assert compute_brier(truth, near) < compute_brier(truth, far)
