"""Participations and their answers in the database. Who may ask for what is decided elsewhere."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from survey import studies
from survey.models import (
    Flag,
    FrozenPrediction,
    Image,
    ImageSet,
    Participant,
    Participation,
    Response,
    Study,
    StudyImage,
    Trial,
)
from survey.records import (
    FinishedRecord,
    FlagRecord,
    NewResponse,
    ParticipationRecord,
    PlannedTrial,
    ResponseRecord,
    ShownImage,
    StudyRecord,
    TrialRecord,
)


def find_shown(session: Session, trial_id: str) -> ShownImage | None:
    row = session.execute(
        select(
            Trial.image_id,
            Trial.position,
            Participation.progress,
            Participation.reopened,
            Participation.finished_at,
            Study.closed_at,
        )
        .join(Participation, Participation.id == Trial.participation_id)
        .join(Study, Study.id == Participation.study_id)
        .where(Trial.id == trial_id)
    ).first()
    if row is None:
        return None
    image_id, position, progress, reopened, finished_at, closed_at = row
    over = finished_at is not None or closed_at is not None
    return ShownImage(image_id, not over and position - progress + reopened in (0, 1))


def add_participation(
    session: Session,
    study: StudyRecord,
    participant: Participant,
    participation: Participation,
    trials: Sequence[tuple[str, PlannedTrial]],
) -> None:
    """The frozen order is stored with it; ``trials`` come with their random ids."""
    participation.study_id = study.id
    participation.participant = participant
    participation.trials = [
        Trial(
            id=trial_id,
            position=position,
            phase=planned.phase,
            block=planned.block,
            image_id=planned.image_id,
        )
        for position, (trial_id, planned) in enumerate(trials)
    ]
    session.add(participation)
    session.flush()


def list_people(session: Session) -> list[str]:
    """The ids of everybody who ever began anything."""
    return list(session.scalars(select(Participant.id)))


def list_unanswered(session: Session, study_name: str, before: datetime) -> list[str]:
    """The ids of those who were last there before that, in any version, and gave no answer."""
    answered = select(Trial.participation_id).join(Response)
    query = (
        select(Participation.participant_id)
        .join(Study, Study.id == Participation.study_id)
        .where(
            Study.name == study_name,
            Participation.last_seen_at < before,
            Participation.id.not_in(answered),
        )
    )
    return list(session.scalars(query))


def find_participation(
    session: Session, code_hash: str, *, lock: bool = True
) -> ParticipationRecord | None:
    return _find_participation(session, Participation.code_hash == code_hash, lock=lock)


def find_participation_of(session: Session, participant_id: str) -> ParticipationRecord | None:
    return _find_participation(session, Participation.participant_id == participant_id)


def _find_participation(
    session: Session, which: ColumnElement[bool], *, lock: bool = True
) -> ParticipationRecord | None:
    """``lock``: until the transaction ends, so that two answers at once come one after another."""
    query = select(Participation).where(which)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        return None
    practice, total = session.execute(
        select(func.count().filter(Trial.phase == "practice"), func.count()).where(
            Trial.participation_id == row.id
        )
    ).one()
    return ParticipationRecord(
        id=row.id,
        study=studies.to_study(session.get_one(Study, row.study_id)),
        language=session.get_one(Participant, row.participant_id).language,
        practice=practice,
        total=total,
        progress=row.progress,
        reopened=row.reopened,
        last_seen_at=row.last_seen_at,
        finished_at=row.finished_at,
    )


def list_scores(session: Session, study: StudyRecord) -> list[int]:
    """Right answers in main trials of everybody who finished that version of the study."""
    query = (
        select(func.count().filter(Response.label == Image.label))
        .select_from(Participation)
        .join(Trial, Trial.participation_id == Participation.id)
        .join(Image, Image.id == Trial.image_id)
        .join(Response, Response.trial_id == Trial.id)
        .where(
            Participation.study_id == study.id,
            Participation.finished_at.is_not(None),
            Trial.phase == "main",
        )
        .group_by(Participation.id)
    )
    return list(session.scalars(query))


def list_responses(
    session: Session, study: StudyRecord, participation: ParticipationRecord | None = None
) -> list[ResponseRecord]:
    """Every answer to that version of the study, or one person's, in the order they were shown."""
    chosen = select(Participation.id).where(Participation.study_id == study.id)
    if participation is not None:
        chosen = chosen.where(Participation.id == participation.id)
    # Numbered before the join with answers, which not every trial has.
    own_count = [Trial.participation_id, Trial.phase == "practice"]
    place = func.row_number().over(partition_by=own_count, order_by=Trial.position)
    shown = select(Trial, place.label("place")).where(Trial.participation_id.in_(chosen)).subquery()
    query = (
        select(
            Participation.id,
            Participant.id,
            Participant.language,
            Participant.background,
            Participation.finished_at.is_not(None),
            shown.c.phase,
            shown.c.block,
            shown.c.place,
            Image.id,
            ImageSet.name,
            ImageSet.visibility,
            Image.person,
            Image.label,
            Response.label,
            Response.first_label,
            Response.revisions,
            Response.response_ms,
            Response.shown_at,
            Response.answered_at,
            Response.device,
            Response.blurred,
        )
        .select_from(shown)
        .join(Participation, Participation.id == shown.c.participation_id)
        .join(Participant, Participant.id == Participation.participant_id)
        .join(Response, Response.trial_id == shown.c.id)
        .join(Image, Image.id == shown.c.image_id)
        .join(ImageSet, ImageSet.id == Image.image_set_id)
        .order_by(Participation.id, shown.c.position)
    )
    return [ResponseRecord(*row) for row in session.execute(query)]


