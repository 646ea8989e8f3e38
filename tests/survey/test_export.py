"""What a researcher gets: every answer as a row that other programs read rightly."""

import csv
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from survey import participation, store, studies
from survey.database import transaction
from survey.errors import StudyError
from survey.export import (
    COLUMNS,
    disarm,
    save_table,
    tabulate_predictions,
    tabulate_responses,
)
from survey.participation import build_response
from survey.records import CANNOT_TELL, Candidate, FlagRecord, ModelAnswer, StudyRecord
from tests.survey.conftest import NOW
from tests.survey.samples import ANSWER, LABELS, SMALL, add_study

STUDY = StudyRecord(1, "faces", 2, SMALL, None)
MODEL_VS_HUMAN = [
    "subj", "session", "trial", "rt", "object_response", "category", "condition", "imagename"
]  # fmt: skip


def test_the_first_columns_are_those_of_model_vs_human() -> None:
    table = tabulate_responses(STUDY, [replace(ANSWER, response_ms=1234)], {})
    assert list(table.columns) == list(COLUMNS)
    row = table[MODEL_VS_HUMAN].iloc[0].to_dict()
    assert re.fullmatch("s[0-9a-f]{12}", str(row.pop("subj")))
    assert row == {
        "session": 1, "trial": 1, "rt": 1.234, "object_response": LABELS[0],
        "category": LABELS[0], "condition": "public", "imagename": "ia",
    }  # fmt: skip


def test_cannot_tell_is_model_vs_humans_na() -> None:
    answers = [replace(ANSWER, label=CANNOT_TELL), replace(ANSWER, first_label=CANNOT_TELL)]
    table = tabulate_responses(STUDY, answers, {})
    assert list(table["object_response"]) == ["na", LABELS[0]]
    assert list(table["first_response"]) == [LABELS[0], "na"]
    assert list(table["correct"]) == [False, True]


def test_a_person_keeps_one_name_and_flags_come_along() -> None:
    answers = [ANSWER, replace(ANSWER, position=2), replace(ANSWER, participant_id="x")]
    answers[2] = replace(answers[2], participation_id=7)
    flags = {7: [FlagRecord("too_fast", "..."), FlagRecord("one_label", "...")]}
    table = tabulate_responses(STUDY, answers, flags)
    assert table["subj"].nunique() == 2
    assert table["subj"][0] == table["subj"][1]
    assert "somebody" not in table["subj"].str.cat()
    assert list(table["flags"]) == ["", "", "too_fast;one_label"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_comes_back_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    answers = [
        replace(ANSWER, shown_at=NOW, background={"age": "30-39", "note": 'a "b", c\n'}),
        replace(ANSWER, position=2, label=CANNOT_TELL, device=None, image_person="김"),
    ]
    table = tabulate_responses(STUDY, answers, {})
    path = tmp_path / f"answers{suffix}"
    save_table(table, path)
    if suffix == ".csv":
        assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # spreadsheets need it for Hangul
        read = pd.read_csv(path, parse_dates=["shown_at", "answered_at"])
    else:
        read = pd.read_parquet(path)
    for column in COLUMNS:
        expected, found = table[column], read[column]
        assert found.isna().tolist() == expected.replace("", None).isna().tolist() or column in (
            "flags", "person"
        )  # fmt: skip
        assert found.dropna().tolist() == [
            value for value, there in zip(expected, found.notna(), strict=True) if there
        ]
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_half_a_character_of_an_older_version_stops_no_export(tmp_path: Path, suffix: str) -> None:
    answers = [replace(ANSWER, background={"age": "\ud83d"})]
    path = tmp_path / f"answers{suffix}"
    save_table(tabulate_responses(STUDY, answers, {}), path)
    read = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert read["background"].tolist() == ['{"age": "?"}']


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_cell_is_a_formula(tmp_path: Path, cell: str) -> None:
    answer = replace(
        ANSWER, image_set=cell, image_person=cell, language=cell, image_id=cell,
        participant_id=cell, background={cell: cell},
    )  # fmt: skip
    path = tmp_path / "answers.csv"
    study = replace(STUDY, name=cell)
    save_table(tabulate_responses(study, [answer], {}), path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert [text for text in rows[1] if text.startswith(tuple("=+-@\t\r\n"))] == []
    assert dict(zip(*rows, strict=True))["image_set"] == f"'{cell}"


def test_numbers_and_harmless_texts_stay_as_they_are() -> None:
    assert [disarm(cell) for cell in (-1.5, "a=b", "", None)] == [-1.5, "a=b", "", None]


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"answers\.xlsx: unknown kind .* \.csv and \.parquet"):
        save_table(tabulate_responses(STUDY, [ANSWER], {}), tmp_path / "answers.xlsx")


def test_what_cannot_be_written_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.mkdir()
    with pytest.raises(StudyError, match=r"answers\.csv: cannot be written"):
        save_table(tabulate_responses(STUDY, [ANSWER], {}), path)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]


