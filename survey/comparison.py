"""People and models on one study: what is read, what filters leave, and what may be shown of it.

Without the researcher's token nothing is shown that tells about fewer than five people: neither
those who are left nor those who stand between what is shown now and what another filter shows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Engine

from survey import store, studies
from survey.database import transaction
from survey.errors import StudyError
from survey.records import (
    ENOUGH_PEOPLE,
    VISIBILITIES,
    Candidate,
    FinishedRecord,
    FlagRecord,
    ModelAnswer,
    StudyRecord,
)
from survey.statistics.quality import RULES
from survey.statistics.summary import Summary, summarize
from survey.statistics.table import AnswerTable, align_models, build_table

DAY = "day"  # beside the quality rules: what ``since`` and ``until`` filter by


class Withheld(StrEnum):
    """Why nothing is shown."""

    no_answers = "There are no answers yet."
    no_images = "No image is left by these filters."
    still_open = "This study's comparison is shown once the study is closed."
    few_people = f"Figures of fewer than {ENOUGH_PEOPLE} people would tell about single persons."
    set_apart = (
        f"Filters like these can set apart fewer than {ENOUGH_PEOPLE} people: the difference would "
        "tell about single persons."
    )


@dataclass(frozen=True)
class Filters:
    """What part of a study is looked at; by default, everything that was finished.

    ``labels``, ``models`` and ``visibility`` None mean all. ``leave_out`` names quality rules whose
    flags take a participant out; ``since`` and ``until`` (inclusive) are days of the last answer.
    """

    visibility: str | None = None
    labels: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    leave_out: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True, eq=False)
class StudyData:
    """All that was read of one version of a study. ``answers`` are finished participations' alone.

    ``answers``: see ``store.read_answers``; ``people``: see ``store.list_finished``.
    """

    study: StudyRecord
    answers: pd.DataFrame
    images: tuple[Candidate, ...]
    models: tuple[ModelAnswer, ...]
    flags: Mapping[int, list[FlagRecord]]
    people: Mapping[int, FinishedRecord]
    unfinished: int

    @cached_property
    def table(self) -> AnswerTable:
        """Of everything, before any filter."""
        return build_table(self.answers, self.images, self.study.definition.labels)

    @cached_property
    def model_names(self) -> tuple[str, ...]:
        return tuple(sorted({answer.model for answer in self.models}))

    def mark_flagged(self, *rules: str) -> list[bool]:
        """Whom of the participants of ``table`` any of the rules doubts."""
        return [
            any(flag.rule in rules for flag in self.flags.get(participant, ()))
            for participant in self.table.participants
        ]

    @cached_property
    def safe_filters(self) -> frozenset[str]:
        """Rules, and ``DAY``, that set no fewer than five people apart in any combination.

        Each divides those who finished; a filter is safe where every group that it and the safe
        ones before it cut out together has five people or none. What safe filters show are then
        sums over such groups, and so is every difference of what they show.
        """
        columns: dict[str, Sequence[object]] = {rule: self.mark_flagged(rule) for rule in RULES}
        columns[DAY] = self.days
        safe: list[str] = []
        for name in columns:
            groups = Counter(zip(*(columns[each] for each in [*safe, name]), strict=True))
            if min(groups.values()) >= ENOUGH_PEOPLE:
                safe.append(name)
        return frozenset(safe)

    @cached_property
    def days(self) -> tuple[date, ...]:
        """When each participant of ``table`` answered last (UTC)."""
        return tuple(self.people[each].finished_at.date() for each in self.table.participants)


@dataclass(frozen=True, eq=False)
class Comparison:
    """``summary`` is None where nothing may or can be shown; ``withheld`` then says why.

    Counts: ``people`` of ``finished`` participants are left, ``flagged`` and ``outside`` the dates
    were taken out; None where they would tell about single persons. ``days``: see StudyData, of
    those who are left, or of everybody where that would tell about single persons.
    """

    study: StudyRecord
    filters: Filters
    people: int | None
    finished: int
    unfinished: int
    flagged: int | None
    outside: int | None
    days: tuple[date, ...]
    summary: Summary | None
    withheld: Withheld | None


def build_filters(settings: Mapping[str, Any] | None, data: StudyData) -> Filters:
    """From JSON. Raises StudyError for what the study does not have or is of the wrong kind."""
    if settings is not None and not isinstance(settings, Mapping):
        raise StudyError(f"filters must be an object, not {settings!r:.40}.")
    given = dict(settings or {})
    unknown = sorted(set(given) - set(Filters.__dataclass_fields__))
    if unknown:
        allowed = ", ".join(Filters.__dataclass_fields__)
        named = ", ".join(f"{name!r:.40}" for name in unknown)
        raise StudyError(f"filters: unknown {named}; allowed are {allowed}.")
    return Filters(
        visibility=_choose(given, "visibility", VISIBILITIES),
        labels=_choose_several(given, "labels", data.study.definition.labels.labels),
        models=_choose_several(given, "models", data.model_names),
        leave_out=_choose_several(given, "leave_out", RULES) or (),
        since=_read_day(given, "since"),
        until=_read_day(given, "until"),
    )


def _choose(given: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str | None:
    value = given.get(name)
    if value is not None and value not in allowed:
        raise StudyError(f"filters: {name} must be one of {', '.join(allowed)}, not {value!r:.40}.")
    return value


def _choose_several(
    given: Mapping[str, Any], name: str, allowed: tuple[str, ...]
) -> tuple[str, ...] | None:
    values = given.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise StudyError(f"filters: {name} must be a list of texts.")
    unknown = [value for value in values if value not in allowed]
    if unknown:
        listed = ", ".join(allowed) or "none"
        raise StudyError(f"filters: {name} has {unknown[0]!r:.100}; allowed are {listed}.")
    return tuple(values)


def _read_day(given: Mapping[str, Any], name: str) -> date | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise StudyError(
            f"filters: {name} must be a day as 2026-11-21, not {value!r:.40}."
        ) from None


def read_study(engine: Engine, name: str, version: int | None = None) -> StudyData:
    """Raises StudyError when there is no such study."""
    with transaction(engine, writes=False) as session:
        study = studies.get_study(session, name, version)
        return StudyData(
            study,
            store.read_answers(session, study),
            tuple(studies.list_study_images(session, study, "main")),
            tuple(studies.list_model_answers(session, study)),
            store.list_flags(session, study),
            store.list_finished(session, study),
            store.count_unfinished(session, study),
        )


def compare_study(data: StudyData, filters: Filters, *, may_see_all: bool = False) -> Comparison:
    """Filter, and sum up what may be shown."""
    table = data.table
    dropped = _mark_people(data, filters)
    kept = ~np.any(list(dropped.values()), axis=0)
    part = table.select(kept, _mark_images(table, filters))
    reason = _find_reason(data, part, filters, may_see_all=may_see_all)
    private = reason in (Withheld.still_open, Withheld.few_people, Withheld.set_apart)
    models = [
        model
        for model in align_models(part, data.models)
        if filters.models is None or model.name in filters.models
    ]
    return Comparison(
        study=data.study,
        filters=filters,
        people=None if private else int(kept.sum()),
        finished=len(table.participants),
        unfinished=data.unfinished,
        flagged=None if private else int(dropped["flagged"].sum()),
        outside=None if private else int(dropped["outside"].sum()),
        days=_list_days(data, kept, may_see_all=may_see_all) if reason is None else (),
        summary=None if reason else summarize(part, models),
        withheld=reason,
    )


def _mark_people(data: StudyData, filters: Filters) -> dict[str, NDArray[np.bool_]]:
    """Whom each kind of filter takes out, (P,) each."""
    outside = [
        (filters.since is not None and day < filters.since)
        or (filters.until is not None and day > filters.until)
        for day in data.days
    ]
    return {
        "flagged": np.array(data.mark_flagged(*filters.leave_out), dtype=np.bool_),
        "outside": np.array(outside, dtype=np.bool_),
    }


def _mark_images(table: AnswerTable, filters: Filters) -> NDArray[np.bool_]:
    chosen = np.ones(len(table.images), dtype=np.bool_)
    if filters.visibility is not None:
        chosen &= table.private == (filters.visibility == VISIBILITIES[1])
    if filters.labels is not None:
        codes = [table.labels.labels.index(label) for label in filters.labels]
        chosen &= np.isin(table.truth, codes)
    return chosen


def _find_reason(
    data: StudyData, part: AnswerTable, filters: Filters, *, may_see_all: bool
) -> Withheld | None:
    """None where everything may be shown."""
    if not part.images:
        return Withheld.no_images
    if not data.table.participants or (may_see_all and not part.answered.any()):
        return Withheld.no_answers
    if may_see_all:
        return None
    if data.study.closed_at is None and not data.study.definition.shown_while_open:
        return Withheld.still_open
    if len(data.table.participants) < ENOUGH_PEOPLE:
        return Withheld.few_people
    used = {*filters.leave_out, *([DAY] if filters.since or filters.until else [])}
    # First: whether few people are left by a filter that is not safe is itself not to be told.
    if used and not used <= data.safe_filters:
        return Withheld.set_apart
    return Withheld.few_people if len(part.participants) < ENOUGH_PEOPLE else None


def _list_days(data: StudyData, kept: NDArray[np.bool_], *, may_see_all: bool) -> tuple[date, ...]:
    """Of those who are left; of everybody where that would tell who was taken out."""
    if may_see_all or DAY in data.safe_filters:
        return tuple(day for day, stays in zip(data.days, kept, strict=True) if stays)
    return data.days
