"""From rows of answers to the one table, and its parts."""

import numpy as np
import pandas as pd
import pytest

from survey.records import CANNOT_TELL, Candidate, ModelAnswer
from survey.statistics.table import MISSING, align_models, build_table
from tests.survey.statistics.planted import KOREAN5, K, build, draw

JOY, FLUSTER, ANGER = KOREAN5.labels[:3]
IMAGES = [
    Candidate("c", "private", ANGER), Candidate("a", "public", JOY), Candidate("b", "public", JOY)
]  # fmt: skip


def frame(*rows: tuple[int, str, str, int], phase: str = "main") -> pd.DataFrame:
    columns = ["participation_id", "image_id", "label", "response_ms"]
    return pd.DataFrame(rows, columns=columns).assign(phase=phase)


def test_rows_become_codes() -> None:
    rows = frame((7, "a", JOY, 900), (3, "c", CANNOT_TELL, 800), (7, "c", FLUSTER, 700))
    table = build_table(rows, IMAGES, KOREAN5)
    assert (table.participants, table.images) == ((3, 7), ("a", "b", "c"))
    assert table.answers.tolist() == [[MISSING, MISSING, K], [0, MISSING, 1]]
    assert table.truth.tolist() == [0, 0, 2]
    assert table.private.tolist() == [False, False, True]
    assert table.correct.tolist() == [[False] * 3, [True, False, False]]
    assert table.response_ms[1].tolist() == pytest.approx([900, np.nan, 700], nan_ok=True)
    assert np.isnan(table.response_ms[0, :2]).all()


def test_repeats_stand_beside_the_first_answers() -> None:
    first = frame((7, "a", JOY, 900), (7, "c", FLUSTER, 700))
    table = build_table(
        pd.concat([first, frame((7, "a", ANGER, 100), phase="repeat")]), IMAGES, KOREAN5
    )
    assert table.answers.tolist() == [[0, MISSING, 1]]
    assert table.again.tolist() == [[2, MISSING, MISSING]]
    assert table.response_ms[0, 0] == 900


def test_no_answers_are_a_table_too() -> None:
    table = build_table(frame(), IMAGES, KOREAN5)
    assert table.answers.shape == (0, 3)
    assert table.counts.tolist() == [[0] * (K + 1)] * 3


def test_counts_are_those_of_a_crosstable() -> None:
    table = draw(1, people=30, missing=0.2)
    for image in range(len(table.images)):
        column = table.answers[:, image]
        expected = [int((column == code).sum()) for code in range(K + 1)]
        assert table.counts[image].tolist() == expected


def test_a_part_keeps_what_belongs_together() -> None:
    table = draw(2, people=6, images=10, missing=0.1)
    people = np.array([True, False, True, True, False, True])
    part = table.select(people, table.private)
    assert part.participants == (1, 3, 4, 6)
    assert part.images == ("i001", "i003", "i005", "i007", "i009")
    assert np.array_equal(part.answers, table.answers[people][:, 1::2])
    assert np.array_equal(part.counts, part.select().counts)
    assert part.private.all()


def test_models_are_put_in_the_tables_order_and_must_have_answered_all() -> None:
    table = build([[0, 1]])
    sure = dict.fromkeys(KOREAN5.labels, 0.0)
    answers = [
        ModelAnswer("m@1", "i001", sure | {JOY: 1.0}),
        ModelAnswer("m@1", "i000", sure | {ANGER: 1.0}),
        ModelAnswer("m@1", "another", sure | {JOY: 1.0}),
        ModelAnswer("n@1", "i000", sure | {JOY: 1.0}),
    ]
    (model,) = align_models(table, answers)
    assert model.name == "m@1"
    assert model.answers.tolist() == [2, 0]
