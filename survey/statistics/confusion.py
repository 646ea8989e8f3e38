"""What is taken for what, and the figures that follow from it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from survey.statistics.figures import Figure, estimate_shares
from survey.statistics.table import AnswerTable


@dataclass(frozen=True)
class LabelFigures:
    """Of one emotion. ``recall`` is the share of its images seen as such.

    It has Wilson's interval where answers are independent: a model's, one to each image.
    """

    label: str
    precision: float | None
    recall: Figure
    f1: float | None


@dataclass(frozen=True, eq=False)
class Confusion:
    """``counts`` (K, K + 1): rows are the truth, columns the answers, "cannot tell" the last.

    ``independent``: no two answers are of the same person or to the same image.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    independent: bool

    @property
    def shares(self) -> NDArray[np.float64]:
        """(K, K + 1) each row of all answers to that emotion; NaN rows where there are none."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.where(totals > 0, self.counts / np.maximum(totals, 1), np.nan)

    def without_cannot_tell(self) -> "Confusion":
        """As if nobody had been offered it: the accuracies "when told"."""
        counts = self.counts.copy()
        counts[:, -1] = 0
        return replace(self, counts=counts)


def confuse_people(table: AnswerTable) -> Confusion:
    """All answers of all people."""
    onehot = np.eye(table.cannot_tell, dtype=np.int64)[table.truth]
    return Confusion(table.labels.labels, onehot.T @ table.counts, independent=False)


def confuse_model(table: AnswerTable, answers: NDArray[np.int16]) -> Confusion:
    width = table.cannot_tell + 1
    cells = table.truth.astype(np.int64) * width + answers
    counts = np.bincount(cells, minlength=table.cannot_tell * width)
    shaped = counts.reshape(table.cannot_tell, width)
    return Confusion(table.labels.labels, shaped, independent=True)


def compute_label_figures(confusion: Confusion) -> list[LabelFigures]:
    """Precision and F1 are None where nothing was answered so, and nothing was so."""
    square = confusion.counts[:, :-1]
    hits = np.diag(square)
    truths, answered = confusion.counts.sum(axis=1), square.sum(axis=0)
    recalls = estimate_shares(hits, truths)
    if not confusion.independent:
        recalls = [replace(recall, low=None, high=None) for recall in recalls]
    return [
        LabelFigures(
            label,
            float(hit / said) if said else None,
            recall,
            float(2 * hit / (said + there)) if said + there else None,
        )
        for label, hit, said, there, recall in zip(
            confusion.labels, hits, answered, truths, recalls, strict=True
        )
    ]


def compute_macro_f1(confusion: Confusion) -> float | None:
    """Mean F1 over the emotions for which it is defined."""
    known = [figures.f1 for figures in compute_label_figures(confusion) if figures.f1 is not None]
    return float(np.mean(known)) if known else None


def compute_weighted_f1(confusion: Confusion) -> float | None:
    """Mean F1, each emotion counting as often as it is there."""
    figures = compute_label_figures(confusion)
    weights = confusion.counts.sum(axis=1)
    values = [each.f1 or 0.0 for each in figures]
    return float(np.average(values, weights=weights)) if weights.sum() else None


def compute_balanced_accuracy(confusion: Confusion) -> float | None:
    """Mean recall over the emotions that are there."""
    known = [
        each.recall.value
        for each in compute_label_figures(confusion)
        if each.recall.value is not None
    ]
    return float(np.mean(known)) if known else None
