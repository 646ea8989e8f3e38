"""One person's way through a study, on both databases, and every way to do it wrong."""

import re
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from survey import participation, studies
from survey.database import transaction
from survey.errors import ParticipationError, StudyError
from survey.models import Base, Participant, Participation, Response, Study, Trial
from survey.participation import Step, build_response, hash_code, make_code
from survey.records import CANNOT_TELL
from tests.survey.conftest import NOW
from tests.survey.samples import LABELS, SMALL, TEXTS, add_study, add_version


@pytest.fixture
def study_engine(engine: Engine) -> Engine:
    add_study(engine)
    return engine


def start(engine: Engine, **changes: Any) -> tuple[str, Step]:
    settings: dict[str, Any] = {
        "study_name": "small", "consent": True, "language": "ko", "background": {}, "now": NOW
    }  # fmt: skip
    return participation.start(engine, **{**settings, **changes})


def answer(engine: Engine, code: str, step: Step, label: str = LABELS[0], ms: float = 800) -> Step:
    assert step.trial is not None
    response = build_response(label, ms, {"device": "key"}, NOW + timedelta(seconds=1))
    return participation.answer(engine, code, step.trial.id, response)


def answer_all(engine: Engine, code: str, step: Step) -> list[Step]:
    steps = []
    while step.trial is not None:
        step = answer(engine, code, step)
        steps.append(step)
    return steps


def count_rows(engine: Engine) -> dict[str, int]:
    with transaction(engine, writes=False) as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in Base.metadata.tables.items()
        }


def test_a_beginning_whose_reply_was_lost_is_asked_for_again(study_engine: Engine) -> None:
    code = make_code()
    start(study_engine, code=code)
    again = start(study_engine, code=code.lower(), language="en")  # told otherwise meanwhile
    assert again[1].participation.language == "en"
    assert count_rows(study_engine)["participant"] == 1
    answer(study_engine, code, again[1])
    for study in ("small", "other"):
        if study == "other":
            add_study(study_engine, "other")
        with pytest.raises(ParticipationError, match="is taken"):
            start(study_engine, study_name=study, code=code)
    assert count_rows(study_engine)["participant"] == 1


@pytest.mark.timeout(60)
def test_a_result_waits_for_nobody(study_engine: Engine) -> None:
    code, first = start(study_engine)
    answer_all(study_engine, code, first)
    with transaction(study_engine) as session:
        participation._get(session, code)  # as another tab does, before it writes
        assert participation.get_result(study_engine, code).whole.total == 10


def test_who_never_answered_can_be_deleted_and_nobody_else(study_engine: Engine) -> None:
    code, first = start(study_engine)
    answer(study_engine, code, first)
    start(study_engine)
    later, _ = start(study_engine, now=NOW + timedelta(hours=1))
    add_study(study_engine, "other")
    start(study_engine, study_name="other")
    before = NOW + timedelta(minutes=30)
    assert participation.withdraw_unanswered(study_engine, "small", before) == 1
    assert participation.withdraw_unanswered(study_engine, "small", before) == 0
    assert count_rows(study_engine)["participant"] == 3
    for kept in (code, later):
        assert participation.resume(study_engine, kept, NOW).trial is not None
    with pytest.raises(StudyError, match="There is no study"):
        participation.withdraw_unanswered(study_engine, "none", before)


@pytest.mark.parametrize("code", ["", "0000-0000-000", "0000-0000-00000", "0000-0000-000U"])
def test_a_code_of_ones_own_is_as_long_as_ours(code: str, study_engine: Engine) -> None:
    with pytest.raises(ParticipationError, match="code must be 12 of 0123456789ABC"):
        start(study_engine, code=code)
    assert count_rows(study_engine)["participant"] == 0


def test_nobody_agrees_to_a_text_that_was_not_shown(study_engine: Engine) -> None:
    assert start(study_engine, version=1)[1].participation.study.version == 1
    add_version(study_engine, "small")
    with pytest.raises(ParticipationError, match="The study was changed after this page"):
        start(study_engine, version=1)
    assert count_rows(study_engine)["participant"] == 1
    assert start(study_engine, version=2)[1].participation.study.version == 2


