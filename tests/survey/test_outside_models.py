"""Another system's predictions: what goes out, what comes in, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine

from kfer.labels import get_taxonomy
from survey import studies
from survey.database import transaction
from survey.errors import StudyError
from survey.outside_models import freeze_file, hand_out
from survey.records import StudyRecord
from tests.survey.conftest import NOW
from tests.survey.samples import LABELS, add_study

FERPLUS8 = get_taxonomy("ferplus8")


@pytest.fixture
def study(engine: Engine) -> StudyRecord:
    return add_study(engine)


@pytest.fixture
def filled(engine: Engine, study: StudyRecord, tmp_path: Path) -> pd.DataFrame:
    """The template with all probability on the first label."""
    hand_out(engine, study, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    columns = [f"p_{label}" for label in LABELS]
    table[columns] = [1.0, 0.0, 0.0, 0.0, 0.0]
    return table


def test_images_go_out_as_they_are_shown_and_predictions_come_back(
    engine: Engine, study: StudyRecord, tmp_path: Path
) -> None:
    assert hand_out(engine, study, tmp_path / "out") == 10
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(table.columns) == ["imagename", *(f"p_{label}" for label in LABELS)]
    with transaction(engine, writes=False) as session:
        images = studies.list_study_images(session, study, "main")
        for image in images:
            written = (tmp_path / "out" / f"i{image.id}.jpg").read_bytes()
            assert written == studies.find_jpeg(session, image.id)
    truth = {f"i{image.id}": image.label for image in images}
    for label in LABELS:
        right = table["imagename"].map(truth) == label
        table[f"p_{label}"] = right.map({True: 0.6, False: 0.1})
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "other.csv", index=False)
    version, count = freeze_file(engine, tmp_path / "other.csv", None, study, NOW)
    assert (version.name, version.source, count) == ("other", "korean5", 10)
    assert len(version.revision) == 12
    assert freeze_file(engine, tmp_path / "other.csv", None, study, NOW) == (version, 0)
    with transaction(engine, writes=False) as session:
        answers = studies.list_model_answers(session, study)
    assert {f"i{answer.image_id}": answer.label for answer in answers} == truth
    assert {answer.model for answer in answers} == {version.identity}
    assert all(answer.probabilities[answer.label] == pytest.approx(0.6) for answer in answers)


@pytest.mark.parametrize("names", [FERPLUS8.labels, FERPLUS8.english])
def test_other_labels_are_mapped_and_the_file_may_be_in_english(
    engine: Engine, study: StudyRecord, filled: pd.DataFrame, tmp_path: Path, names: tuple[str, ...]
) -> None:
    table = filled[["imagename"]].assign(**{f"p_{name}": 0.125 for name in reversed(names)})
    table.to_csv(tmp_path / "plus.csv", index=False, encoding="utf-8-sig")
    version, count = freeze_file(engine, tmp_path / "plus.csv", "my system", study, NOW)
    assert (version.name, version.source, count) == ("my system", "ferplus8", 10)
    with transaction(engine, writes=False) as session:
        answer = studies.list_model_answers(session, study)[0]
    # Surprise and fear are 당황, disgust and contempt with anger are 분노.
    assert answer.probabilities == pytest.approx(
        {"기쁨": 0.125, "당황": 0.25, "분노": 0.375, "슬픔": 0.125, "중립": 0.125}
    )
    assert answer.source == "ferplus8"


Change = Callable[[pd.DataFrame], pd.DataFrame]
FAULTS: list[tuple[Change, str]] = [
    (lambda t: t.drop(columns="p_기쁨"), "for every label of one taxonomy, but has p_당황, p_분노"),
    (lambda t: t.drop(columns="imagename"), "has no column imagename"),
    (lambda t: t.iloc[1:], "1 of 10 images are missing"),
    (lambda t: pd.concat([t, t.iloc[:1]]), r"line 2: '.+' again|line 12: '.+' again"),
    (lambda t: t.assign(imagename="who"), "line 2: 'who' is no main image of this study"),
    (lambda t: t.assign(p_기쁨=0.5), r"line 2 .*sum to 1, but are 0.5, 0, 0, 0, 0"),
    (lambda t: t.assign(p_기쁨=1.5, p_분노=-0.5), "must be from 0 to 1"),
    (lambda t: t.assign(p_기쁨="much"), "but are nan, 0"),
    (lambda t: t.iloc[:0], "10 of 10 images are missing"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_file_with_faults_is_refused_whole(
    engine: Engine,
    study: StudyRecord,
    filled: pd.DataFrame,
    tmp_path: Path,
    change: Change,
    message: str,
) -> None:
    path = tmp_path / "faulty.csv"
    change(filled).to_csv(path, index=False)
    with pytest.raises(StudyError, match=message):
        freeze_file(engine, path, None, study, NOW)
    with transaction(engine, writes=False) as session:
        assert studies.list_model_answers(session, study) == []


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b'"unclosed'])
def test_what_is_no_csv_is_said(
    engine: Engine, study: StudyRecord, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "file.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=r"file\.csv: (cannot be read as CSV|needs imagename)"):
        freeze_file(engine, path, None, study, NOW)


def test_nothing_is_written_over(engine: Engine, study: StudyRecord, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be made"):
        hand_out(engine, study, tmp_path)
    assert list(tmp_path.glob("*.jpg")) == []
