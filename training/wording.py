"""Figures -> the sentences and tables that card and report share."""

import re
from dataclasses import dataclass

from kfer.labels import get_taxonomy
from kfer.metrics import Estimate
from training.evaluate import Evaluation, HeadFigures

TRAINING_PART = "the training part"


@dataclass(frozen=True)
class Table:
    """Texts as they are to be read; Markdown and HTML are escaped where they are written."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def to_markdown(self) -> str:
        head, *rows = [
            "|" + "".join(f" {escape_markdown(cell)} |" if cell else " |" for cell in row)
            for row in (self.columns, *self.rows)
        ]
        return "\n".join([head, f"|{'---|' * len(self.columns)}", *rows])


def escape_markdown(text: str) -> str:
    """On one line, without markup or HTML."""
    return re.sub(r"([\\`*_\[\]<>&|~$])", r"\\\1", " ".join(text.split()))


def percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def tell_interval(estimate: Estimate) -> str:
    return f"{percent(estimate.low)} to {percent(estimate.high)}"


def describe_calibration(cross_fitted: bool) -> str:
    """What the figures of calibration are measured with."""
    if cross_fitted:
        return (
            "The bundle's epoch, temperatures and threshold were chosen on these very pictures, so "
            "accuracy flatters slightly; ECE, Brier score and the share that is sure are "
            "cross-fitted: five folds, each measured with a temperature and a threshold of the "
            "others."
        )
    return (
        "ECE, Brier score and the share that is sure are measured with the temperatures and the "
        "threshold that stand in the bundle."
    )


def describe_people(head: HeadFigures, where: str) -> str:
    """Which kind of interval these are, and how many people flatter, for they stand ``where``."""
    if head.by_person:
        unnamed = (
            f" ({head.unnamed} pictures of nobody known count as a person each)"
            if head.unnamed
            else ""
        )
        intervals = (
            f"Intervals are by person: a jackknife over {head.persons} people{unnamed}, with "
            "Student's t on the logit scale."
        )
    else:
        known = "only one person is known" if head.persons else "nobody on them is known"
        intervals = (
            "Intervals count every picture as a case of its own (Wilson's of 1927 for accuracy, a "
            f"jackknife for macro F1): {known}, and they may be too narrow."
        )
    if head.shared_persons is None:
        return (
            f"{intervals} Whether the model, or one that it learned from or began with, has "
            "learned any of them is not known."
        )
    if head.shared_persons:
        return (
            f"{intervals} {head.shared_persons} of the {head.persons} people stand in {where}: "
            "the figures flatter."
        )
    return f"{intervals} None of them stands in {where}." if head.by_person else intervals


def describe_sureness(evaluation: Evaluation) -> str:
    """Nothing where the bundle is never sure, or promises nothing."""
    sure = evaluation.sureness
    if sure is None:
        return ""
    chosen = ", with thresholds chosen on the other folds," if evaluation.cross_fitted else ""
    return (
        f'Below a probability of {sure.threshold:.2f} a reading is called "not sure". On '
        f"{evaluation.data} ({evaluation.heads[0].taxonomy}){chosen} "
        f"{percent(sure.covered)} of faces lie above, and {percent(sure.accuracy_when_sure)} of "
        "those answers are right."
    )


def describe_robustness(evaluation: Evaluation) -> str:
    return f"Points of accuracy that {evaluation.data} loses when its pictures are made worse."


def tabulate_classes(head: HeadFigures) -> Table:
    """With macro and weighted means below."""
    taxonomy = get_taxonomy(head.taxonomy)
    rows = [
        (
            f"{label} {taxonomy.to_english(label)}",
            each.precision,
            each.recall,
            each.f1,
            each.support,
        )
        for label, each in head.classes.items()
    ]
    macro = (head.macro_precision, head.macro_recall, head.macro_f1)
    weighted = (head.weighted_precision, head.weighted_recall, head.weighted_f1)
    rows += [
        ("macro mean", *macro, head.accuracy.n),
        ("weighted mean", *weighted, head.accuracy.n),
    ]
    return Table(
        ("class", "precision", "recall", "F1", "pictures"),
        [
            (name, f"{precision:.3f}", f"{recall:.3f}", f"{f1:.3f}", str(n))
            for name, precision, recall, f1, n in rows
        ],
    )


def tabulate_confusion(taxonomy: str, confusion: list[list[int]]) -> Table:
    labels = get_taxonomy(taxonomy).labels
    rows = [(label, *map(str, counts)) for label, counts in zip(labels, confusion, strict=True)]
    return Table(("", *labels), rows)


def tabulate_robustness(evaluation: Evaluation) -> Table:
    names = [head.taxonomy for head in evaluation.heads]
    return Table(
        ("", *names, "goal: at most"),
        [
            (each.condition, *(f"{each.losses[name]:.1f}" for name in names), f"{each.goal:.0f}")
            for each in evaluation.robustness
        ],
    )
