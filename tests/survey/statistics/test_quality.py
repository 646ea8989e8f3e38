"""Every doubt, raised at its bound and not before; a flag takes nothing away."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from kfer.labels import get_taxonomy
from survey import participation, store, studies
from survey.database import transaction
from survey.participation import Step, build_response
from survey.records import CANNOT_TELL, ResponseRecord
from survey.statistics.quality import find_flags
from tests.survey.conftest import NOW
from tests.survey.samples import ANSWER, LABELS, SMALL, TEXTS, add_study

KOREAN5 = get_taxonomy("korean5")


def give(
    n: int, right: int | None = None, phase: str = "main", **changes: Any
) -> list[ResponseRecord]:
    """``n`` answers over all emotions in turn, the first ``right`` (default: all) right."""
    answers = []
    for index in range(n):
        truth = LABELS[index % 5]
        correct = right is None or index < right
        label = truth if correct else LABELS[(index + 1) % 5]
        settings = {"image_id": str(index), "truth": truth, "label": label, "phase": phase}
        answers.append(replace(ANSWER, **{**settings, **changes}))
    return answers


def list_rules(answers: Sequence[ResponseRecord]) -> dict[str, str]:
    return {flag.rule: flag.detail for flag in find_flags(answers, KOREAN5)}


def test_a_careful_participant_raises_no_doubt() -> None:
    repeats = give(10, phase="repeat")
    assert list_rules([*give(100), *repeats, *give(3, phase="attention")]) == {}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (give(100, response_ms=500), {}),
        (
            give(100, response_ms=499),
            {"too_fast": "499 ms"},
        ),
        (give(100, right=20), {}),
        (give(100, right=19), {"below_chance": "19 / 100"}),
        ([*give(80), *give(20, blurred=True)], {}),
        (
            [*give(79), *give(21, blurred=True)],
            {"left_the_page": "21 / 100"},
        ),
        ([*give(75), *give(25, label=LABELS[0])], {}),
        ([*give(20), *give(80, label=CANNOT_TELL)], {}),
        ([*give(19), *give(81, label=CANNOT_TELL)], {"below_chance", "one_label"}),
        ([*give(100), *give(3, phase="attention", right=2)], {"failed_attention"}),
        ([*give(100), *give(5, phase="repeat", right=3)], {}),
        ([*give(100), *give(5, phase="repeat", right=1)], {"unsteady"}),
        ([*give(100), *give(4, phase="repeat", right=0)], {}),  # too few to tell
        ([*give(100), *give(20, phase="practice", right=0, response_ms=1)], {}),
    ],
)
def test_doubts_begin_at_their_bounds(
    answers: Sequence[ResponseRecord], expected: dict[str, str] | set[str]
) -> None:
    found = list_rules(answers)
    assert (found if isinstance(expected, dict) else set(found)) == expected


def test_agreement_with_oneself_is_cohens_kappa() -> None:
    # Of 10 repeats 3 agree; both times every label comes twice: (0.3 - 0.2) / (1 - 0.2) = 0.125.
    again = give(10, phase="repeat", right=3)
    assert list_rules([*give(10), *again]) == {"unsteady": "κ 0.12, 10"}


def test_one_label_throughout_leaves_kappa_undefined_and_says_no_more() -> None:
    answers = [*give(10, label=LABELS[0]), *give(5, phase="repeat", label=LABELS[0])]
    assert set(list_rules(answers)) == {"one_label"}


def take_part(engine: Engine, ms: float, blunder: bool) -> int:
    """A whole participation that answers rightly, but for the attention images with a blunder."""
    code, step = participation.start(engine, "checked", True, "ko", {}, NOW)
    while step.trial is not None:
        step = answer(engine, code, step, ms, blunder)
    return step.participation.id


def answer(engine: Engine, code: str, step: Step, ms: float, blunder: bool) -> Step:
    assert step.trial is not None
    wrong = blunder and step.trial.phase == "attention"
    label = CANNOT_TELL if wrong else step.trial.truth
    return participation.answer(engine, code, step.trial.id, build_response(label, ms, {}, NOW))


def test_flags_are_stored_at_the_last_answer_and_go_with_the_participant(engine: Engine) -> None:
    definition = replace(SMALL, size=60, repeats=5, block=20, title=TEXTS)
    study = add_study(engine, "checked", definition, attention=3)
    take_part(engine, 1200, blunder=False)
    hasty = take_part(engine, 100, blunder=True)
    code, step = participation.start(engine, "checked", True, "ko", {}, NOW)
    answer(engine, code, step, 1, blunder=False)  # does not finish: no flags
    with transaction(engine, writes=False) as session:
        flags = store.list_flags(session, study)
        responses = store.list_responses(session, study)
        scores = store.list_scores(session, study)
    assert {at: [flag.rule for flag in found] for at, found in flags.items()} == {
        hasty: ["too_fast", "failed_attention"]
    }
    assert scores == [60, 60]  # attention images and repeats count for nothing, flags neither
    phases = [r.phase for r in responses if r.participation_id == hasty]
    counts = {phase: phases.count(phase) for phase in set(phases)}
    assert counts == {"practice": 2, "main": 60, "repeat": 5, "attention": 3}
    shown = [r.position for r in responses if r.participation_id == hasty]
    assert shown == [1, 2, *range(1, 69)]


def test_withdrawing_counts_and_takes_the_flags(engine: Engine) -> None:
    study = add_study(engine)
    code, step = participation.start(engine, "small", True, "ko", {}, NOW)
    while step.trial is not None:
        step = answer(engine, code, step, 1, blunder=False)
    # Participant, participation, 12 trials with 12 answers, and the flag for haste.
    assert participation.withdraw(engine, code) == 27
    with transaction(engine, writes=False) as session:
        assert store.list_flags(session, study) == {}
        assert studies.find_study(session, "small") == study
