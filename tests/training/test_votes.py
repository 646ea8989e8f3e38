"""Raters' votes, row by row, against the rules of FER+ worked out by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kfer.labels import get_taxonomy
from training.votes import FERPLUS_COLUMNS, NO_EMOTION_COLUMNS, find_plurality, soften

NOBODY = [0, 0]

# anger, disgust, fear, happiness, sadness, surprise, neutral, contempt
SOFTENED = {
    "all agree": ([0, 0, 0, 10, 0, 0, 0, 0], NOBODY, [0, 0, 0, 1, 0, 0, 0, 0]),
    "two parts": ([0, 0, 0, 6, 0, 4, 0, 0], NOBODY, [0, 0, 0, 0.6, 0, 0.4, 0, 0]),
    "a tie keeps both": ([5, 5, 0, 0, 0, 0, 0, 0], NOBODY, [0.5, 0.5, 0, 0, 0, 0, 0, 0]),
    "single votes go": ([1, 1, 0, 6, 0, 2, 0, 0], NOBODY, [0, 0, 0, 0.75, 0, 0.25, 0, 0]),
    "only single votes stay": (
        [1, 1, 0, 1, 0, 0, 1, 0],
        NOBODY,
        [0.25, 0.25, 0, 0.25, 0, 0, 0.25, 0],
    ),
    "unknown in the minority goes": ([0, 0, 0, 6, 0, 0, 0, 0], [4, 0], [0, 0, 0, 1, 0, 0, 0, 0]),
    "no face in the minority goes": (
        [0, 3, 0, 3, 0, 0, 0, 0],
        [2, 2],
        [0, 0.5, 0, 0.5, 0, 0, 0, 0],
    ),
    "unknown wins": ([0, 0, 0, 4, 0, 0, 0, 0], [6, 0], [0] * 8),
    "no face wins": ([1, 0, 0, 2, 0, 0, 0, 0], [0, 7], [0] * 8),
    "unknown as often as the best": ([0, 0, 0, 5, 0, 0, 0, 0], [5, 0], [0] * 8),
    "nobody answered": ([0] * 8, NOBODY, [0] * 8),
}
WON = {
    "all agree": ([0, 0, 0, 10, 0, 0, 0, 0], NOBODY, 3),
    "most of ten": ([0, 0, 4, 0, 0, 6, 0, 0], NOBODY, 5),
    "most, though under half": ([3, 0, 0, 4, 0, 0, 3, 0], NOBODY, 3),
    "the last class": ([0, 0, 0, 0, 0, 0, 4, 6], NOBODY, 7),
    "a tie": ([5, 5, 0, 0, 0, 0, 0, 0], NOBODY, -1),
    "a tie of three": ([3, 0, 3, 0, 3, 0, 1, 0], NOBODY, -1),
    "a tie with unknown": ([0, 0, 0, 5, 0, 0, 0, 0], [5, 0], -1),
    "unknown wins": ([0, 0, 0, 4, 0, 0, 0, 0], [6, 0], -1),
    "no face wins": ([0, 0, 0, 2, 0, 0, 0, 0], [0, 8], -1),
    "unknown in the minority": ([0, 0, 0, 4, 0, 3, 0, 0], [3, 0], 3),
    "nobody answered": ([0] * 8, NOBODY, -1),
    "a single vote": ([0, 0, 0, 0, 1, 0, 0, 0], NOBODY, 4),
}


def rows(*counts: list[int]) -> NDArray[np.int64]:
    return np.array(counts, dtype=np.int64)


@pytest.mark.parametrize(("emotions", "others", "expected"), SOFTENED.values(), ids=SOFTENED)
def test_votes_become_a_distribution_by_the_stated_rules(
    emotions: list[int], others: list[int], expected: list[float]
) -> None:
    shares = soften(rows(emotions), rows(others))
    assert shares.dtype == np.float32
    assert shares == pytest.approx(np.array([expected]), abs=1e-6)


def test_rows_do_not_influence_each_other() -> None:
    emotions = rows(*(row[0] for row in SOFTENED.values()))
    others = rows(*(row[1] for row in SOFTENED.values()))
    together = soften(emotions, others)
    assert together == pytest.approx(np.array([row[2] for row in SOFTENED.values()]), abs=1e-6)
    assert set(together.sum(axis=1).round(6)) <= {0.0, 1.0}


def test_votes_are_left_as_they_were() -> None:
    emotions, others = rows([1, 1, 0, 6, 0, 2, 0, 0]), rows([1, 0])
    before = emotions.copy(), others.copy()
    soften(emotions, others)
    find_plurality(emotions, others)
    assert (emotions == before[0]).all()
    assert (others == before[1]).all()


@pytest.mark.parametrize(("emotions", "others", "expected"), WON.values(), ids=WON)
def test_the_clear_winner_is_found(emotions: list[int], others: list[int], expected: int) -> None:
    assert find_plurality(rows(emotions), rows(others)).tolist() == [expected]


def test_winners_of_many_rows_are_found_at_once() -> None:
    emotions = rows(*(row[0] for row in WON.values()))
    others = rows(*(row[1] for row in WON.values()))
    assert find_plurality(emotions, others).tolist() == [row[2] for row in WON.values()]


def test_without_a_column_of_other_answers_only_emotions_count() -> None:
    nothing = np.empty((1, 0), dtype=np.int64)
    assert soften(rows([2, 0, 2]), nothing) == pytest.approx(np.array([[0.5, 0, 0.5]]))
    assert find_plurality(rows([2, 0, 3]), nothing).tolist() == [2]


def test_no_pictures_give_no_rows() -> None:
    none = np.empty((0, 8), dtype=np.int64)
    others = np.empty((0, 2), dtype=np.int64)
    assert soften(none, others).shape == (0, 8)
    assert find_plurality(none, others).shape == (0,)


def test_the_files_columns_are_the_emotions_of_ferplus8() -> None:
    assert set(FERPLUS_COLUMNS.values()) == set(get_taxonomy("ferplus8").labels)
    assert not set(FERPLUS_COLUMNS) & set(NO_EMOTION_COLUMNS)
    english = {label: name for name, label in FERPLUS_COLUMNS.items()}
    taxonomy = get_taxonomy("ferplus8")
    assert {label: taxonomy.to_english(label) for label in taxonomy.labels} == english
