"""A small study, its images drawn here: grey squares, one per person and emotion."""

import io

from PIL import Image as Picture
from sqlalchemy import Engine

from kfer.labels import get_taxonomy
from survey import studies
from survey.dashboard import Dashboard
from survey.database import open_database, transaction
from survey.endpoints import Endpoints
from survey.links import Signer
from survey.models import Image, ImageSet
from survey.records import ResponseRecord, StudyDefinition, StudyRecord
from tests.survey.conftest import NOW

LABELS = get_taxonomy("korean5").labels
TEXTS = {"ko": "동의해요.", "en": "I agree."}
SMALL = StudyDefinition(title=TEXTS, consent=TEXTS, size=10, practice=2, block=4)


# An answer that raises no doubt, to be changed as a test needs it.
ANSWER = ResponseRecord(
    participation_id=1,
    participant_id="somebody",
    language="ko",
    background={},
    finished=True,
    phase="main",
    block=0,
    position=1,
    image_id="a",
    image_set="faces",
    visibility="public",
    image_person=None,
    truth=LABELS[0],
    label=LABELS[0],
    first_label=LABELS[0],
    revisions=0,
    response_ms=1500,
    shown_at=None,
    answered_at=NOW,
    device="key",
    blurred=False,
)


def build_empty_survey() -> tuple[Endpoints, Dashboard]:
    """On a database without a study, for apps whose survey nobody opens."""
    engine = open_database("sqlite://")
    return Endpoints(engine, Signer("secret"), lambda: NOW), Dashboard(engine)


def draw_jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Picture.new("L", (48, 48), level % 256).save(file, "JPEG", quality=90)
    return file.getvalue()


def add_images(
    engine: Engine, visibility: str, per_label: int, prefix: str, taxonomy: str
) -> list[str]:
    """A set of its own; returns the ids, which carry no label."""
    labels = get_taxonomy(taxonomy).labels
    ids = [f"{prefix}{index:03}" for index in range(per_label * len(labels))]
    with transaction(engine) as session:
        image_set = ImageSet(
            name=f"set {prefix}",
            visibility=visibility,
            taxonomy=taxonomy,
            presentation={},
            created_at=NOW,
        )
        image_set.images = [
            Image(
                id=image_id,
                label=labels[index % len(labels)],
                person=f"{index % 3}",
                pixels_sha256=f"{index:064}",
                width=48,
                height=48,
                jpeg=draw_jpeg(index),
            )
            for index, image_id in enumerate(ids)
        ]
        session.add(image_set)
    return ids


def add_study(
    engine: Engine, name: str = "small", definition: StudyDefinition = SMALL, attention: int = 0
) -> StudyRecord:
    """``definition.size`` main images, half of them public, practice and attention images."""
    each = definition.size // 2 // len(definition.labels.labels)

    def add(visibility: str, per_label: int, kind: str) -> list[str]:
        return add_images(engine, visibility, per_label, f"{name}-{kind}-", definition.taxonomy)

    main = [image for kind in ("public", "private") for image in add(kind, each, kind)]
    practice = add("public", 1, "practice")[: definition.practice]
    checks = add("public", 1, "attention")[:attention] if attention else []
    phases = {"main": main, "practice": practice, "attention": checks}
    with transaction(engine) as session:
        return studies.add_study(session, name, definition, phases, NOW)


def add_version(engine: Engine, name: str) -> StudyRecord:
    """The study once more, with the images of its last version."""
    with transaction(engine) as session:
        last = studies.get_study(session, name)
        phases = {
            phase: [image.id for image in studies.list_study_images(session, last, phase)]
            for phase in ("main", "practice", "attention")
        }
        return studies.add_study(session, name, last.definition, phases, NOW)
