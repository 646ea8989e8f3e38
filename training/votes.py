"""Pure: votes become a label and a distribution, or nothing where there is no agreement.

The rules for FER+'s ten raters are those of Barsoum et al. 2016, "Training Deep Networks for Facial
Expression Recognition with Crowd-Sourced Label Distribution"; those for three annotators are the
reference code's of AI Hub's data set 82.
"""

import numpy as np
from numpy.typing import NDArray

FERPLUS_COLUMNS = {  # the votes file's columns -> canonical labels
    "anger": "분노",
    "disgust": "혐오",
    "fear": "공포",
    "happiness": "기쁨",
    "sadness": "슬픔",
    "surprise": "놀람",
    "neutral": "중립",
    "contempt": "경멸",
}
NO_EMOTION_COLUMNS = ("unknown", "NF")
MANY = 6  # raters: of ten, a single vote is a slip; of three, it is a third of what is known


def soften(emotions: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float32]:
    """Votes -> distributions.

    Args:
        emotions: (pictures, emotions) counts.
        others: (pictures, k) counts of answers that name no emotion.

    Returns:
        (pictures, emotions) shares that sum to 1; a row of zeros where the picture has no usable
        votes: the most frequent answer names no emotion. Single votes of MANY are dropped as slips
        unless nothing else is left.
    """
    raters = emotions.sum(axis=1) + others.sum(axis=1)
    kept = np.where((emotions > 1) | (raters < MANY)[:, None], emotions, 0)
    kept = np.where(kept.sum(axis=1, keepdims=True) > 0, kept, emotions)
    usable = kept.max(axis=1) > others.max(axis=1, initial=0)
    shares = kept / np.maximum(kept.sum(axis=1, keepdims=True), 1)
    return np.where(usable[:, None], shares, 0.0).astype(np.float32)


def find_plurality(emotions: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the clear winner of each row, or -1: a tie, or an answer that names no emotion."""
    ordered = np.sort(np.concatenate([emotions, others], axis=1), axis=1)
    clear = ordered[:, -1] > ordered[:, -2]
    named = emotions.max(axis=1) == ordered[:, -1]
    return np.where(clear & named, emotions.argmax(axis=1), -1)


def count_votes(answers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(pictures, annotators) class indices, -1 for none -> (pictures, classes) counts."""
    counts = np.zeros((len(answers), classes), dtype=np.int64)
    for column in answers.T:
        given = np.flatnonzero(column >= 0)
        counts[given, column[given]] += 1
    return counts


def find_majority(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of what two of three annotators agree on, or -1: all different, or too few answers."""
    winners = counts.argmax(axis=1)
    return np.where(counts.max(axis=1, initial=0) >= 2, winners, -1)
