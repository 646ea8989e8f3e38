"""Everything that the dashboard, the report and ``/comparison`` say of one table, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from survey.statistics.accuracy import (
    estimate_mean,
    score_model,
    score_participants,
)
from survey.statistics.agreement import (
    add_rater,
    compute_entropies,
    compute_fleiss,
    estimate_alpha,
    estimate_steadiness,
    list_crowd_sizes,
    score_crowds,
    score_majority,
)
from survey.statistics.calibration import Calibration, measure_calibration
from survey.statistics.comparison import Versus, compare, estimate_visibility_gaps
from survey.statistics.confusion import Confusion, confuse_model, confuse_people
from survey.statistics.consistency import Consistency, compare_people, compare_with_people
from survey.statistics.figures import Figure, estimate_shares
from survey.statistics.resampling import Sampler
from survey.statistics.softness import Softness, compare_doubts
from survey.statistics.table import AnswerTable, ModelColumn
from survey.statistics.timing import (
    TimePart,
    measure_by_speed,
    relate_to_confidence,
    relate_to_difficulty,
)


@dataclass(frozen=True, eq=False)
class PeopleSummary:
    """Accuracies are shares (0-1). ``scores`` are by participant, in the table's order.

    ``when_told`` leaves out "cannot tell"; ``steadiness`` is agreement with oneself on repeats;
    ``gap`` is public minus private accuracy. ``crowds`` are
    by size in ``crowd_sizes``; ``entropies`` and ``difficulties`` (share that is right) by image.
    """

    mean: Figure
    when_told: Figure
    scores: tuple[Figure, ...]
    by_label: dict[str, Figure]
    by_visibility: dict[str, Figure]
    confusion: Confusion
    gap: Figure
    alpha: Figure
    fleiss: Figure
    steadiness: Figure
    consistency: Consistency
    majority: Figure
    crowd_sizes: tuple[int, ...]
    crowds: tuple[Figure, ...]
    by_speed: tuple[TimePart, ...]
    time_and_difficulty: Figure
    entropies: NDArray[np.float64]
    difficulties: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ModelSummary:
    """One model on the same images. ``gap`` is its public-private gap minus that of people.

    ``title`` is how people read its ``name``; ``source`` is the taxonomy it answers in by itself,
    where that is known.
    """

    name: str
    title: str
    source: str | None
    answers: NDArray[np.int16]
    accuracy: Figure
    by_label: dict[str, Figure]
    by_visibility: dict[str, Figure]
    confusion: Confusion
    versus: Versus
    gap: Figure
    consistency: Consistency
    alpha: Figure
    softness: Softness
    calibration: Calibration
    time_and_confidence: Figure
    of_truth: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Summary:
    """Of one study, or of the part of it that filters leave."""

    table: AnswerTable
    people: PeopleSummary
    models: tuple[ModelSummary, ...]


def summarize(
    table: AnswerTable, models: Sequence[ModelColumn], sampler: Sampler | None = None
) -> Summary:
    """All figures of a table with at least one answer."""
    sampler = sampler or Sampler()
    right = {model.name: model.answers == table.truth for model in models}
    people_gap, model_gaps = estimate_visibility_gaps(table, right, sampler)
    return Summary(
        table,
        _summarize_people(table, people_gap, sampler),
        tuple(_summarize_model(table, model, model_gaps[model.name], sampler) for model in models),
    )


def _summarize_people(table: AnswerTable, gap: Figure, sampler: Sampler) -> PeopleSummary:
    sizes = list_crowd_sizes(len(table.participants))
    seen = np.maximum(table.answered.sum(axis=0), 1)
    return PeopleSummary(
        mean=estimate_mean(table, sampler),
        when_told=estimate_mean(table.without_cannot_tell(), sampler),
        scores=tuple(score_participants(table)),
        by_label={name: estimate_mean(part, sampler) for name, part in split_by_label(table)},
        by_visibility={
            name: estimate_mean(part, sampler) for name, part in split_by_visibility(table)
        },
        confusion=confuse_people(table),
        gap=gap,
        alpha=estimate_alpha(table.counts, sampler),
        fleiss=compute_fleiss(table.counts),
        steadiness=estimate_steadiness(table, sampler),
        consistency=compare_people(table, sampler),
        majority=score_majority(table),
        crowd_sizes=tuple(sizes),
        crowds=tuple(score_crowds(table, sizes, sampler)),
        by_speed=tuple(measure_by_speed(table, sampler)),
        time_and_difficulty=relate_to_difficulty(table, sampler),
        entropies=compute_entropies(table.counts),
        difficulties=np.where(table.answered.any(axis=0), table.correct.sum(axis=0) / seen, np.nan),
    )


def _summarize_model(
    table: AnswerTable, model: ModelColumn, gap: Figure, sampler: Sampler
) -> ModelSummary:
    right = model.answers == table.truth
    return ModelSummary(
        name=model.name,
        title=model.title,
        source=model.source,
        answers=model.answers,
        accuracy=score_model(table, model.answers),
        by_label=_score_parts(
            right, {label: table.truth == at for at, label in enumerate(table.labels.labels)}
        ),
        by_visibility=_score_parts(right, {"public": ~table.private, "private": table.private}),
        confusion=confuse_model(table, model.answers),
        versus=compare(table, model.answers, sampler),
        gap=gap,
        consistency=compare_with_people(table, right, sampler),
        alpha=estimate_alpha(add_rater(table.counts, model.answers), sampler),
        softness=compare_doubts(table, model, sampler),
        calibration=measure_calibration(table.truth, model.probabilities, sampler),
        time_and_confidence=relate_to_confidence(table, model, sampler),
        of_truth=model.probabilities[np.arange(len(table.images)), table.truth],
    )


def split_by_label(table: AnswerTable) -> list[tuple[str, AnswerTable]]:
    return [
        (label, table.select(images=table.truth == at))
        for at, label in enumerate(table.labels.labels)
    ]


def split_by_visibility(table: AnswerTable) -> list[tuple[str, AnswerTable]]:
    return [
        ("public", table.select(images=~table.private)),
        ("private", table.select(images=table.private)),
    ]


def _score_parts(
    right: NDArray[np.bool_], parts: dict[str, NDArray[np.bool_]]
) -> dict[str, Figure]:
    hits = [int((right & part).sum()) for part in parts.values()]
    figures = estimate_shares(hits, [int(part.sum()) for part in parts.values()])
    return dict(zip(parts, figures, strict=True))
