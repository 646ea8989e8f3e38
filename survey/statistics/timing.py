"""Response times: are quick answers right more often, do hard images take longer?"""

from dataclasses import dataclass

import numpy as np

from survey.statistics.figures import Figure, explain, take_interval
from survey.statistics.resampling import Sampler
from survey.statistics.softness import correlate
from survey.statistics.table import AnswerTable, ModelColumn

PARTS = 5  # fifths of each person's own times


@dataclass(frozen=True)
class TimePart:
    """One fifth of everybody's answers by speed: its median time, and the share that is right."""

    median_ms: float
    right: Figure


def measure_by_speed(table: AnswerTable, sampler: Sampler) -> list[TimePart]:
    """From the quickest fifth of each person's answers to the slowest; intervals over people.

    Of each person's own times, so that quick people do not make up the quick answers. Empty when
    nobody has answered as many images as there are parts.
    """
    kept = table.answered.sum(axis=1) >= PARTS
    part = table.select(participants=kept)
    if not kept.any():
        return []
    people, images = part.answers.shape
    order = part.response_ms.argsort(axis=1)  # NaN, the missing, come last
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(images), order.shape), axis=1)
    fifth = ranks * PARTS // part.answered.sum(axis=1, keepdims=True)
    weights = sampler.count("people", people)
    parts = []
    for at in range(PARTS):
        chosen = part.answered & (fifth == at)
        hits, sizes = (part.correct & chosen).sum(axis=1), chosen.sum(axis=1)
        right = take_interval(
            float(hits.sum() / sizes.sum()), (weights @ hits) / (weights @ sizes), people
        )
        parts.append(TimePart(float(np.median(part.response_ms[chosen])), right))
    return parts


def relate_to_difficulty(table: AnswerTable, sampler: Sampler) -> Figure:
    """Spearman's correlation over images: the median time, the share of people who are right."""
    kept = ~np.isnan(table.median_ms)
    if kept.sum() < 3:
        return explain("needs three images that people have answered", int(kept.sum()))
    shares = table.correct[:, kept].sum(axis=0) / table.answered[:, kept].sum(axis=0)
    return correlate(table.median_ms[kept], shares, sampler)


def relate_to_confidence(table: AnswerTable, model: ModelColumn, sampler: Sampler) -> Figure:
    """The same with the model's highest probability."""
    kept = ~np.isnan(table.median_ms)
    if kept.sum() < 3:
        return explain("needs three images that people have answered", int(kept.sum()))
    return correlate(table.median_ms[kept], model.probabilities[kept].max(axis=1), sampler)
