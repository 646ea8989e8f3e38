"""The tables. Text, numbers and bytes that SQLite and PostgreSQL store alike; times are UTC."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

MAX_PERSON = 100  # characters of the name of who is on an image


class UtcDateTime(TypeDecorator[datetime]):
    """Aware in, aware out: SQLite forgets the zone, and a naive time is a mistake."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"times are stored in UTC, but {value} names no zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    # Named, so that a migration can find a constraint again on every database.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON}  # noqa: RUF012


class ImageSet(Base):
    """Images with labels of one taxonomy; ``presentation`` says how they were made ready."""

    __tablename__ = "image_set"
    __table_args__ = (CheckConstraint("visibility IN ('public', 'private')", name="visibility"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    visibility: Mapped[str] = mapped_column(String(7))
    taxonomy: Mapped[str] = mapped_column(String(40))
    presentation: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]

    images: Mapped[list["Image"]] = relationship(
        back_populates="image_set", cascade="all, delete-orphan"
    )


class Image(Base):
    """One image as people see it. ``id`` is random; ``pixels_sha256`` is of the source's pixels."""

    __tablename__ = "image"
    __table_args__ = (UniqueConstraint("image_set_id", "pixels_sha256"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    image_set_id: Mapped[int] = mapped_column(ForeignKey("image_set.id", ondelete="CASCADE"))
    label: Mapped[str] = mapped_column(String(20))
    person: Mapped[str | None] = mapped_column(String(MAX_PERSON))
    pixels_sha256: Mapped[str] = mapped_column(String(64))
    width: Mapped[int]
    height: Mapped[int]
    jpeg: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)

    image_set: Mapped[ImageSet] = relationship(back_populates="images")


class Study(Base):
    """One version of a survey's definition; a change makes a new version."""

    __tablename__ = "study"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[int]
    definition: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]

    images: Mapped[list["StudyImage"]] = relationship(cascade="all, delete-orphan")


class StudyImage(Base):
    """Which images a study shows, and in which phase. Everybody sees the same ones."""

    __tablename__ = "study_image"
    __table_args__ = (CheckConstraint("phase IN ('practice', 'main', 'attention')", name="phase"),)

    study_id: Mapped[int] = mapped_column(
        ForeignKey("study.id", ondelete="CASCADE"), primary_key=True
    )
    image_id: Mapped[str] = mapped_column(ForeignKey("image.id"), primary_key=True)
    phase: Mapped[str] = mapped_column(String(9))

    image: Mapped[Image] = relationship()


class Participant(Base):
    """Somebody who agreed to take part: no name, no address. ``background`` as far as told."""

    __tablename__ = "participant"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    language: Mapped[str] = mapped_column(String(5))
    background: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Participation(Base):
    """One person's run through a study. The code itself is known to the participant alone.

    ``progress`` counts answered trials: they are answered in order, so it is also the position of
    the current one, unless the last answered one was ``reopened``.
    """

    __tablename__ = "participation"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    participant_id: Mapped[str] = mapped_column(ForeignKey("participant.id", ondelete="CASCADE"))
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)
    seed: Mapped[int]
    progress: Mapped[int] = mapped_column(default=0)
    reopened: Mapped[bool] = mapped_column(default=False)
    consent_version: Mapped[str] = mapped_column(String(64))
    consented_at: Mapped[datetime]
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    study: Mapped[Study] = relationship()
    participant: Mapped[Participant] = relationship()
    trials: Mapped[list["Trial"]] = relationship(
        order_by="Trial.position", cascade="all, delete-orphan", passive_deletes=True
    )


class Trial(Base):
    """One image shown, at its place in the frozen order (from 0, practice first)."""

    __tablename__ = "trial"
    __table_args__ = (
        UniqueConstraint("participation_id", "position"),
        UniqueConstraint("participation_id", "image_id", "phase"),
        CheckConstraint("phase IN ('practice', 'main', 'repeat', 'attention')", name="phase"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    participation_id: Mapped[int] = mapped_column(
        ForeignKey("participation.id", ondelete="CASCADE")
    )
    position: Mapped[int]
    phase: Mapped[str] = mapped_column(String(9))
    block: Mapped[int]
    image_id: Mapped[str] = mapped_column(ForeignKey("image.id"))

    image: Mapped[Image] = relationship()
    response: Mapped["Response | None"] = relationship(
        cascade="all, delete-orphan", passive_deletes=True
    )


class Response(Base):
    """The answer to a trial: the current one, and the one first given."""

    __tablename__ = "response"

    trial_id: Mapped[str] = mapped_column(
        ForeignKey("trial.id", ondelete="CASCADE"), primary_key=True
    )
    label: Mapped[str] = mapped_column(String(20))
    first_label: Mapped[str] = mapped_column(String(20))
    revisions: Mapped[int] = mapped_column(default=0)
    response_ms: Mapped[int]
    shown_at: Mapped[datetime | None]
    answered_at: Mapped[datetime]
    device: Mapped[str | None] = mapped_column(String(10))
    blurred: Mapped[bool]


class FrozenPrediction(Base):
    """A model's answer on a survey image, kept with the model's revision.

    ``source`` is the taxonomy that the model itself answers in; unknown in the oldest rows.
    """

    __tablename__ = "frozen_prediction"
    __table_args__ = (UniqueConstraint("image_id", "model", "revision", "taxonomy"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("image.id", ondelete="CASCADE"))
    model: Mapped[str] = mapped_column(String(200))
    revision: Mapped[str] = mapped_column(String(64))
    taxonomy: Mapped[str] = mapped_column(String(40))
    source: Mapped[str | None] = mapped_column(String(40))
    probabilities: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Flag(Base):
    """A doubt about a participation, for a researcher to weigh; nothing is dropped for it."""

    __tablename__ = "flag"
    __table_args__ = (Index(None, "participation_id", "rule", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    participation_id: Mapped[int] = mapped_column(
        ForeignKey("participation.id", ondelete="CASCADE")
    )
    rule: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
