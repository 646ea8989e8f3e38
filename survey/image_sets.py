"""Source -> pictures as people will see them, a report of what is in it, and the import.

Every picture is made anew from its pixels, to one size, format and quality: nothing of the file
that it came from (EXIF, colour profile, name, length) remains that could tell its set or its label.
"""

import hashlib
import io
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from PIL import Image as Picture
from PIL import ImageOps
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from kfer.errors import KferError, PhotoError
from kfer.labels import Taxonomy
from kfer.photos import open_photo
from survey import studies
from survey.database import transaction
from survey.errors import ImageSetError
from survey.models import MAX_PERSON, Image, ImageSet
from survey.records import VISIBILITIES, Candidate, StudyDefinition
from survey.sampling import find_shortage, plan_counts
from survey.sources import Entry

JPEG_QUALITY = 92
MIN_SIZE, MAX_SIZE = 32, 1024  # px
BORDER = 128  # grey level round pictures that are not square


@dataclass(frozen=True)
class Presentation:
    """How pictures are shown: ``size`` px square, in ``grey`` or colour, ``face`` crop or whole."""

    size: int = 384
    grey: bool = False
    face: bool = False

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ImageSetError(f"size must be from {MIN_SIZE} to {MAX_SIZE}, got {self.size}.")


@dataclass(frozen=True)
class Prepared:
    """A picture ready to be stored. ``pixels_sha256`` is of the source's upright pixels."""

    path: str
    label: str
    person: str | None
    pixels_sha256: str
    jpeg: bytes


@dataclass(frozen=True)
class Report:
    """What an import would do. Paths come with the reason why they stay out."""

    prepared: tuple[Prepared, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def by_label(self) -> Counter[str]:
        return Counter(picture.label for picture in self.prepared)

    @property
    def by_person(self) -> Counter[str]:
        return Counter(picture.person for picture in self.prepared if picture.person)

    def find_shortage(
        self, visibility: str, others: Iterable[Candidate], definition: StudyDefinition
    ) -> dict[tuple[str, str], int]:
        """What a balanced study would lack with ``others`` already imported."""
        these = [
            Candidate(picture.path, visibility, picture.label, picture.person)
            for picture in self.prepared
        ]
        return find_shortage([*these, *others], plan_counts(definition))


def prepare(
    entries: Sequence[Entry],
    presentation: Presentation,
    exclude: Collection[str] = (),
    crop_face: Callable[[Picture.Image], Picture.Image | None] | None = None,
    progress: Callable[[Iterable[Entry]], Iterable[Entry]] = iter,
) -> Report:
    """Read every entry. ``crop_face`` answers None where there is no face; it is needed for
    ``presentation.face``. Raises ImageSetError when ``exclude`` names what is not there.
    """
    unknown = sorted(set(exclude) - {entry.path for entry in entries})
    if unknown:
        raise ImageSetError(
            f"--exclude names pictures that are not in the source: {', '.join(unknown[:5])}."
        )
    prepared: dict[str, Prepared] = {}
    left_out = []
    clashing: set[str] = set()
    for entry in progress(entries):
        if entry.path in exclude:
            left_out.append((entry.path, "excluded"))
        elif not entry.known:
            left_out.append((entry.path, f"unknown label {entry.label!r}"))
        else:
            try:
                picture = _prepare_one(entry, presentation, crop_face)
            except (KferError, OSError, ValueError) as error:
                left_out.append((entry.path, str(error)))
                continue
            first = prepared.setdefault(picture.pixels_sha256, picture)
            if first is not picture:
                left_out.append((entry.path, f"the same pixels as {first.path} ({first.label})"))
            if first.label != picture.label:
                clashing.add(picture.pixels_sha256)
    for digest in sorted(clashing):  # which of its labels is true, nobody knows
        left_out.append((prepared.pop(digest).path, "the same pixels have another label, too"))
    return Report(tuple(prepared.values()), tuple(left_out))


def _prepare_one(
    entry: Entry,
    presentation: Presentation,
    crop_face: Callable[[Picture.Image], Picture.Image | None] | None,
) -> Prepared:
    if len(entry.person or "") > MAX_PERSON:
        raise ImageSetError(f"the person's name is longer than {MAX_PERSON} characters")
    image = open_photo(entry.read()).image
    digest = hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes()).hexdigest()
    if presentation.face and crop_face is not None:
        cropped = crop_face(image)
        if cropped is None:
            raise PhotoError("no face found")
        image = cropped
    return Prepared(entry.path, entry.label, entry.person, digest, encode(image, presentation))


def encode(image: Picture.Image, presentation: Presentation) -> bytes:
    """The pixels alone, on a square of ``presentation.size`` px."""
    image = image.convert("L" if presentation.grey else "RGB")
    border = BORDER if presentation.grey else (BORDER,) * 3
    square = ImageOps.pad(image, (presentation.size,) * 2, Picture.Resampling.LANCZOS, color=border)
    clean = Picture.frombytes(square.mode, square.size, square.tobytes())
    file = io.BytesIO()
    clean.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def import_set(
    engine: Engine,
    name: str,
    visibility: str,
    taxonomy: Taxonomy,
    presentation: Presentation,
    pictures: Sequence[Prepared],
    now: datetime,
) -> None:
    """Store all pictures, or none. Raises ImageSetError for a name that is taken."""
    if visibility not in VISIBILITIES:
        raise ImageSetError(f"visibility must be public or private, got {visibility!r}.")
    if not pictures:
        raise ImageSetError("None of the pictures can be imported; nothing was written.")
    with transaction(engine) as session:
        reject_taken(session, name)
        session.add(build_image_set(name, visibility, taxonomy, presentation, pictures, now))


def reject_taken(session: Session, name: str) -> None:
    """Raises ImageSetError for the name of an image set that there is."""
    if studies.has_image_set(session, name):
        raise ImageSetError(f"There already is an image set {name!r}; choose another name.")


def build_image_set(
    name: str,
    visibility: str,
    taxonomy: Taxonomy,
    presentation: Presentation,
    pictures: Sequence[Prepared],
    now: datetime,
) -> ImageSet:
    """With images under random ids, not stored yet."""
    return ImageSet(
        name=name,
        visibility=visibility,
        taxonomy=taxonomy.name,
        presentation=asdict(presentation),
        created_at=now,
        images=[
            Image(
                id=secrets.token_urlsafe(16),
                label=picture.label,
                person=picture.person,
                pixels_sha256=picture.pixels_sha256,
                width=presentation.size,
                height=presentation.size,
                jpeg=picture.jpeg,
            )
            for picture in pictures
        ],
    )
