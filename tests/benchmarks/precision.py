"""How wide a study's intervals are: ``python -m tests.benchmarks.precision``.

For whoever decides how many people and images a study needs. People and images of planted skill and
ease, half of the images private, as the test of coverage draws them; half the width of the 95 %
interval in percentage points, in the middle of many such studies.
"""

import numpy as np

from survey.statistics.figures import Figure
from tests.benchmarks.report import print_header, print_table
from tests.survey.statistics.test_coverage import DRAWS, estimate_study

PEOPLE = (5, 10, 20, 40, 80)
IMAGES = (50, 100, 200)
STUDIES = 60


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
    print_header({"studies": f"{STUDIES} of each size, {DRAWS} resamples"})
    names = ["mean of people", "model against people", "public against private", "model beyond it"]
    for images in IMAGES:
        rows = [
            [str(people), *(f"{width:.1f}" for width in measure_widths(people, images))]
            for people in PEOPLE
        ]
        print_table(f"{images} images, half the width in points", ["people", *names], rows)


if __name__ == "__main__":
    main()
