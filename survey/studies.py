"""Image sets, studies and frozen predictions in the database: session in, records out."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from survey.database import take_lock
from survey.errors import StudyError
from survey.models import FrozenPrediction, Image, ImageSet, Study, StudyImage
from survey.records import Candidate, ModelAnswer, ModelVersion, StudyDefinition, StudyRecord

FREEZE_LOCK = 7_202_611_222  # any number that no other lock of the database has

_CANDIDATES = (  # the columns of a Candidate
    select(Image.id, ImageSet.visibility, Image.label, Image.person, Image.pixels_sha256)
    .join(ImageSet)
    .order_by(Image.id)
)


def has_image_set(session: Session, name: str) -> bool:
    return find_taxonomy(session, name) is not None


def find_taxonomy(session: Session, name: str) -> str | None:
    """That of an image set's labels; None where there is no such set."""
    return session.scalar(select(ImageSet.taxonomy).where(ImageSet.name == name))


def list_candidates(
    session: Session, taxonomy: str, sets: Iterable[str] | None = None
) -> list[Candidate]:
    """Images with labels of that taxonomy, of the named sets.

    Otherwise of every set but those of a demonstration, which anybody can have seen beforehand.
    """
    query = _CANDIDATES.where(ImageSet.taxonomy == taxonomy)
    if sets is not None:
        query = query.where(ImageSet.name.in_(list(sets)))
    else:
        demos = [study.id for study in list_studies(session) if study.definition.demo]
        shown = select(Image.image_set_id).join(StudyImage, StudyImage.image_id == Image.id)
        query = query.where(ImageSet.id.not_in(shown.where(StudyImage.study_id.in_(demos))))
    return [Candidate(*row) for row in session.execute(query)]


def add_study(
    session: Session,
    name: str,
    definition: StudyDefinition,
    images: Mapping[str, Sequence[str]],
    now: datetime,
) -> StudyRecord:
    """A study, or a new version of it. ``images`` are ids by phase.

    Raises StudyError when main or attention images were made ready in different ways: size or
    colour would tell which set an image comes from.
    """
    _require_one_presentation(session, [*images["main"], *images.get("attention", ())])
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
    return to_study(study)


def _require_one_presentation(session: Session, image_ids: Sequence[str]) -> None:
    query = select(ImageSet).where(ImageSet.images.any(Image.id.in_(image_ids)))
    ways: dict[str, list[str]] = {}
    for image_set in session.scalars(query.order_by(ImageSet.id)):
        settings = image_set.presentation
        way = ", ".join(f"{name} {settings[name]}" for name in sorted(settings))
        ways.setdefault(way, []).append(image_set.name)
    if len(ways) > 1:
        listed = "; ".join(f"{way}: {', '.join(sets)}" for way, sets in ways.items())
        raise StudyError(
            f"The image sets were imported in different ways ({listed}), so that an image would "
            "show which set it is from. Import them alike, with the same --size, --grey and --face."
        )


def find_study(session: Session, name: str, version: int | None = None) -> StudyRecord | None:
    """That version, or the newest of that name."""
    query = select(Study).where(Study.name == name).order_by(Study.version.desc()).limit(1)
    if version is not None:
        query = query.where(Study.version == version)
    study = session.scalar(query)
    return None if study is None else to_study(study)


def get_study(session: Session, name: str, version: int | None = None) -> StudyRecord:
    """As ``find_study``; raises StudyError when there is none."""
    study = find_study(session, name, version)
    if study is None:
        wanted = name if version is None else f"{name}, version {version}"
        raise StudyError(f"There is no study {wanted}; see: python -m survey studies list.")
    return study


def get_current_study(session: Session) -> StudyRecord:
    """The newest study whose newest version is open, the demo only where there is no other.

    Raises StudyError where none is open.
    """
    newest: dict[str, StudyRecord] = {}
    for study in session.scalars(select(Study).order_by(Study.version.desc())):
        newest.setdefault(study.name, to_study(study))
    still_open = [study for study in newest.values() if study.closed_at is None]
    found = sorted(still_open, key=lambda study: (study.definition.demo, -study.id))
    if not found:
        raise StudyError("No study is open.", "지금 열린 설문이 없어요.")
    return found[0]


def list_studies(session: Session) -> list[StudyRecord]:
    return [
        to_study(study) for study in session.scalars(select(Study).order_by(Study.name, Study.id))
    ]


