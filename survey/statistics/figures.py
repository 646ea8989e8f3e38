"""A number as a paper would quote it, or the reason why there is none."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95
ROUNDING = 1e-12


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval and the number ``n`` of cases it rests on.

    ``value`` is None where the figure is ``undefined``, which then says why; ``low`` and ``high``
    are None where there is a value but no interval.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    undefined: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def explain(reason: str, n: int = 0) -> Figure:
    """An undefined figure."""
    return Figure(None, None, None, n, reason)


def estimate_share(hits: float, n: int) -> Figure:
    """A share of independent cases with Wilson's (1927) interval."""
    return estimate_shares([hits], [n])[0]


def estimate_shares(hits: ArrayLike, n: ArrayLike) -> list[Figure]:
    """As ``estimate_share``, for many shares at once."""
    counts, totals = np.asarray(hits), np.asarray(n)
    low, high = proportion_confint(counts, np.maximum(totals, 1), 1 - LEVEL, method="wilson")
    return [
        Figure(float(hit / total), float(bottom), float(top), int(total))
        if total
        else explain("no answers")
        for hit, total, bottom, top in zip(counts, totals, low, high, strict=True)
    ]


def take_interval(value: float, draws: NDArray[np.float64], n: int) -> Figure:
    """The value with the percentile interval of its draws; undefined ones are left out.

    Draws that are all the same tell nothing of how far off the value may be: no interval.
    """
    known = draws[np.isfinite(draws)]
    if not np.isfinite(value):
        return explain("not a number for these answers", n)
    if known.size == 0 or np.ptp(known) < ROUNDING:
        return Figure(float(value), None, None, n)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(float(value), float(low), float(high), n)
