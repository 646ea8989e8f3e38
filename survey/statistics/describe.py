"""A summary as plain JSON, the same numbers that the page shows."""

from dataclasses import asdict
from typing import Any

from survey.records import find_mapping
from survey.statistics.confusion import (
    Confusion,
    compute_balanced_accuracy,
    compute_label_figures,
    compute_macro_f1,
    compute_weighted_f1,
)
from survey.statistics.figures import Figure
from survey.statistics.summary import ModelSummary, PeopleSummary, Summary
from survey.statistics.table import AnswerTable


def describe_summary(summary: Summary) -> dict[str, Any]:
    """``{"images", "people", "models"}``; figures of people first, then of each model by name."""
    return {
        "images": len(summary.table.images),
        "people": _describe_people(summary.people, len(summary.table.images)),
        "models": {model.name: _describe_model(model, summary.table) for model in summary.models},
    }


def scale(figure: Figure, factor: float) -> Figure:
    """A share as a number of images, with its interval."""
    if figure.value is None:
        return figure
    low, high = (None if end is None else end * factor for end in (figure.low, figure.high))
    return Figure(figure.value * factor, low, high, figure.n)


def _describe_people(people: PeopleSummary, images: int) -> dict[str, Any]:
    return {
        "n": len(people.scores),
        "mean_score": scale(people.mean, images).to_json(),
        "accuracy": people.mean.to_json(),
        "accuracy_when_told": people.when_told.to_json(),
        "by_label": _describe_all(people.by_label),
        "by_visibility": _describe_all(people.by_visibility),
        "public_minus_private": people.gap.to_json(),
        "majority": people.majority.to_json(),
        "crowds": {
            str(size): figure.to_json()
            for size, figure in zip(people.crowd_sizes, people.crowds, strict=True)
        },
        "alpha": people.alpha.to_json(),
        "fleiss_kappa": people.fleiss.to_json(),
        "kappa_with_oneself": people.steadiness.to_json(),
        "error_consistency": asdict(people.consistency),
        "by_speed": [asdict(part) for part in people.by_speed],
        "time_and_difficulty": people.time_and_difficulty.to_json(),
        "classification": _describe_confusion(people.confusion),
    }


def _describe_model(model: ModelSummary, table: AnswerTable) -> dict[str, Any]:
    mapping = find_mapping(model.source, table.labels)
    return {
        "approximation": mapping and mapping.describe(),
        "score": scale(model.accuracy, len(table.images)).to_json(),
        "accuracy": model.accuracy.to_json(),
        "by_label": _describe_all(model.by_label),
        "by_visibility": _describe_all(model.by_visibility),
        "minus_people": model.versus.difference.to_json(),
        "percentile": model.versus.percentile,
        "mcnemar_against_majority": asdict(model.versus.mcnemar),
        "difference_test": asdict(model.versus.difference_test),
        "permutation_over_images": asdict(model.versus.permutation),
        "public_minus_private_beyond_people": model.gap.to_json(),
        "error_consistency": asdict(model.consistency),
        "alpha_with_model": model.alpha.to_json(),
        "softness": asdict(model.softness),
        "calibration": asdict(model.calibration),
        "time_and_confidence": model.time_and_confidence.to_json(),
        "classification": _describe_confusion(model.confusion),
    }


def _describe_confusion(confusion: Confusion) -> dict[str, Any]:
    """With "cannot tell" counted as wrong, and once more as if it had not been offered."""
    return {
        "labels": list(confusion.labels),
        "counts": confusion.counts.tolist(),
        "with_cannot_tell": _describe_classes(confusion),
        "without_cannot_tell": _describe_classes(confusion.without_cannot_tell()),
    }


def _describe_classes(confusion: Confusion) -> dict[str, Any]:
    return {
        "macro_f1": compute_macro_f1(confusion),
        "weighted_f1": compute_weighted_f1(confusion),
        "balanced_accuracy": compute_balanced_accuracy(confusion),
        "labels": {
            each.label: {
                "precision": each.precision,
                "recall": each.recall.to_json(),
                "f1": each.f1,
            }
            for each in compute_label_figures(confusion)
        },
    }


def _describe_all(figures: dict[str, Figure]) -> dict[str, Any]:
    return {name: figure.to_json() for name, figure in figures.items()}