def test_a_whole_participation(study_engine: Engine) -> None:
    code, step = start(study_engine)
    assert re.fullmatch("[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", code)
    assert (step.participation.practice, step.participation.total) == (2, 12)
    assert step.trial is not None
    assert step.upcoming is not None
    assert (step.trial.position, step.upcoming.position) == (0, 1)

    steps = answer_all(study_engine, code, step)
    assert [after.participation.progress for after in steps] == list(range(1, 13))
    shown = [after.answered for after in steps if after.answered]
    assert [trial.phase for trial in shown] == ["practice"] * 2 + ["main"] * 10
    assert [trial.block for trial in shown[2:]] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert Counter(trial.truth for trial in shown[2:7]).total() == 5
    assert {trial.answer for trial in shown} == {LABELS[0]}
    assert len({trial.image_id for trial in shown}) == 12
    assert steps[-1].trial is None
    assert steps[-1].participation.finished_at == NOW + timedelta(seconds=1)
    with transaction(study_engine, writes=False) as session:
        row = session.scalars(select(Response)).first()
        assert row is not None
        assert (row.response_ms, row.device, row.revisions, row.blurred) == (800, "key", 0, False)


def test_the_code_is_kept_as_a_hash_alone(study_engine: Engine) -> None:
    code, _ = start(study_engine)
    with transaction(study_engine, writes=False) as session:
        row = session.scalars(select(Participation)).one()
        values = [str(getattr(row, column.key)) for column in Participation.__table__.columns]
    assert row.code_hash == hash_code(code)
    assert not any(code in value or code.replace("-", "") in value for value in values)


@pytest.mark.parametrize(
    "typed", ["{}", " {} ", "{}\n"], ids=["as shown", "with spaces", "with a line end"]
)
def test_a_code_is_read_as_people_type_it(typed: str) -> None:
    code = "0123-456J-KMNP"
    assert hash_code(typed.format(code.lower())) == hash_code(code)
    assert hash_code("OI23-456J-KMNP") == hash_code(code)
    assert hash_code("0123456JKMNP") == hash_code(code)
    assert hash_code("0123-456J-KMNQ") != hash_code(code)
    assert len({make_code() for _ in range(100)}) == 100


def test_the_same_answer_twice_changes_nothing(study_engine: Engine) -> None:
    code, first = start(study_engine)
    once = answer(study_engine, code, first)
    again = answer(study_engine, code, first, ms=9999)
    assert again.participation.progress == once.participation.progress == 1
    assert again.note is None
    assert again.answered == once.answered
    with transaction(study_engine, writes=False) as session:
        assert session.scalars(select(Response)).one().response_ms == 800


def test_another_label_revises_the_last_answer_and_keeps_the_first(study_engine: Engine) -> None:
    code, first = start(study_engine)
    answer(study_engine, code, first, LABELS[0])
    revised = answer(study_engine, code, first, LABELS[1], ms=100)
    assert revised.participation.progress == 1
    assert revised.answered is not None
    assert revised.answered.answer == LABELS[1]
    with transaction(study_engine, writes=False) as session:
        row = session.scalars(select(Response)).one()
        assert (row.label, row.first_label, row.revisions, row.response_ms) == (
            LABELS[1], LABELS[0], 1, 800
        )  # fmt: skip


def test_any_other_trial_is_not_answered(study_engine: Engine) -> None:
    code, first = start(study_engine)
    second = answer(study_engine, code, first)
    third = answer(study_engine, code, second)
    for out_of_turn in (first, Step(third.participation, third.upcoming, None)):
        refused = answer(study_engine, code, out_of_turn, LABELS[3])
        assert refused.note == "not the current trial"
        assert refused.trial == third.trial
    assert count_rows(study_engine)["response"] == 2


def test_after_the_last_answer_nothing_changes_any_more(study_engine: Engine) -> None:
    code, step = start(study_engine)
    steps = answer_all(study_engine, code, step)
    late = answer(study_engine, code, steps[-2], LABELS[2])
    assert late.note == "not the current trial"
    assert participation.back(study_engine, code).trial is None
    assert participation.resume(study_engine, code, NOW).trial is None


