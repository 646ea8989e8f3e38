"""How far a study's intervals can be trusted: ``python -m tests.benchmarks.precision``.

People and images of planted skill and ease, half of the images private. How often 95 % intervals
hold the truth; and, for whoever decides how many people and images a study needs, half their width
in percentage points, in the middle of many such studies.
"""

import numpy as np

from survey.charts.tables import COVERAGE
from survey.statistics.figures import Figure
from tests.benchmarks.report import print_header, print_table
from tests.survey.statistics.simulated import (
    DRAWS,
    FIGURES,
    estimate_study,
    measure_coverage,
)

PEOPLE = (5, 10, 20, 40, 80)
IMAGES = (50, 100, 200)
STUDIES = 60
COVERED_STUDIES = 1000  # which tell a coverage to 1.4 points either way


def halve(figure: Figure) -> float:
    """Half the width of its interval, in percentage points."""
    assert figure.low is not None
    assert figure.high is not None
    return 50 * (figure.high - figure.low)


def measure_widths(people: int, images: int) -> list[float]:
    """Of people's mean, the model's difference, people's gap, and the model's gap beyond it."""
    widths = [
        [halve(figure) for figure in estimate_study(seed, people, images)]
        for seed in range(STUDIES)
    ]
    return [float(width) for width in np.median(widths, axis=0)]


def main() -> None:
    print_header({"studies": f"{COVERED_STUDIES} and {STUDIES} of each size, {DRAWS} resamples"})
    rows = [
        [str(people), *(f"{share:.1%}" for share in measure_coverage(people, COVERED_STUDIES))]
        for people in COVERAGE
    ]
    print_table("100 images, intervals that hold the truth", ["people", *FIGURES], rows)
    for images in IMAGES:
        rows = [
            [str(people), *(f"{width:.1f}" for width in measure_widths(people, images))]
            for people in PEOPLE
        ]
        print_table(f"{images} images, half the width in points", ["people", *FIGURES], rows)


if __name__ == "__main__":
    main()
