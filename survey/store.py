"""Every query, as verbs. A session comes in, records go out; who may ask is decided elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from survey.errors import StudyError
from survey.models import (
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
    Candidate,
    NewResponse,
    ParticipationRecord,
    PlannedTrial,
    ShownImage,
    StudyDefinition,
    StudyRecord,
    TrialRecord,
)

# --- image sets and studies ---------------------------------------------------------------------


def has_image_set(session: Session, name: str) -> bool:
    return session.scalar(select(ImageSet.id).where(ImageSet.name == name)) is not None


def list_candidates(
    session: Session, taxonomy: str, sets: Iterable[str] | None = None
) -> list[Candidate]:
    """Images of every set with labels of that taxonomy, or of the named sets alone."""
    query = (
        select(Image.id, ImageSet.visibility, Image.label, Image.person)
        .join(ImageSet)
        .where(ImageSet.taxonomy == taxonomy)
        .order_by(Image.id)
    )
    if sets is not None:
        query = query.where(ImageSet.name.in_(list(sets)))
    return [Candidate(*row) for row in session.execute(query)]


def add_study(
    session: Session,
    name: str,
    definition: StudyDefinition,
    images: Mapping[str, Sequence[str]],
    now: datetime,
) -> StudyRecord:
    """A study, or a new version of it. ``images`` are ids by phase."""
    latest = session.scalar(select(func.max(Study.version)).where(Study.name == name)) or 0
    study = Study(
        name=name,
        version=latest + 1,
        definition=definition.to_json(),
        created_at=now,
        images=[
            StudyImage(image_id=image_id, phase=phase)
            for phase, ids in images.items()
            for image_id in ids
        ],
    )
    session.add(study)
    session.flush()
    return _to_study(study)


def find_study(session: Session, name: str) -> StudyRecord | None:
    """The newest version of that name."""
    study = session.scalar(
        select(Study).where(Study.name == name).order_by(Study.version.desc()).limit(1)
    )
    return None if study is None else _to_study(study)


def list_studies(session: Session) -> list[StudyRecord]:
    return [
        _to_study(study) for study in session.scalars(select(Study).order_by(Study.name, Study.id))
    ]


def close_study(session: Session, study: StudyRecord, now: datetime) -> None:
    """Nobody can start or go on; answers stay. Raises StudyError when it is closed already."""
    row = session.get_one(Study, study.id)
    if row.closed_at is not None:
        raise StudyError(f"The study {study.name!r} was closed on {row.closed_at:%Y-%m-%d}.")
    row.closed_at = now


def list_study_images(session: Session, study: StudyRecord, phase: str) -> list[Candidate]:
    query = (
        select(Image.id, ImageSet.visibility, Image.label, Image.person)
        .join(ImageSet)
        .join(StudyImage, StudyImage.image_id == Image.id)
        .where(StudyImage.study_id == study.id, StudyImage.phase == phase)
        .order_by(Image.id)
    )
    return [Candidate(*row) for row in session.execute(query)]


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


def find_jpeg(session: Session, image_id: str) -> bytes | None:
    return session.scalar(select(Image.jpeg).where(Image.id == image_id))


# --- participations -----------------------------------------------------------------------------


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


def find_participation(session: Session, code_hash: str) -> ParticipationRecord | None:
    """Locks it until the transaction ends, so that two answers at once come one after another."""
    row = session.scalar(
        select(Participation).where(Participation.code_hash == code_hash).with_for_update()
    )
    if row is None:
        return None
    practice, total = session.execute(
        select(func.count().filter(Trial.phase == "practice"), func.count()).where(
            Trial.participation_id == row.id
        )
    ).one()
    return ParticipationRecord(
        id=row.id,
        study=_to_study(session.get_one(Study, row.study_id)),
        language=session.get_one(Participant, row.participant_id).language,
        practice=practice,
        total=total,
        progress=row.progress,
        reopened=row.reopened,
        last_seen_at=row.last_seen_at,
        finished_at=row.finished_at,
    )


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
) -> None:
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


def revise_response(session: Session, trial: TrialRecord, response: NewResponse) -> None:
    """Another label for an answered trial; what was answered first, and how fast, is kept."""
    row = session.get_one(Response, trial.id)
    row.label = response.label
    row.revisions += 1
    row.answered_at = response.answered_at


def reopen(session: Session, participation: ParticipationRecord, reopened: bool) -> None:
    """Show the last answered trial again, or no longer."""
    session.get_one(Participation, participation.id).reopened = reopened


def touch(session: Session, participation: ParticipationRecord, now: datetime) -> None:
    session.get_one(Participation, participation.id).last_seen_at = now


def delete_participation(session: Session, participation: ParticipationRecord) -> int:
    """Every row that is this person's; returns how many there were."""
    trials = select(Trial.id).where(Trial.participation_id == participation.id)
    answers = session.scalar(
        select(func.count()).select_from(Response).where(Response.trial_id.in_(trials))
    )
    row = session.get_one(Participation, participation.id)
    person = session.get_one(Participant, row.participant_id)
    session.delete(row)
    session.flush()
    session.delete(person)
    session.flush()
    return (answers or 0) + participation.total + 2


def _to_study(row: Study) -> StudyRecord:
    return StudyRecord(
        row.id, row.name, row.version, StudyDefinition(**row.definition), row.closed_at
    )