def read_answers(session: Session, study: StudyRecord) -> pd.DataFrame:
    """Main answers and repeats of finished participations, a row each, for statistics.

    Columns participation_id, image_id, phase, label and response_ms.
    """
    query = (
        select(
            Participation.id.label("participation_id"),
            Trial.image_id,
            Trial.phase,
            Response.label,
            Response.response_ms,
        )
        .join(Trial, Trial.participation_id == Participation.id)
        .join(Response, Response.trial_id == Trial.id)
        .where(
            Participation.study_id == study.id,
            Participation.finished_at.is_not(None),
            Trial.phase.in_(["main", "repeat"]),
        )
    )
    return pd.read_sql(query, session.connection())


def list_finished(session: Session, study: StudyRecord) -> dict[int, FinishedRecord]:
    """By participation; those that are not finished are left out."""
    query = select(Participation.id, Participation.participant_id, Participation.finished_at).where(
        Participation.study_id == study.id, Participation.finished_at.is_not(None)
    )
    return {
        participation_id: FinishedRecord(participant_id, finished_at)
        for participation_id, participant_id, finished_at in session.execute(query)
        if finished_at is not None  # as the query asks; said for the type checker
    }


def count_unfinished(session: Session, study: StudyRecord) -> int:
    query = select(func.count()).where(
        Participation.study_id == study.id, Participation.finished_at.is_(None)
    )
    return session.scalar(query) or 0


def stamp_study(session: Session, study: StudyRecord) -> tuple[Any, ...]:
    """Changes whenever something does that a comparison of the study is made of."""
    finished = Participation.finished_at.is_not(None)
    people = select(
        func.count(Participation.finished_at),
        func.max(Participation.finished_at),
        func.sum(Participation.id).filter(finished),
        func.count(),
    ).where(Participation.study_id == study.id)
    predictions = (
        select(func.count(), func.max(FrozenPrediction.id))
        .join(StudyImage, StudyImage.image_id == FrozenPrediction.image_id)
        .where(StudyImage.study_id == study.id)
    )
    return (*session.execute(people).one(), *session.execute(predictions).one(), study.closed_at)