def test_back_shows_the_last_answer_and_forth_goes_on(study_engine: Engine) -> None:
    code, step = start(study_engine)
    assert participation.back(study_engine, code).trial == step.trial  # nothing to go back to
    for _ in range(2):
        step = answer(study_engine, code, step)
    assert participation.back(study_engine, code).trial == step.trial  # practice is over
    after = answer(study_engine, code, step, LABELS[4])
    earlier = participation.back(study_engine, code)
    assert earlier.trial is not None
    assert step.trial is not None
    assert (earlier.trial.id, earlier.trial.answer) == (step.trial.id, LABELS[4])
    assert earlier.upcoming == after.trial
    assert participation.back(study_engine, code) == earlier  # one step, not two
    assert answer(study_engine, code, earlier, LABELS[1]).trial == after.trial


def test_resume_comes_to_the_same_trial_whenever_and_wherever(study_engine: Engine) -> None:
    code, step = start(study_engine)
    step = answer(study_engine, code, step)
    resumed = participation.resume(study_engine, code.lower(), NOW + timedelta(days=2))
    assert resumed.trial == step.trial
    assert resumed.participation.last_seen_at == NOW + timedelta(seconds=1)  # when last here
    again = participation.resume(study_engine, code, NOW + timedelta(days=3))
    assert again.participation.last_seen_at == NOW + timedelta(days=2)


def test_withdrawing_deletes_every_row_of_that_person_and_no_other(study_engine: Engine) -> None:
    before = count_rows(study_engine)
    other, step = start(study_engine)
    answer(study_engine, other, step)
    kept = count_rows(study_engine)
    code, step = start(study_engine, background={"age": "30-39"})
    answer(study_engine, code, answer(study_engine, code, step))
    assert participation.withdraw(study_engine, code) == 2 + 12 + 2
    assert count_rows(study_engine) == kept
    with pytest.raises(ParticipationError, match="not known"):
        participation.withdraw(study_engine, code)
    participation.withdraw(study_engine, other)
    assert count_rows(study_engine) == before


@pytest.mark.parametrize("code", ["", "0000-0000-0000", "x" * 1_000_000, None, 7, ["a"], "한글"])
def test_a_wrong_code_is_answered_alike_everywhere(code: Any, study_engine: Engine) -> None:
    response = build_response(LABELS[0], 1, {}, NOW)
    for call in (
        lambda: participation.answer(study_engine, code, "a", response),
        lambda: participation.back(study_engine, code),
        lambda: participation.resume(study_engine, code, NOW),
        lambda: participation.withdraw(study_engine, code),
    ):
        with pytest.raises(ParticipationError, match=r"^This code is not known\.") as caught:
            call()
        assert caught.value.korean == "모르는 코드예요. 다시 확인하거나 처음부터 시작해 주세요."


def test_other_peoples_trials_cannot_be_answered(study_engine: Engine) -> None:
    _, theirs = start(study_engine)
    code, _ = start(study_engine)
    with pytest.raises(ParticipationError, match="no such trial in this participation"):
        answer(study_engine, code, theirs)
    assert count_rows(study_engine)["response"] == 0


@pytest.mark.parametrize("label", ["joy", "불안", "", "x" * 1_000_000])
def test_a_label_that_the_study_does_not_offer_is_refused(label: str, study_engine: Engine) -> None:
    code, step = start(study_engine)
    with pytest.raises(
        ParticipationError, match=r"cannot be answered; allowed are 기쁨,"
    ) as caught:
        answer(study_engine, code, step, label)
    assert len(str(caught.value)) < 300
    assert answer(study_engine, code, step, CANNOT_TELL).participation.progress == 1


@pytest.mark.parametrize(
    ("label", "ms", "client", "message"),
    [
        (3, 1, {}, "label must be a text"),
        ("기쁨", "1", {}, "response_ms must be a number"),
        ("기쁨", True, {}, "response_ms must be a number"),
        ("기쁨", -1, {}, "response_ms must be from 0 to 3600000, but got -1"),
        ("기쁨", 1e9, {}, "response_ms must be from 0"),
        ("기쁨", float("nan"), {}, "response_ms must be from 0"),
        ("기쁨", 1, {"device": "mind"}, "device must be one of key, mouse, touch, pen"),
    ],
)
def test_what_no_browser_of_ours_sends_is_refused(
    label: Any, ms: Any, client: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParticipationError, match=message):
        build_response(label, ms, client, NOW)


