"""The result page's numbers, counted by hand."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture
from sqlalchemy import Engine, select

from kfer.labels import Taxonomy, get_taxonomy
from survey import demo_study, store, studies
from survey.database import transaction
from survey.demo_study import ensure_demo_study
from survey.endpoints import Endpoints
from survey.errors import ParticipationError
from survey.freeze import freeze
from survey.links import Signer
from survey.models import FrozenPrediction, Image, ImageSet, Study
from survey.records import ModelAnswer, ModelVersion, StudyDefinition
from survey.results import build_result
from tests.survey.conftest import NOW
from tests.survey.samples import ANSWER, LABELS, SMALL, TEXTS, add_study

KOREAN5 = get_taxonomy("korean5")
JOY, FLUSTER = LABELS[:2]
ANSWERS = [
    replace(ANSWER, image_id="a", truth=JOY, visibility="public", label=JOY),
    replace(ANSWER, image_id="b", truth=JOY, visibility="private", label=FLUSTER),
    replace(ANSWER, image_id="c", truth=FLUSTER, visibility="private", label="cannot_tell"),
    replace(ANSWER, image_id="d", truth=FLUSTER, visibility="public", label=FLUSTER),
]


def test_scores_are_counted_as_a_whole_by_emotion_and_by_set() -> None:
    models = [ModelAnswer("m@1", name, {JOY: 0.9, FLUSTER: 0.1}) for name in "abcd"]
    result = build_result(SMALL, ANSWERS, models, [2]).to_json()
    assert (result["score"], result["total"], result["models"]) == (2, 4, {"m@1": 2})
    assert result["by_label"][JOY] == {"score": 1, "total": 2, "models": {"m@1": 2}}
    assert result["by_label"][FLUSTER] == {"score": 1, "total": 2, "models": {"m@1": 0}}
    assert result["by_label"][LABELS[4]] == {"score": 0, "total": 0, "models": {"m@1": 0}}
    assert result["by_visibility"] == {
        "public": {"score": 2, "total": 2, "models": {"m@1": 1}},
        "private": {"score": 0, "total": 2, "models": {"m@1": 1}},
    }


def test_a_model_that_has_not_seen_every_image_is_not_compared() -> None:
    models = [ModelAnswer("m@1", name, {JOY: 0.9, FLUSTER: 0.1}) for name in "abc"]
    result = build_result(SMALL, ANSWERS, models, [2])
    assert (result.whole.models, result.titles) == ({}, {})


@pytest.mark.parametrize(
    ("scores", "mean", "below", "equal"),
    [
        ([2], None, None, None),
        ([2, 1, 3, 4, 0], None, None, None),
        ([2, 1, 3, 4, 0, 2], 2.0, 40.0, 20.0),
        ([2, 2, 2, 2, 2, 2], 2.0, 0.0, 100.0),
        ([2, 0, 0, 0, 0, 0], 1 / 3, 100.0, 0.0),
        ([2, 4, 4, 4, 4, 4], 11 / 3, 0.0, 0.0),
    ],
)
def test_averages_of_people_wait_for_five_others(
    scores: list[int], mean: float | None, below: float | None, equal: float | None
) -> None:
    result = build_result(SMALL, ANSWERS, [], scores)
    assert (result.people, result.mean) == (len(scores), mean)
    assert (result.below, result.equal) == (below, equal)


def test_a_study_that_is_shown_later_tells_nothing_of_others() -> None:
    held = replace(SMALL, shown_while_open=False)
    result = build_result(held, ANSWERS, [], [2, 1, 3, 4, 0, 2])
    assert (result.people, result.mean, result.below, result.equal) == (None,) * 4
    assert result.to_json()["people"] is None
    after = build_result(held, ANSWERS, [], [2, 1, 3, 4, 0, 2], closed=True)
    assert (after.people, after.mean) == (6, 2.0)
    assert build_result(SMALL, ANSWERS, [], [2]).to_json()["people"]["n"] == 1


def read_brightness(pictures: Sequence[Picture.Image], _: Taxonomy) -> list[Mapping[str, float]]:
    """A model that knows the small study's images: their grey level counts the emotions up."""
    levels = [round(float(np.asarray(picture).mean())) for picture in pictures]
    return [
        {label: 0.9 if index == level % 5 else 0.025 for index, label in enumerate(LABELS)}
        for level in levels
    ]


def list_predictions(engine: Engine) -> list[FrozenPrediction]:
    with transaction(engine, writes=False) as session:
        return list(session.scalars(select(FrozenPrediction)))


def test_predictions_are_frozen_once_per_revision(engine: Engine) -> None:
    add_study(engine)
    assert freeze(engine, read_brightness, ModelVersion("m", "1", "korean5"), KOREAN5, NOW) == 15
    assert freeze(engine, read_brightness, ModelVersion("m", "1", "korean5"), KOREAN5, NOW) == 0
    assert freeze(engine, read_brightness, ModelVersion("m", "2", "korean5"), KOREAN5, NOW) == 15
    rows = list_predictions(engine)
    assert Counter(row.revision for row in rows) == {"1": 15, "2": 15}
    assert all(sum(row.probabilities.values()) == pytest.approx(1) for row in rows)


