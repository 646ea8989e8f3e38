"""Do 95 % intervals hold the truth in 95 % of studies? Planted people and images, drawn anew.

``python -m tests.benchmarks.precision`` has the figures of more studies, which are the ones told.
"""

import pytest

from survey.charts.tables import COVERAGE
from tests.survey.statistics.simulated import measure_coverage

STUDIES = 300
SLACK = 0.025  # two standard errors of a coverage of 95 % in so many studies


@pytest.mark.slow
@pytest.mark.parametrize(("people", "told"), COVERAGE.items())
def test_intervals_cover_what_is_told(people: int, told: tuple[float, float]) -> None:
    coverage = measure_coverage(people, STUDIES)
    assert coverage.min() >= told[0] / 100 - SLACK
    assert coverage.max() <= told[1] / 100 + SLACK


def test_what_is_told_is_near_what_intervals_promise() -> None:
    assert all(92 <= low <= high <= 99 for people, (low, high) in COVERAGE.items() if people >= 5)
