"""Studies of planted people and images, whose truth is known: how often intervals hold it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from survey.statistics.accuracy import estimate_mean
from survey.statistics.comparison import estimate_difference, estimate_visibility_gaps
from survey.statistics.figures import Figure
from survey.statistics.resampling import Sampler
from tests.survey.statistics.planted import build

IMAGES, DRAWS = 100, 600
FIGURES = ("mean of people", "model against people", "public against private", "model beyond it")
PRIVATE_LOSS = 0.5  # in logits: private images are harder for people ...
MODEL_LOSS = 0.8  # ... and harder still for the model


def draw_study(
    rng: np.random.Generator, people: int, images: int = IMAGES
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Who is right (P, I), the model (I,), and which images are private: people and images are new
    draws from the same populations each time, as if another study had been run."""
    private = np.arange(images) % 2 == 1
    skill = rng.normal(1.4, 0.4, (people, 1))
    ease = rng.normal(0, 1, images)
    chance = 1 / (1 + np.exp(-(skill + ease - PRIVATE_LOSS * private)))
    model = 1 / (1 + np.exp(-(1.4 + ease - MODEL_LOSS * private)))
    return rng.random((people, images)) < chance, rng.random(images) < model, private


def estimate_study(
    seed: int, people: int, images: int = IMAGES
) -> tuple[Figure, Figure, Figure, Figure]:
    """Of a study drawn by ``seed``: people's mean, the model's difference, people's gap, the
    model's gap beyond it."""
    sampler = Sampler(seed, DRAWS)
    right, model, private = draw_study(np.random.default_rng(seed), people, images)
    table = build(np.where(right, 0, 1), private=private.tolist())
    gap, beyond = estimate_visibility_gaps(table, {"m": model}, sampler)
    return (
        estimate_mean(table, sampler), estimate_difference(table, model, sampler)[0],
        gap, beyond["m"],
    )  # fmt: skip


@cache
def find_truths() -> tuple[float, float, float, float]:
    """Of the populations, in the order of ``estimate_study``."""
    rng = np.random.default_rng(0)
    skill, ease = rng.normal(1.4, 0.4, 4_000_000), rng.normal(0, 1, 4_000_000)
    people = [(1 / (1 + np.exp(-(skill + ease - loss)))).mean() for loss in (0, PRIVATE_LOSS)]
    model = [(1 / (1 + np.exp(-(1.4 + ease - loss)))).mean() for loss in (0, MODEL_LOSS)]
    gap = people[0] - people[1]
    return (
        float(np.mean(people)), float(np.mean(model) - np.mean(people)),
        float(gap), float(model[0] - model[1] - gap),
    )  # fmt: skip


def covers(figure: Figure, truth: float) -> bool:
    assert figure.low is not None
    assert figure.high is not None
    return figure.low <= truth <= figure.high


def measure_coverage(people: int, studies: int) -> NDArray[np.float64]:
    """(4,) shares of studies whose interval holds the truth, in the order of FIGURES."""
    truths = find_truths()
    hits = np.zeros(len(FIGURES))
    for seed in range(studies):
        figures = estimate_study(seed + 1, people)
        hits += [covers(figure, truth) for figure, truth in zip(figures, truths, strict=True)]
    return hits / studies