def test_freezing_goes_on_where_it_was_interrupted(engine: Engine) -> None:
    add_study(engine, "a")
    add_study(engine, "b")
    calls = []

    def fail_second(pictures: Sequence[Picture.Image], taxonomy: Taxonomy) -> list:  # type: ignore[type-arg]
        calls.append(len(pictures))
        if len(calls) == 2:
            raise RuntimeError("out of power")
        return read_brightness(pictures, taxonomy)

    with pytest.raises(RuntimeError, match="out of power"):
        freeze(engine, fail_second, ModelVersion("m", "1", "korean5"), KOREAN5, NOW)
    assert len(list_predictions(engine)) == 16
    assert freeze(engine, fail_second, ModelVersion("m", "1", "korean5"), KOREAN5, NOW) == 14
    assert calls == [16, 14, 14]


def answer_rightly(engine: Engine, endpoints: Endpoints, wrong: int = 0) -> tuple[str, dict]:  # type: ignore[type-arg]
    """Somebody who knows, but for the first ``wrong`` main trials."""
    with transaction(engine, writes=False) as session:
        ids = {row.id: row.label for row in session.scalars(select(Image))}
    begun = endpoints.start("small", True, "ko")
    answer, trial = begun, begun["trial"]
    while trial:
        with transaction(engine, writes=False) as session:
            shown = store.find_shown(session, trial["id"])
        assert shown is not None
        truth = ids[shown.image_id]
        other = next(label for label in LABELS if label != truth)
        miss = trial["phase"] == "main" and trial["position"] <= wrong
        answer = endpoints.answer(begun["code"], trial["id"], other if miss else truth, 500)
        trial = answer["trial"]
    return begun["code"], answer["result"]


def test_the_last_answer_brings_the_result(engine: Engine) -> None:
    add_study(engine)
    freeze(engine, read_brightness, ModelVersion("m", "1", "korean5"), KOREAN5, NOW)
    endpoints = Endpoints(engine, Signer("secret"), lambda: NOW)
    results = []
    for wrong in (0, 10, 3, 4, 2, 5):
        code, result = answer_rightly(engine, endpoints, wrong)
        assert result == endpoints.result(code)
        assert (result["score"], result["total"]) == (10 - wrong, 10)
        assert (result["models"], result["titles"]) == ({"m@1": 10}, {"m@1": "m"})
        results.append(result)
    assert results[4]["people"] == {"n": 5, "mean": None, "below": None, "equal": None}
    assert results[5]["people"] == {"n": 6, "mean": 6.0, "below": 20.0, "equal": 0.0}


def test_before_the_end_there_is_no_result(engine: Engine) -> None:
    add_study(engine)
    endpoints = Endpoints(engine, Signer("secret"), lambda: NOW)
    begun = endpoints.start("small", True, "ko")
    with pytest.raises(ParticipationError, match="0 of 12 images are answered") as caught:
        endpoints.result(begun["code"])
    assert caught.value.korean.startswith("12장 중 0장에 답하셨어요.")


def test_repeats_never_count_in_the_score(engine: Engine) -> None:
    definition = StudyDefinition(title=TEXTS, consent=TEXTS, size=40, practice=0, repeats=5)
    add_study(engine, "small", definition)
    endpoints = Endpoints(engine, Signer("secret"), lambda: NOW)
    _, result = answer_rightly(engine, endpoints)
    assert (result["score"], result["total"]) == (40, 40)


# --- the demo study -----------------------------------------------------------------------------


def test_the_demo_study_is_imported_once_and_balanced(engine: Engine) -> None:
    assert ensure_demo_study(engine, NOW)
    assert not ensure_demo_study(engine, NOW)
    with transaction(engine, writes=False) as session:
        study = studies.find_study(session, "demo")
        assert study is not None
        main = studies.list_study_images(session, study, "main")
        practice = studies.list_study_images(session, study, "practice")
        assert len(session.scalars(select(Study)).all()) == 1
        assert session.scalars(select(ImageSet.visibility)).all().count("private") == 1
    assert study.definition.demo
    assert study.definition.languages == ("ko", "en")
    assert set(Counter(image.stratum for image in main).values()) == {10}
    assert len(main) == 100
    assert {image.label for image in practice} == set(LABELS)


def test_the_consent_to_the_demo_names_all_that_is_kept() -> None:
    """As section 3 of docs/study.md lists it."""
    consent = demo_study.load_demo_definition().consent
    for language, kept in (
        ("ko", "동의 언어 스스로 고른 처음 횟수 때 시간 방법 떠났는지"),
        ("en", "consent,language,yourself,your answer,first answer,how often,when,long,how,left"),
    ):
        for word in kept.split("," if language == "en" else " "):
            assert word in consent[language]


def test_two_processes_that_import_the_demo_at_once_agree(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is done between this one's look and its own import."""
    find = studies.find_study
    monkeypatch.setattr(demo_study.studies, "find_study", lambda *_: None)
    assert ensure_demo_study(engine, NOW)
    assert not ensure_demo_study(engine, NOW)
    monkeypatch.setattr(demo_study.studies, "find_study", find)
    with transaction(engine, writes=False) as session:
        assert len(session.scalars(select(Study)).all()) == 1
        assert len(session.scalars(select(Image.id)).all()) == 105
