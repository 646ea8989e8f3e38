"""Action units -> a network's answers, by multinomial logistic regression: what explains them.

The one definition of ``action_units.json``: `training explain` writes it, a bundle carries it, the
page shows it. It is about the answers to all pictures that it was fitted on, never about one photo.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfer.errors import BundleError, TaxonomyError
from kfer.labels import get_taxonomy

Row = tuple[float, ...]
Matrix = tuple[Row, ...]

_UNIT = re.compile(r"AU\d{2}")


@dataclass(frozen=True)
class Surrogate:
    """Logits = intercepts + coefficients x (intensities - means), in ``labels`` order.

    ``coefficients``, ``low`` and ``high`` are (labels, units), per unit of intensity; the 95 %
    intervals come from resampled persons. ``agreement`` is the share of pictures, each left out of
    the fit once, that it answers as what it learned from does. ``counts`` says on how many pictures
    each label was the answer; ``rendered`` that they show no real people. ``weights_sha256`` names
    the network whose answers were learned, None the annotators' labels.
    """

    taxonomy: str
    labels: tuple[str, ...]
    units: tuple[str, ...]
    means: Row
    intercepts: Row
    coefficients: Matrix
    low: Matrix
    high: Matrix
    counts: tuple[int, ...]
    agreement: float
    rendered: bool
    weights_sha256: str | None

    @property
    def target(self) -> str:
        return "labels" if self.weights_sha256 is None else "network"

    @property
    def pictures(self) -> int:
        return sum(self.counts)

    @property
    def baseline(self) -> float:
        """The agreement of whoever always gives the commonest answer."""
        return max(self.counts) / self.pictures

    @property
    def explained(self) -> tuple[str, ...]:
        """Labels that were the answer on as many pictures as there are units, at least.

        With fewer, the coefficients tell of the regression's penalty rather than of the answers.
        """
        pairs = zip(self.labels, self.counts, strict=True)
        return tuple(label for label, count in pairs if count >= len(self.units))


def load_surrogate(path: Path) -> Surrogate:
    """Raises BundleError when the file is damaged, saying where."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        surrogate = Surrogate(**{name: _freeze(value) for name, value in fields.items()})
        _check(surrogate)
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, TaxonomyError) as error:
        raise BundleError(
            f"{path.parent.name}/{path.name} is no explanation by action units ({error}). "
            "Delete it, and make it again with: python -m training explain."
        ) from None
    return surrogate


def _freeze(value: Any) -> Any:
    return tuple(map(_freeze, value)) if isinstance(value, list) else value


def _check(surrogate: Surrogate) -> None:
    """Raises ValueError, TypeError or TaxonomyError for what cannot be shown."""
    labels, units = surrogate.labels, surrogate.units
    _demand(_are_some_of(get_taxonomy(surrogate.taxonomy).labels, labels), "labels")
    _demand(len(set(units)) == len(units) > 0 and all(map(_UNIT.fullmatch, units)), "units")
    _demand(_is_row(surrogate.means, len(units)), "means")
    _demand(_is_row(surrogate.intercepts, len(labels)), "intercepts")
    for name in ("coefficients", "low", "high"):
        matrix = getattr(surrogate, name)
        right = len(matrix) == len(labels) and all(_is_row(row, len(units)) for row in matrix)
        _demand(right, name)
    pairs = zip(sum(surrogate.low, ()), sum(surrogate.high, ()), strict=True)
    _demand(all(low <= high for low, high in pairs), "low and high")
    counts = surrogate.counts
    _demand(_is_row(counts, len(labels)) and min(counts) >= 0 and sum(counts) > 0, "counts")
    _demand(0 <= surrogate.agreement <= 1, "agreement")
    _demand(isinstance(surrogate.rendered, bool), "rendered")


def _demand(right: bool, field: str) -> None:
    if not right:
        raise ValueError(f"its {field} do not fit the rest")


def _are_some_of(known: Sequence[str], labels: Sequence[str]) -> bool:
    return len(labels) >= 2 and list(labels) == [label for label in known if label in labels]


def _is_row(row: Sequence[float], size: int) -> bool:
    return len(row) == size and all(map(math.isfinite, row))
