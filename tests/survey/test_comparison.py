"""What the comparison reads, what filters leave, and what is not told about few people."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from kfer.labels import get_taxonomy
from survey import comparison as module
from survey import participation
from survey.comparison import (
    Comparison,
    Filters,
    StudyData,
    Withheld,
    build_filters,
    compare_study,
    read_study,
)
from survey.errors import StudyError
from survey.participation import build_response
from survey.records import (
    CANNOT_TELL,
    Candidate,
    FinishedRecord,
    FlagRecord,
    ModelAnswer,
    StudyRecord,
)
from survey.statistics.describe import describe_summary
from survey.statistics.quality import RULES
from tests.survey.conftest import NOW
from tests.survey.samples import LABELS, SMALL, add_study

KOREAN5 = get_taxonomy("korean5")
IMAGES = tuple(
    Candidate(f"i{at}", "private" if at % 2 else "public", LABELS[at % 5]) for at in range(10)
)
STUDY = StudyRecord(1, "small", 1, SMALL, None)
FIRST_DAY = datetime(2026, 11, 1, 9, tzinfo=UTC)


def build_data(people: int, flagged: int = 0, per_day: int = 100) -> StudyData:
    """Person p (from 0) is right on the first p % 11 images; the first ones are too fast."""
    rows = [
        (
            person,
            image.id,
            "main",
            image.label if at < person % 11 else CANNOT_TELL,
            900,
        )
        for person in range(people)
        for at, image in enumerate(IMAGES)
    ]
    columns = ["participation_id", "image_id", "phase", "label", "response_ms"]
    names = {
        person: FinishedRecord(f"person {person}", FIRST_DAY + timedelta(days=person // per_day))
        for person in range(people)
    }
    flags = {person: [FlagRecord("too_fast", "...")] for person in range(flagged)}
    sure = dict.fromkeys(LABELS, 0.05)
    models = tuple(
        ModelAnswer(name, image.id, sure | {image.label if right else LABELS[0]: 0.8})
        for name, right in (("good@1", True), ("bad@1", False))
        for image in IMAGES
    )
    return StudyData(STUDY, pd.DataFrame(rows, columns=columns), IMAGES, models, flags, names, 2)


def find_value(comparison: Comparison, *path: str) -> Any:
    assert comparison.summary is not None
    value: Any = describe_summary(comparison.summary)
    for key in path:
        value = value[key]
    return value


def test_the_mean_score_is_of_right_answers_in_main_trials() -> None:
    comparison = compare_study(build_data(11), Filters())
    assert (comparison.people, comparison.finished, comparison.unfinished) == (11, 11, 2)
    mean = find_value(comparison, "people", "mean_score")
    assert (mean["value"], mean["n"], mean["undefined"]) == (pytest.approx(5.0), 11, None)
    assert mean["low"] < 5 < mean["high"]
    assert find_value(comparison, "people", "accuracy_when_told", "value") == 1
    assert find_value(comparison, "models", "good@1", "score", "value") == 10
    assert find_value(comparison, "models", "bad@1", "score", "value") == 2
    assert find_value(comparison, "models", "good@1", "percentile") == pytest.approx(1050 / 11)


def test_filters_leave_part_of_the_images() -> None:
    data = build_data(11)
    private = compare_study(data, Filters(visibility="private"))
    assert find_value(private, "images") == 5
    # Of images 1, 3, 5, 7, 9 person p has (p // 2) right.
    expected = np.mean([person // 2 for person in range(11)])
    assert find_value(private, "people", "mean_score", "value") == pytest.approx(expected)
    assert "both sets" in find_value(private, "people", "public_minus_private", "undefined")
    joy = compare_study(data, Filters(labels=(LABELS[0],)))
    assert find_value(joy, "images") == 2
    assert set(find_value(joy, "models")) == {"bad@1", "good@1"}
    one = compare_study(data, Filters(models=("good@1",)))
    assert set(find_value(one, "models")) == {"good@1"}
    none = compare_study(data, Filters(labels=()))
    assert (none.summary, none.withheld) == (None, Withheld.no_images)


def test_a_study_can_hold_its_comparison_back_until_it_is_closed() -> None:
    held = replace(STUDY, definition=replace(SMALL, shown_while_open=False))
    data = replace(build_data(9), study=held)
    found = compare_study(data, Filters())
    assert (found.withheld, found.summary, found.people) == (Withheld.still_open, None, None)
    assert (found.finished, found.days) == (9, ())
    assert compare_study(data, Filters(), may_see_all=True).people == 9
    closed = replace(data, study=replace(held, closed_at=NOW))
    assert compare_study(closed, Filters()).people == 9


def test_filters_leave_part_of_the_people() -> None:
    data = build_data(30, flagged=10, per_day=10)
    assert compare_study(data, Filters(leave_out=("one_label",))).people == 30
    kept = compare_study(data, Filters(leave_out=("too_fast",)))
    assert (kept.people, kept.finished, kept.flagged) == (20, 30, 10)
    days = Filters(since=FIRST_DAY.date() + timedelta(1), until=FIRST_DAY.date() + timedelta(1))
    middle = compare_study(data, days)
    assert (middle.people, middle.outside) == (10, 20)


@pytest.mark.parametrize(
    ("people", "flagged", "filters", "reason"),
    [
        (4, 0, Filters(), Withheld.few_people),
        (5, 0, Filters(), None),
        (9, 4, Filters(leave_out=("too_fast",)), Withheld.set_apart),
        (9, 5, Filters(leave_out=("too_fast",)), Withheld.set_apart),
        (10, 5, Filters(leave_out=("too_fast",)), None),
        (10, 0, Filters(leave_out=("too_fast",)), None),  # nobody is set apart
        (9, 4, Filters(), None),
    ],
)
def test_few_people_are_not_told_about(
    people: int, flagged: int, filters: Filters, reason: Withheld | None
) -> None:
    data = build_data(people, flagged)
    found = compare_study(data, filters)
    assert (found.summary is None) == (reason is not None)
    assert found.withheld is reason
    # Not even how many: the difference to another filter's number would tell.
    assert (found.people is None) == (found.flagged is None) == (reason is not None)
    whole = compare_study(data, filters, may_see_all=True)
    assert whole.summary is not None
    assert whole.withheld is None


def flag(*people: int, rule: str = "too_fast") -> dict[int, list[FlagRecord]]:
    return {person: [FlagRecord(rule, "")] for person in people}


def test_filters_that_are_safe_alone_are_not_shown_where_they_are_not_together() -> None:
    # 12 a day, 6 of the first day are flagged: fine. Of another day's 12, 3 are: then days cut
    # groups of three out of the flagged ones, and are not shown even by themselves.
    day = FIRST_DAY.date()
    both = Filters(leave_out=("too_fast",), since=day, until=day)
    alone = Filters(leave_out=("too_fast",)), Filters(until=day)
    data = build_data(24, flagged=6, per_day=12)
    assert all(compare_study(data, filters).summary for filters in (both, *alone))
    few = replace(data, flags=flag(0, 1, 2, 12, 13, 14))
    assert compare_study(few, alone[0]).summary is not None
    assert compare_study(few, alone[1]).withheld is Withheld.set_apart
    assert compare_study(few, both).withheld is Withheld.set_apart


def test_days_in_turn_single_nobody_out() -> None:
    # Each query leaves 15 people or more and takes out 5 or more: but they differ by one person.
    data = build_data(25, per_day=1)
    for days in (5, 6, 7):
        found = compare_study(data, Filters(since=FIRST_DAY.date() + timedelta(days)))
        assert found.withheld is Withheld.set_apart


def find_kept(data: StudyData, query: Filters) -> frozenset[int]:
    return frozenset(
        person
        for person, day in enumerate(data.days)
        if (query.since is None or day >= query.since)
        and (query.until is None or day <= query.until)
        and not any(each.rule in query.leave_out for each in data.flags.get(person, ()))
    )


@pytest.mark.parametrize("seed", range(12))
def test_no_two_answers_of_the_page_differ_by_fewer_than_five(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    people = int(rng.integers(10, 60))
    data = build_data(people, per_day=int(rng.integers(5, 30)))
    flags = {
        person: [FlagRecord(rule, "") for rule in RULES[:3] if rng.random() < 0.3]
        for person in range(people)
    }
    data = replace(data, flags=flags if seed % 3 else flag(*range(seed)))
    days = [None, *sorted(set(data.days))]
    queries = [
        Filters(leave_out=rules, since=since, until=until)
        for count in range(4)
        for rules in combinations(RULES[:3], count)
        for since in days
        for until in days
    ]
    answers = {query: find_kept(data, query) for query in queries}
    monkeypatch.setattr(module, "summarize", lambda *_: None)  # what is in it is not asked
    told = {query: compare_study(data, query) for query in queries}
    shown = {answers[query] for query, found in told.items() if found.withheld is None}
    assert frozenset(range(people)) in shown
    for one, other in permutations(shown, 2):
        assert len(one - other) not in range(1, 5)
    # Why nothing is shown tells nothing of who is left, but where it may be told; nor do days.
    safe = data.safe_filters
    for query, found in told.items():
        used = {*query.leave_out, *(["day"] if query.since or query.until else [])}
        assert (found.withheld is Withheld.set_apart) == (not used <= safe)
        if found.withheld is None and "day" not in safe:
            assert found.days == data.days


def test_a_study_without_answers_says_so() -> None:
    empty = compare_study(build_data(0), Filters(), may_see_all=True)
    assert (empty.summary, empty.withheld) == (None, Withheld.no_answers)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"who": 1}, "unknown 'who'; allowed are visibility, labels, models, leave_out, since"),
        ({"visibility": "secret"}, "visibility must be one of public, private, not 'secret'"),
        ({"visibility": ["public"]}, "visibility must be one of"),
        ({"labels": "joy"}, "labels must be a list of texts"),
        ({"labels": ["joy"]}, "labels has 'joy'; allowed are 기쁨, 당황"),
        ({"models": ["best@1"]}, "models has 'best@1'; allowed are bad@1, good@1"),
        ({"leave_out": ["slow"]}, "leave_out has 'slow'; allowed are too_fast"),
        ({"since": "yesterday"}, "since must be a day as 2026-11-21, not 'yesterday'"),
        ({"until": 5}, "until must be a day"),
        (["private"], r"filters must be an object, not \['private'\]"),
    ],
)
def test_filters_that_make_no_sense_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        build_filters(settings, build_data(1))


def test_filters_from_json() -> None:
    data = build_data(1)
    assert build_filters(None, data) == Filters()
    read = build_filters(
        {"labels": ["기쁨"], "models": ["good@1"], "since": "2026-11-01", "visibility": "public"},
        data,
    )
    assert read == Filters("public", ("기쁨",), ("good@1",), (), FIRST_DAY.date())


def test_a_study_is_read_as_it_was_answered(engine: Engine) -> None:
    add_study(engine)
    for person in range(6):
        code, step = participation.start(engine, "small", True, "ko", {}, NOW)
        while step.trial is not None and not (person == 5 and step.participation.progress == 7):
            right = step.trial.position % 2 == 0 or person == 0
            label = step.trial.truth if right else CANNOT_TELL
            response = build_response(label, 1000 + person, {}, NOW)
            step = participation.answer(engine, code, step.trial.id, response)
    data = read_study(engine, "small")
    assert (len(data.answers), data.unfinished, len(data.images)) == (50, 1, 10)
    comparison = compare_study(data, Filters())
    assert comparison.people == 5
    # One person has all 10 right, four those at even places: 5 of 10.
    assert find_value(comparison, "people", "mean_score", "value") == pytest.approx(6)
    with pytest.raises(StudyError, match="There is no study small, version 2"):
        read_study(engine, "small", 2)


@pytest.mark.parametrize("people", [1, 2, 12])
def test_every_number_is_json_and_what_is_undefined_says_why(people: int) -> None:
    comparison = compare_study(build_data(people), Filters(), may_see_all=True)
    assert comparison.summary is not None
    described = describe_summary(comparison.summary)
    json.dumps(described, allow_nan=False)
    consistency = described["people"]["error_consistency"]
    if people == 1:
        assert "two who have seen" in consistency["kappa"]["undefined"]
        assert "two people" in described["people"]["alpha"]["undefined"]
