"""The embedded demo study: imported once from ``survey/demo``, ready to be taken part in."""

import csv
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from survey import studies
from survey.database import transaction
from survey.image_sets import Presentation, build_image_set, prepare
from survey.records import StudyDefinition, build_definition
from survey.sources import Entry

NAME = "demo"
FOLDER = Path(__file__).parent / "demo"


@dataclass(frozen=True)
class _Listed:
    entry: Entry
    visibility: str
    phase: str


def load_demo_definition() -> StudyDefinition:
    path = FOLDER / "study.toml"
    return build_definition(tomllib.loads(path.read_text(encoding="utf-8")), path.name)


def ensure_demo_study(engine: Engine, now: datetime) -> bool:
    """Import it where it is not there yet; True if this call did. Two processes may try at once."""
    with transaction(engine, writes=False) as session:
        if studies.find_study(session, NAME):
            return False
    definition = load_demo_definition()
    presentation = Presentation()
    parts: dict[tuple[str, str], list[Entry]] = {}
    for listed in _read_manifest():
        parts.setdefault((listed.phase, listed.visibility), []).append(listed.entry)
    sets = {
        (phase, visibility): build_image_set(
            f"{NAME} {phase} {visibility}",
            visibility,
            definition.labels,
            presentation,
            prepare(entries, presentation).prepared,
            now,
        )
        for (phase, visibility), entries in parts.items()
    }
    try:
        with transaction(engine) as session:
            session.add_all(sets.values())
            images: dict[str, list[str]] = {}
            for (phase, _), image_set in sets.items():
                images.setdefault(phase, []).extend(image.id for image in image_set.images)
            studies.add_study(session, NAME, definition, images, now)
    except IntegrityError:  # another process was quicker
        return False
    return True


def _read_manifest() -> Iterator[_Listed]:
    with (FOLDER / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path = FOLDER / row["filename"]
            entry = Entry(path.name, row["label"], True, row["person"], path.read_bytes)
            yield _Listed(entry, row["visibility"], row["phase"])
