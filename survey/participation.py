"""One person's way through a study: start, answer, back, resume, withdraw.

Every step is one transaction on the stored state, so that it makes no difference whether two tabs,
a double click, a replay or another device asks: the database alone knows where somebody is.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from survey import store, studies
from survey.database import transaction
from survey.errors import ParticipationError, StudyError
from survey.models import Participant, Participation
from survey.records import (
    NewResponse,
    ParticipationRecord,
    StudyRecord,
    TrialRecord,
    name_participant,
)
from survey.results import Result, build_result
from survey.sampling import plan_trials
from survey.statistics.quality import find_flags

CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: none looks like another
CODE_LENGTH = 12  # 60 bits
MAX_RESPONSE_MS = 3_600_000
DEVICES = ("key", "mouse", "touch", "pen")


@dataclass(frozen=True)
class Step:
    """Where somebody is after a call.

    ``trial`` is to be shown now (None: all are answered), ``upcoming`` can be loaded meanwhile.
    ``answered`` is the trial that was just answered; ``note`` says why an answer was not taken.
    """

    participation: ParticipationRecord
    trial: TrialRecord | None
    upcoming: TrialRecord | None
    answered: TrialRecord | None = None
    note: str | None = None


def start(
    engine: Engine,
    study_name: str,
    consent: bool,
    language: str,
    background: Mapping[str, str],
    now: datetime,
    version: int | None = None,
    code: str | None = None,
) -> tuple[str, Step]:
    """The code that leads back here, and the first trial.

    ``version``: the one whose text was shown; no other is agreed to. ``code``: the caller's own, so
    that the same call, after a reply that was lost, leaves one participation and not two. Raises
    StudyError for a study that is not there or closed, ParticipationError without consent.
    """
    code = make_code() if code is None else _check_code(code)
    with transaction(engine) as session:
        study = get_named_study(session, study_name)
        _require_open(study)
        if version not in (None, study.version):
            raise ParticipationError(
                "The study was changed after this page had come up; read its text once more.",
                "이 화면을 여신 뒤에 설문이 바뀌었어요. 설명을 다시 읽어 주세요.",
            )
        if begun := store.find_participation(session, hash_code(code)):
            if begun.progress:
                raise ParticipationError("This code is taken; leave it out for another one.")
            store.delete_participation(session, begun)  # what is told now is what holds
        if consent is not True:
            raise ParticipationError(
                "Taking part needs your consent; nothing was stored.",
                "참여하려면 동의가 필요해요. 저장한 것은 없어요.",
            )
        if language not in study.definition.languages:
            raise ParticipationError(
                f"This study speaks {', '.join(study.definition.languages)}, not {language!r:.20}."
            )
        seed = secrets.randbits(31)
        practice, main, attention = (
            studies.list_study_images(session, study, phase)
            for phase in ("practice", "main", "attention")
        )
        planned = plan_trials(practice, main, attention, study.definition, seed)
        store.add_participation(
            session,
            study,
            Participant(
                id=secrets.token_urlsafe(16),
                language=language,
                background=dict(background),
                created_at=now,
            ),
            Participation(
                code_hash=hash_code(code),
                seed=seed,
                consent_version=hash_consent(study, language),
                consented_at=now,
                started_at=now,
                last_seen_at=now,
            ),
            [(secrets.token_urlsafe(16), trial) for trial in planned],
        )
        return code, _show_current(session, _get(session, code))


def answer(engine: Engine, code: str, trial_id: str, response: NewResponse) -> Step:
    """Store the answer to the current trial, or revise that to the last one.

    The same answer twice changes nothing; any other trial is not answered, and ``note`` says so.
    Raises ParticipationError for a wrong code or trial, StudyError when the study is closed.
    """
    with transaction(engine) as session:
        participation = _get(session, code)
        trial = store.find_trial_by_id(session, participation, trial_id)
        if trial is None:
            raise ParticipationError(
                "There is no such trial in this participation; reload the page.",
                "이 참여에 없는 문항이에요. 페이지를 새로고침해 주세요.",
            )
        if response.label not in participation.study.definition.options:
            raise ParticipationError(
                f"{response.label!r:.40} cannot be answered; allowed are "
                f"{', '.join(participation.study.definition.options)}."
            )
        again = trial.position == participation.progress - 1
        if trial.answer == response.label and not (again and participation.reopened):
            return _show_current(session, participation, answered=trial)
        _require_open(participation.study)
        if trial.position == participation.progress:
            participation = store.add_response(session, participation, trial, response)
            if participation.finished_at is not None:
                _add_flags(session, participation, response.answered_at)
        elif again and participation.finished_at is None:
            if trial.answer != response.label:
                store.revise_response(session, trial, response)
            participation = store.reopen(session, participation, False)
        else:
            return _show_current(session, participation, note="not the current trial")
        answered = replace(trial, answer=response.label)
        return _show_current(session, participation, answered=answered)


def back(engine: Engine, code: str) -> Step:
    """Open the last answered trial once more; practice cannot be gone back to."""
    with transaction(engine) as session:
        participation = _get(session, code)
        last = store.find_trial(session, participation, participation.progress - 1)
        current = store.find_trial(session, participation, participation.progress)
        if last and current and (last.phase == "practice") == (current.phase == "practice"):
            participation = store.reopen(session, participation, True)
        return _show_current(session, participation)


def resume(engine: Engine, code: str, now: datetime) -> Step:
    """The current trial, from whatever device; raises ParticipationError for a wrong code."""
    with transaction(engine) as session:
        step = _show_current(session, _get(session, code))
        store.touch(session, step.participation, now)
        return step


def get_result(engine: Engine, code: str) -> Result:
    """Raises ParticipationError for a wrong code or a participation that is not finished."""
    with transaction(engine, writes=False) as session:
        participation = _get(session, code, lock=False)
        if participation.finished_at is None:
            raise ParticipationError(
                f"{participation.progress} of {participation.total} images are answered; the "
                "result comes after the last.",
                f"{participation.total}장 중 {participation.progress}장에 답하셨어요. 마지막 장 "
                "다음에 결과를 볼 수 있어요.",
            )
        study = participation.study
        return build_result(
            study.definition,
            [r for r in store.list_responses(session, study, participation) if r.phase == "main"],
            studies.list_model_answers(session, study),
            store.list_scores(session, study),
            closed=study.closed_at is not None,
        )


def withdraw(engine: Engine, code: str) -> int:
    """Delete everything of this person; returns the number of rows. The code is void afterwards."""
    with transaction(engine) as session:
        return store.delete_participation(session, _get(session, code))


def withdraw_named(engine: Engine, name: str) -> int:
    """The same by the name that exports give, for somebody who has lost the code."""
    with transaction(engine) as session:
        people = store.list_people(session)
        person = next((each for each in people if name_participant(each) == name), None)
        found = None if person is None else store.find_participation_of(session, person)
        if found is None:
            raise ParticipationError(f"No export of this database calls anybody {name}.")
        return store.delete_participation(session, found)


def withdraw_unanswered(engine: Engine, study_name: str, before: datetime) -> int:
    """Delete everybody who was last there before that and gave no answer; returns how many.

    No export has a row of theirs, so that nobody could name them. Raises StudyError.
    """
    with transaction(engine) as session:
        people = store.list_unanswered(session, get_named_study(session, study_name).name, before)
        for person in people:
            if found := store.find_participation_of(session, person):
                store.delete_participation(session, found)
        return len(people)


def build_response(
    label: Any, response_ms: Any, client: Mapping[str, Any], now: datetime
) -> NewResponse:
    """Checks what a browser, or anybody, sent. Raises ParticipationError."""
    if not isinstance(label, str):
        raise ParticipationError("label must be a text.")
    if isinstance(response_ms, bool) or not isinstance(response_ms, int | float):
        raise ParticipationError("response_ms must be a number of milliseconds.")
    if not 0 <= response_ms <= MAX_RESPONSE_MS:
        raise ParticipationError(
            f"response_ms must be from 0 to {MAX_RESPONSE_MS}, but got {response_ms!r:.30}."
        )
    device = client.get("device")
    if device is not None and device not in DEVICES:
        raise ParticipationError(f"device must be one of {', '.join(DEVICES)}.")
    return NewResponse(
        label=label,
        response_ms=round(response_ms),
        device=device,
        blurred=client.get("blurred") is True,
        shown_at=_read_time(client.get("shown_at")),
        answered_at=now,
    )


def make_code() -> str:
    return write_code("".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH)))


def write_code(code: str) -> str:
    """As people are shown it, however they typed it."""
    clean = _clean_code(code)
    return "-".join(clean[at : at + 4] for at in range(0, len(clean), 4))


def hash_code(code: str) -> str:
    """As it is stored; what people mistype (small letters, spaces, O for 0) is put right first."""
    return hashlib.sha256(_clean_code(code).encode("utf-8", "replace")).hexdigest()


def _clean_code(code: str) -> str:
    return code.upper().translate(str.maketrans("OIL", "011", " -\t\r\n"))


def _check_code(code: str) -> str:
    clean = _clean_code(code)
    if len(clean) != CODE_LENGTH or not set(clean) <= set(CODE_LETTERS):
        raise ParticipationError(
            f"code must be {CODE_LENGTH} of {CODE_LETTERS}, drawn by lot; leave it out for one."
        )
    return code


def hash_consent(study: StudyRecord, language: str) -> str:
    """Identifies the text that was agreed to."""
    return hashlib.sha256(study.definition.consent[language].encode()).hexdigest()


def get_named_study(session: Session, name: str) -> StudyRecord:
    study = studies.find_study(session, name)
    if study is None:
        raise StudyError(f"There is no study {name!r:.60}.", "그런 설문은 없어요.")
    return study


def _require_open(study: StudyRecord) -> None:
    if study.closed_at is not None:
        raise StudyError(
            f"The study {study.name!r} is closed; answers given before are kept.",
            "이 설문은 끝났어요. 앞서 하신 답은 그대로 있어요.",
        )


def _get(session: Session, code: Any, *, lock: bool = True) -> ParticipationRecord:
    if isinstance(code, str) and len(code) <= 100:
        found = store.find_participation(session, hash_code(code), lock=lock)
        if found is not None:
            return found
    raise ParticipationError(
        "This code is not known. Check it, or start anew.",
        "모르는 코드예요. 다시 확인하거나 처음부터 시작해 주세요.",
    )


def _add_flags(session: Session, participation: ParticipationRecord, now: datetime) -> None:
    session.flush()
    answers = store.list_responses(session, participation.study, participation)
    flags = find_flags(answers, participation.study.definition.labels)
    store.add_flags(session, participation, flags, now)


def _show_current(
    session: Session,
    participation: ParticipationRecord,
    answered: TrialRecord | None = None,
    note: str | None = None,
) -> Step:
    trial, upcoming = (
        store.find_trial(session, participation, participation.position + ahead) for ahead in (0, 1)
    )
    return Step(participation, trial, upcoming, answered, note)


def _read_time(value: Any) -> datetime | None:
    """An ISO time with a zone, as browsers give it; anything else is left out."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        time = datetime.fromisoformat(value)
        return time.astimezone(UTC) if time.tzinfo else None
    except (ValueError, OverflowError):  # the latter: a zone that leads out of the calendar
        return None