def close_study(session: Session, name: str, now: datetime) -> list[int]:
    """Nobody can start or go on in any version; answers stay. The versions that were open.

    Raises StudyError when there is no such study, or all of it is closed already.
    """
    last = get_study(session, name)
    query = select(Study).where(Study.name == name, Study.closed_at.is_(None))
    rows = session.scalars(query.order_by(Study.version)).all()
    if not rows:
        raise StudyError(f"The study {name!r} was closed on {last.closed_at:%Y-%m-%d}.")
    for row in rows:
        row.closed_at = now
    return [row.version for row in rows]


def list_study_images(session: Session, study: StudyRecord, phase: str) -> list[Candidate]:
    query = _CANDIDATES.join(StudyImage, StudyImage.image_id == Image.id).where(
        StudyImage.study_id == study.id, StudyImage.phase == phase
    )
    return [Candidate(*row) for row in session.execute(query)]


def list_showable(
    session: Session, study: StudyRecord, *, while_open: bool = False
) -> frozenset[str]:
    """Images of the study that may be seen outside of it: public, and in no study that is open.

    Pictures count by their pixels: the same one may stand in several sets. ``while_open``: the
    researcher may see public ones before that.
    """
    query = (
        select(Image.id)
        .join(ImageSet)
        .join(StudyImage, StudyImage.image_id == Image.id)
        .where(ImageSet.visibility == "public", StudyImage.study_id == study.id)
    )
    if not while_open:
        shown = (
            select(aliased(Image).pixels_sha256)
            .join(StudyImage)
            .join(Study, Study.id == StudyImage.study_id)
            .where(Study.closed_at.is_(None))
        )
        query = query.where(Image.pixels_sha256.not_in(shown))
    return frozenset(session.scalars(query))


def find_jpeg(session: Session, image_id: str) -> bytes | None:
    return session.scalar(select(Image.jpeg).where(Image.id == image_id))


def list_unpredicted(
    session: Session, taxonomy: str, model: ModelVersion, study: StudyRecord | None = None
) -> list[str]:
    """Ids of the images, of one study or of all, that a model has not answered yet."""
    query = (
        select(Image.id)
        .join(ImageSet)
        .where(ImageSet.taxonomy == taxonomy, Image.id.not_in(_select_predicted(taxonomy, model)))
        .order_by(Image.id)
    )
    if study is not None:
        own = select(StudyImage.image_id).where(StudyImage.study_id == study.id)
        query = query.where(Image.id.in_(own))
    return list(session.scalars(query))


def add_predictions(
    session: Session,
    answers: Mapping[str, Mapping[str, float]],
    model: ModelVersion,
    taxonomy: str,
    now: datetime,
) -> int:
    """``answers`` are probabilities by label, by image. What another was quicker with is kept."""
    take_lock(session.connection(), FREEZE_LOCK)
    predicted = _select_predicted(taxonomy, model)
    there = set(session.scalars(predicted.where(FrozenPrediction.image_id.in_(list(answers)))))
    added = [
        FrozenPrediction(
            image_id=image_id,
            model=model.name,
            revision=model.revision,
            taxonomy=taxonomy,
            source=model.source,
            probabilities=dict(probabilities),
            created_at=now,
        )
        for image_id, probabilities in answers.items()
        if image_id not in there
    ]
    session.add_all(added)
    return len(added)


def _select_predicted(taxonomy: str, model: ModelVersion) -> Select[str]:
    """Ids of the images that a model has answered in a taxonomy."""
    return select(FrozenPrediction.image_id).where(
        FrozenPrediction.model == model.name,
        FrozenPrediction.revision == model.revision,
        FrozenPrediction.taxonomy == taxonomy,
    )


def list_model_answers(session: Session, study: StudyRecord) -> list[ModelAnswer]:
    """What every model was frozen with for every main image of the study."""
    query = (
        select(
            FrozenPrediction.model,
            FrozenPrediction.revision,
            FrozenPrediction.image_id,
            FrozenPrediction.probabilities,
            FrozenPrediction.source,
        )
        .join(StudyImage, StudyImage.image_id == FrozenPrediction.image_id)
        .where(
            StudyImage.study_id == study.id,
            StudyImage.phase == "main",
            FrozenPrediction.taxonomy == study.definition.taxonomy,
        )
        .order_by(FrozenPrediction.id)
    )
    return [
        ModelAnswer(f"{model}@{revision}", image_id, probabilities, source)
        for model, revision, image_id, probabilities, source in session.execute(query)
    ]


def to_study(row: Study) -> StudyRecord:
    return StudyRecord(
        row.id, row.name, row.version, StudyDefinition(**row.definition), row.closed_at
    )