def add_flags(
    session: Session,
    participation: ParticipationRecord,
    flags: Sequence[FlagRecord],
    now: datetime,
) -> None:
    session.add_all(
        Flag(participation_id=participation.id, rule=flag.rule, detail=flag.detail, created_at=now)
        for flag in flags
    )


def list_flags(session: Session, study: StudyRecord) -> dict[int, list[FlagRecord]]:
    """By participation; those without a flag are left out."""
    query = (
        select(Flag.participation_id, Flag.rule, Flag.detail)
        .join(Participation)
        .where(Participation.study_id == study.id)
        .order_by(Flag.id)
    )
    flags: dict[int, list[FlagRecord]] = {}
    for participation_id, rule, detail in session.execute(query):
        flags.setdefault(participation_id, []).append(FlagRecord(rule, detail))
    return flags


def find_trial(
    session: Session, participation: ParticipationRecord, position: int
) -> TrialRecord | None:
    return _find_trial(session, participation, Trial.position == position)


def find_trial_by_id(
    session: Session, participation: ParticipationRecord, trial_id: str
) -> TrialRecord | None:
    """None for other people's trials, too."""
    return _find_trial(session, participation, Trial.id == trial_id)


def _find_trial(
    session: Session, participation: ParticipationRecord, which: ColumnElement[bool]
) -> TrialRecord | None:
    row = session.execute(
        select(
            Trial.id,
            Trial.position,
            Trial.phase,
            Trial.block,
            Trial.image_id,
            Image.label,
            Response.label,
        )
        .join(Image, Image.id == Trial.image_id)
        .outerjoin(Response, Response.trial_id == Trial.id)
        .where(Trial.participation_id == participation.id, which)
    ).first()
    return None if row is None else TrialRecord(*row)


def add_response(
    session: Session,
    participation: ParticipationRecord,
    trial: TrialRecord,
    response: NewResponse,
) -> ParticipationRecord:
    """The first answer to the current trial: progress moves on by one, at the last it is over."""
    session.add(
        Response(
            trial_id=trial.id,
            label=response.label,
            first_label=response.label,
            response_ms=response.response_ms,
            shown_at=response.shown_at,
            answered_at=response.answered_at,
            device=response.device,
            blurred=response.blurred,
        )
    )
    row = session.get_one(Participation, participation.id)
    row.progress = trial.position + 1
    row.reopened = False
    row.last_seen_at = response.answered_at
    if row.progress == participation.total:
        row.finished_at = response.answered_at
    return replace(
        participation,
        progress=row.progress,
        reopened=False,
        last_seen_at=row.last_seen_at,
        finished_at=row.finished_at,
    )


def revise_response(session: Session, trial: TrialRecord, response: NewResponse) -> None:
    """Another label for an answered trial; what was answered first, and how fast, is kept."""
    row = session.get_one(Response, trial.id)
    row.label = response.label
    row.revisions += 1
    row.answered_at = response.answered_at


def reopen(
    session: Session, participation: ParticipationRecord, reopened: bool
) -> ParticipationRecord:
    """Show the last answered trial again, or no longer."""
    session.get_one(Participation, participation.id).reopened = reopened
    return replace(participation, reopened=reopened)


def touch(session: Session, participation: ParticipationRecord, now: datetime) -> None:
    session.get_one(Participation, participation.id).last_seen_at = now


def delete_participation(session: Session, participation: ParticipationRecord) -> int:
    """Every row that is this person's; returns how many there were."""
    trials = select(Trial.id).where(Trial.participation_id == participation.id)
    answers = session.scalar(
        select(func.count()).select_from(Response).where(Response.trial_id.in_(trials))
    )
    flags = session.scalar(
        select(func.count()).select_from(Flag).where(Flag.participation_id == participation.id)
    )
    row = session.get_one(Participation, participation.id)
    person = session.get_one(Participant, row.participant_id)
    session.delete(row)
    session.flush()
    session.delete(person)
    session.flush()
    return (answers or 0) + (flags or 0) + participation.total + 2
