"""What travels between the survey's parts: frozen, without a database behind them."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kfer.labels import Mapping as LabelMapping
from kfer.labels import Taxonomy, get_mapping, get_taxonomy
from survey.errors import StudyError

VISIBILITIES = ("public", "private")
ENOUGH_PEOPLE = 5  # whose figures are shown: those of fewer would tell about single people
CANNOT_TELL = "cannot_tell"
REPEAT_GAP = 20  # trials at least between an image and its repeat


@dataclass(frozen=True)
class Candidate:
    """An image that a study may show; ``pixels_sha256`` is of its source's pixels."""

    id: str
    visibility: str
    label: str
    person: str | None = None
    pixels_sha256: str = ""

    @property
    def stratum(self) -> tuple[str, str]:
        return self.visibility, self.label


@dataclass(frozen=True)
class StudyDefinition:
    """What a study shows and says; stored with it, and never changed afterwards.

    ``size`` counts main images, ``public_share`` (0-1) of which come from public sets. ``consent``
    is the text by language. ``repeats`` of the main images come a second time. ``completion`` is a
    panel's code or https link, for those who have answered everything. Unless ``shown_while_open``,
    what everybody answered is told once the study is closed.
    """

    title: Mapping[str, str]
    consent: Mapping[str, str]
    taxonomy: str = "korean5"
    size: int = 100
    public_share: float = 0.5
    practice: int = 5
    repeats: int = 0
    block: int = 25
    seed: int = 0
    demo: bool = False
    completion: str = ""
    shown_while_open: bool = True

    def __post_init__(self) -> None:
        for name in ("size", "practice", "repeats", "block", "seed"):
            self._require(name, type(getattr(self, name)) is int, "a whole number")
        share = self.public_share
        self._require("public_share", type(share) in (int, float), "a number from 0 to 1")
        for name in ("demo", "shown_while_open"):
            self._require(name, isinstance(getattr(self, name), bool), "true or false")
        for name in ("taxonomy", "completion"):
            self._require(name, isinstance(getattr(self, name), str), "a text")
        labels = len(get_taxonomy(self.taxonomy).labels)
        self._require("size", self.size >= labels, f"at least {labels}, one per emotion")
        self._require("public_share", 0 <= self.public_share <= 1, "from 0 to 1")
        self._require("practice", 0 <= self.practice <= 50, "from 0 to 50")
        most = max(self.size - REPEAT_GAP, 0) // 4
        self._require("repeats", 0 <= self.repeats <= most, f"from 0 to {most}")
        self._require("block", self.block >= 1, "at least 1")
        fits = len(self.completion) <= 300 and not any(c.isspace() for c in self.completion)
        self._require("completion", fits, "a code or an https link without spaces")
        for name in ("title", "consent"):
            texts = getattr(self, name)
            held = isinstance(texts, Mapping) and bool(texts)
            told = held and all(isinstance(text, str) and text for text in texts.values())
            self._require(name, told, "a text for each language")
        self._require("title", set(self.title) == set(self.consent), "in the consent's languages")

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise StudyError(f"{name} must be {allowed}, but got {getattr(self, name)!r}.")

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self.consent)

    @property
    def options(self) -> tuple[str, ...]:
        """What can be answered, in the order of the buttons."""
        return (*self.labels.labels, CANNOT_TELL)

    @property
    def labels(self) -> Taxonomy:
        return get_taxonomy(self.taxonomy)

    def to_json(self) -> dict[str, Any]:
        return {
            field.name: dict(value) if isinstance(value, Mapping) else value
            for field in dataclasses.fields(self)
            for value in [getattr(self, field.name)]
        }


def pair_texts(texts: Mapping[str, str]) -> list[str]:
    """Korean and English; a study in one language says the same in both."""
    only = next(iter(texts.values()))
    return [texts.get("ko", only), texts.get("en", only)]


def build_definition(settings: Mapping[str, Any], source: str) -> StudyDefinition:
    """Raises StudyError for unknown, missing or impossible settings; ``source`` is named in it."""
    fields = {field.name: field for field in dataclasses.fields(StudyDefinition)}
    unknown = sorted(set(settings) - set(fields))
    if unknown:
        raise StudyError(
            f"{source}: unknown setting {', '.join(unknown)}; allowed are {', '.join(fields)}."
        )
    if missing := sorted({"title", "consent"} - set(settings)):
        raise StudyError(f"{source}: missing setting {', '.join(missing)}.")
    try:
        definition = StudyDefinition(**settings)
    except StudyError as error:
        raise StudyError(f"{source}: {error}") from None
    # Studies of before may have others, and are still read.
    if others := sorted(set(definition.languages) - {"ko", "en"}):
        raise StudyError(
            f"{source}: consent must be in ko, en or both, but is in {', '.join(others)}, too."
        )
    return definition


