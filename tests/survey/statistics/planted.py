"""Answer tables of people whose accuracy is known, drawn from a seed."""

import numpy as np
from numpy.typing import NDArray

from kfer.labels import get_taxonomy
from survey.statistics.table import MISSING, AnswerTable

KOREAN5 = get_taxonomy("korean5")
K = len(KOREAN5.labels)


def build(
    answers: NDArray[np.generic] | list[list[int]],
    truth: list[int] | None = None,
    private: list[bool] | None = None,
    response_ms: NDArray[np.generic] | None = None,
    again: NDArray[np.generic] | list[list[int]] | None = None,
) -> AnswerTable:
    """From codes: 0 to 4, 5 for "cannot tell", -1 for none; the truth is 0 by default."""
    codes = np.asarray(answers, dtype=np.int16)
    people, images = codes.shape
    times = np.full(codes.shape, 1000.0) if response_ms is None else response_ms
    return AnswerTable(
        KOREAN5,
        tuple(range(1, people + 1)),
        tuple(f"i{at:03}" for at in range(images)),
        np.zeros(images, dtype=np.int16) if truth is None else np.array(truth, dtype=np.int16),
        np.array(private or [at % 2 == 1 for at in range(images)]),
        codes,
        np.where(codes == MISSING, np.nan, times).astype(np.float32),
        np.full(codes.shape, MISSING) if again is None else np.asarray(again, dtype=np.int16),
    )


def draw(
    seed: int,
    people: int = 12,
    images: int = 100,
    missing: float = 0.0,
    cannot_tell: float = 0.05,
) -> AnswerTable:
    """People of different skill on images of different difficulty; wrong answers fall anywhere."""
    rng = np.random.default_rng(seed)
    truth = np.arange(images) % K
    skill, ease = rng.normal(1.2, 0.5, (people, 1)), rng.normal(0, 1, images)
    right = rng.random((people, images)) < 1 / (1 + np.exp(-(skill + ease)))
    wrong = (truth + rng.integers(1, K, (people, images))) % K
    codes = np.where(right, truth, wrong)
    codes[rng.random(codes.shape) < cannot_tell] = K
    codes[rng.random(codes.shape) < missing] = MISSING
    times = rng.lognormal(7.3, 0.5, codes.shape)
    return build(codes, truth.tolist(), None, times)


def draw_probabilities(seed: int, truth: NDArray[np.int16], skill: float) -> NDArray[np.float64]:
    """(I, K) of a model that leans to the truth by ``skill`` in logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (len(truth), K)) + skill * np.eye(K)[truth]
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