@pytest.mark.parametrize("shown_at", ["yesterday", "2026-11-21T12:00:00", 5, "x" * 99, None])
def test_a_time_that_is_none_is_left_out(shown_at: Any) -> None:
    assert build_response("기쁨", 1, {"shown_at": shown_at}, NOW).shown_at is None
    good = build_response("기쁨", 1, {"shown_at": "2026-11-21T12:00:00.000Z"}, NOW)
    assert good.shown_at == NOW


def test_without_consent_nothing_is_stored(study_engine: Engine) -> None:
    before = count_rows(study_engine)
    for consent in (False, None, "yes", 1):
        with pytest.raises(ParticipationError, match="needs your consent; nothing was stored"):
            start(study_engine, consent=consent)
    assert count_rows(study_engine) == before


def test_a_study_that_is_not_there_or_closed_cannot_be_taken_part_in(study_engine: Engine) -> None:
    with pytest.raises(StudyError, match="There is no study 'large'"):
        start(study_engine, study_name="large")
    with pytest.raises(ParticipationError, match="speaks ko, en, not 'fr'"):
        start(study_engine, language="fr")
    code, step = start(study_engine)
    after = answer(study_engine, code, step)
    with transaction(study_engine) as session:
        studies.close_study(session, "small", NOW)
    with pytest.raises(StudyError, match="is closed"):
        start(study_engine)
    with pytest.raises(StudyError, match="is closed; answers given before are kept"):
        answer(study_engine, code, after)
    assert participation.resume(study_engine, code, NOW).participation.progress == 1
    assert participation.withdraw(study_engine, code) == 15  # also from a closed study


def test_a_new_version_leaves_old_participations_alone(study_engine: Engine) -> None:
    code, step = start(study_engine)
    with transaction(study_engine) as session:
        old = studies.find_study(session, "small")
        assert old is not None
        ids = {
            phase: [image.id for image in studies.list_study_images(session, old, phase)]
            for phase in ("practice", "main")
        }
        new = studies.add_study(session, "small", SMALL, ids, NOW)
    assert (old.version, new.version) == (1, 2)
    after = answer(study_engine, code, step)
    assert after.participation.study == old
    assert start(study_engine)[1].participation.study == new
    assert old.definition.consent == TEXTS
    # Only the newest version counts as open, be an older one left so.
    with transaction(study_engine) as session:
        assert studies.get_current_study(session) == new
        session.get_one(Study, new.id).closed_at = NOW
        with pytest.raises(StudyError, match="No study is open"):
            studies.get_current_study(session)
        assert studies.close_study(session, "small", NOW) == [1]
        with pytest.raises(StudyError, match="was closed on"):
            studies.close_study(session, "small", NOW)
    with pytest.raises(StudyError, match="is closed"):
        answer(study_engine, code, after)


def test_forty_answers_at_once_to_one_trial_are_one(study_engine: Engine) -> None:
    """A double click, two tabs, a replay: whoever comes first counts, the rest is told."""
    code, first = start(study_engine)
    gate = threading.Barrier(8)
    steps: list[Step] = []
    errors: list[Exception] = []

    def send(label: str) -> None:
        gate.wait()
        try:
            steps.extend(answer(study_engine, code, first, label) for _ in range(5))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=send, args=(LABELS[0],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {step.participation.progress for step in steps} == {1}
    assert count_rows(study_engine)["response"] == 1


def test_orders_differ_between_people_and_practice_does_not_mix(study_engine: Engine) -> None:
    orders = []
    for _ in range(3):
        start(study_engine)
    with transaction(study_engine, writes=False) as session:
        for row in session.scalars(select(Participation)):
            orders.append(
                tuple(
                    session.scalars(
                        select(Trial.image_id)
                        .where(Trial.participation_id == row.id)
                        .order_by(Trial.position)
                    )
                )
            )
        assert session.scalar(select(func.count()).select_from(Participant)) == 3
    assert len(set(orders)) == 3
    assert all("practice" in image_id for order in orders for image_id in order[:2])