@dataclass(frozen=True)
class PlannedTrial:
    """One place in a participation's order, before it is stored."""

    image_id: str
    phase: str
    block: int


@dataclass(frozen=True)
class StudyRecord:
    """A stored version of a study."""

    id: int
    name: str
    version: int
    definition: StudyDefinition
    closed_at: datetime | None


@dataclass(frozen=True)
class ParticipationRecord:
    """Where somebody is in a study. ``progress`` trials of ``total`` are answered.

    ``reopened``: the last of them is on the screen again.
    """

    id: int
    study: StudyRecord
    language: str
    practice: int
    total: int
    progress: int
    reopened: bool
    last_seen_at: datetime
    finished_at: datetime | None

    @property
    def position(self) -> int:
        """Of the current trial; ``total`` when all are answered."""
        return self.progress - self.reopened


@dataclass(frozen=True)
class FinishedRecord:
    """A participation that was answered to the end: whose, and when."""

    participant_id: str
    finished_at: datetime


@dataclass(frozen=True)
class TrialRecord:
    """A stored trial. ``position`` counts from 0 over all phases; ``truth`` is never shown."""

    id: str
    position: int
    phase: str
    block: int
    image_id: str
    truth: str
    answer: str | None


@dataclass(frozen=True)
class ShownImage:
    """What a link to a trial leads to. ``is_current``: it is that person's trial now, or next."""

    image_id: str
    is_current: bool


@dataclass(frozen=True)
class ResponseRecord:
    """A stored answer with all that a researcher may want to know of it.

    ``position`` counts from 1 as the participant saw it: practice by itself, all else together.
    ``label`` may be CANNOT_TELL; so may ``first_label``, what was chosen before any revision.
    """

    participation_id: int
    participant_id: str
    language: str
    background: Mapping[str, Any]
    finished: bool
    phase: str
    block: int
    position: int
    image_id: str
    image_set: str
    visibility: str
    image_person: str | None
    truth: str
    label: str
    first_label: str
    revisions: int
    response_ms: int
    shown_at: datetime | None
    answered_at: datetime
    device: str | None
    blurred: bool

    @property
    def correct(self) -> bool:
        return self.label == self.truth


@dataclass(frozen=True)
class FlagRecord:
    """A doubt about a participation: the rule that raised it, and what it saw."""

    rule: str
    detail: str


@dataclass(frozen=True)
class ModelVersion:
    """A model that answers are frozen of; ``source`` is the taxonomy it answers in by itself."""

    name: str
    revision: str
    source: str | None

    @property
    def identity(self) -> str:
        return f"{self.name}@{self.revision}"


def title_models(identities: Iterable[str]) -> dict[str, str]:
    """How people read each: its name, with the revision where another has the same name."""
    names = {each: each.partition("@")[0] for each in identities}
    often = Counter(names.values())
    return {each: name if often[name] == 1 else each for each, name in names.items()}


def name_participant(participant_id: str) -> str:
    """For exports: made up, and the same one everywhere."""
    return f"s{hashlib.sha256(participant_id.encode()).hexdigest()[:12]}"


def is_participant(name: str) -> bool:
    """Whether it is of the form that ``name_participant`` gives: no code is."""
    return re.fullmatch("s[0-9a-f]{12}", name) is not None


def find_mapping(source: str | None, labels: Taxonomy) -> LabelMapping | None:
    """How a model's own labels were taken for those of a study; None where they are the same.

    Nor is there one where it is not known what the model answers in.
    """
    if source is None or source == labels.name:
        return None
    return get_mapping(get_taxonomy(source), labels)


@dataclass(frozen=True)
class ModelAnswer:
    """What one model (name and revision) said of one image: probabilities by label.

    ``source``: see ModelVersion.
    """

    model: str
    image_id: str
    probabilities: Mapping[str, float]
    source: str | None = None

    @property
    def label(self) -> str:
        return max(self.probabilities, key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class NewResponse:
    """An answer as it comes from the browser, checked."""

    label: str
    response_ms: int
    device: str | None
    blurred: bool
    shown_at: datetime | None
    answered_at: datetime