def test_an_export_holds_what_was_answered(engine: Engine) -> None:
    study = add_study(engine)
    code, step = participation.start(engine, "small", True, "en", {"age": "18-29"}, NOW)
    given = []
    while step.trial is not None:
        label = LABELS[len(given) % 5] if len(given) != 7 else CANNOT_TELL
        given.append((step.trial, label))
        later = NOW + timedelta(seconds=len(given))
        response = build_response(label, 1000 + len(given), {"device": "touch"}, later)
        step = participation.answer(engine, code, step.trial.id, response)
    with transaction(engine, writes=False) as session:
        responses = store.list_responses(session, study)
    table = tabulate_responses(study, responses, {})
    assert list(table["phase"]) == ["practice"] * 2 + ["main"] * 10
    assert list(table["trial"]) == [1, 2, *range(1, 11)]
    assert list(table["category"]) == [trial.truth for trial, _ in given]
    said = [label.replace(CANNOT_TELL, "na") for _, label in given]
    assert list(table["object_response"]) == said
    assert list(table["imagename"]) == [f"i{trial.image_id}" for trial, _ in given]
    assert list(table["rt"]) == [(1001 + index) / 1000 for index in range(12)]
    assert set(table["background"]) == {'{"age": "18-29"}'}
    assert set(table["device"]) == {"touch"}
    assert table["finished"].all()
    assert list(table["answered_at"].dt.second) == list(range(1, 13))


def test_an_unfinished_participation_is_exported_and_says_so(engine: Engine) -> None:
    study = add_study(engine)
    code, step = participation.start(engine, "small", True, "ko", {}, NOW)
    assert step.trial is not None
    participation.answer(engine, code, step.trial.id, build_response(LABELS[0], 1, {}, NOW))
    with transaction(engine, writes=False) as session:
        responses = store.list_responses(session, study)
    assert [(r.finished, r.phase) for r in responses] == [(False, "practice")]


def test_predictions_have_the_same_columns_and_probabilities() -> None:
    probabilities = dict.fromkeys(LABELS, 0.1) | {LABELS[2]: 0.6}
    answers = [ModelAnswer("m@1", image_id, probabilities) for image_id in "ab"]
    images = [Candidate("a", "public", LABELS[2]), Candidate("b", "private", LABELS[0])]
    table = tabulate_predictions(STUDY, answers, images)
    assert list(table.columns) == [*MODEL_VS_HUMAN, *(f"p_{label}" for label in LABELS)]
    assert list(table["object_response"]) == [LABELS[2]] * 2
    assert list(table["category"]) == [LABELS[2], LABELS[0]]
    assert list(table["trial"]) == [1, 2]
    assert table["rt"].isna().all()
    assert table[f"p_{LABELS[2]}"].tolist() == [0.6, 0.6]


def test_every_study_is_exported_by_itself(engine: Engine) -> None:
    one, other = add_study(engine, "one"), add_study(engine, "other")
    for name in ("one", "other", "other"):
        code, step = participation.start(engine, name, True, "ko", {}, NOW)
        assert step.trial is not None
        participation.answer(engine, code, step.trial.id, build_response(LABELS[0], 1, {}, NOW))
    with transaction(engine, writes=False) as session:
        assert len(store.list_responses(session, one)) == 1
        assert len(store.list_responses(session, other)) == 2
        assert studies.list_model_answers(session, one) == []
