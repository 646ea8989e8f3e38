"""Any order of start, answer, back, reload, resume and withdraw keeps the participation right."""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)
from sqlalchemy import func, select

from survey import participation
from survey.database import open_database, transaction
from survey.errors import ParticipationError
from survey.models import Participation, Response, Trial
from survey.participation import build_response, hash_code
from survey.records import CANNOT_TELL
from tests.survey.conftest import NOW
from tests.survey.samples import LABELS, add_study


class Machine(RuleBasedStateMachine):
    """A model of each participation beside the real one: answers by position, and the screen."""

    codes = Bundle("codes")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.engine = open_database(f"sqlite:///{Path(self.folder.name) / 'a.sqlite'}")
        add_study(self.engine)
        self.now = NOW
        self.orders: dict[str, list[str]] = {}
        self.answers: dict[str, list[str]] = {}
        self.screen: dict[str, int] = {}

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    @rule(target=codes)
    def start(self) -> str:
        code, step = participation.start(self.engine, "small", True, "ko", {}, self.now)
        assert step.trial is not None
        with transaction(self.engine, writes=False) as session:
            query = (
                select(Trial.id)
                .join(Participation)
                .where(Participation.code_hash == hash_code(code))
                .order_by(Trial.position)
            )
            self.orders[code] = list(session.scalars(query))
        self.answers[code], self.screen[code] = [], 0
        return code

    @rule(code=codes, label=st.sampled_from([*LABELS, CANNOT_TELL]), which=st.integers(0, 11))
    def answer(self, code: str, label: str, which: int) -> None:
        """The trial on the screen, or (one time in a while) any other."""
        answers, order = self.answers[code], self.orders[code]
        position = self.screen[code] if which < 9 else which
        if position >= len(order):
            return
        self.now += timedelta(seconds=1)
        response = build_response(label, 500, {}, self.now)
        step = participation.answer(self.engine, code, order[position], response)
        finished = len(answers) == len(order)
        if position == len(answers):
            answers.append(label)
            self.screen[code] = len(answers)
        elif position == len(answers) - 1 and not finished:
            changed = answers[position] != label
            answers[position] = label
            if changed or self.screen[code] == position:
                self.screen[code] = len(answers)
        else:
            assert step.note or answers[position : position + 1] == [label]
        self.check(code, step)

    @rule(code=codes)
    def back(self, code: str) -> None:
        done = len(self.answers[code])
        if done < len(self.orders[code]) and done not in (0, 2):  # 2: practice is over
            self.screen[code] = done - 1
        self.check(code, participation.back(self.engine, code))

    @rule(code=codes)
    def resume(self, code: str) -> None:
        self.now += timedelta(hours=1)
        self.check(code, participation.resume(self.engine, code.lower(), self.now))

    @rule(code=consumes(codes))
    def withdraw(self, code: str) -> None:
        expected = len(self.orders.pop(code)) + len(self.answers.pop(code)) + 2
        assert participation.withdraw(self.engine, code) == expected
        with pytest.raises(ParticipationError):
            participation.resume(self.engine, code, self.now)

    def check(self, code: str, step: Any) -> None:
        order, position = self.orders[code], self.screen[code]
        shown = [trial.id if trial else None for trial in (step.trial, step.upcoming)]
        assert shown == [*order, None, None][position : position + 2]
        assert step.participation.progress == len(self.answers[code])

    @invariant()
    def stored_is_as_answered(self) -> None:
        with transaction(self.engine, writes=False) as session:
            for code, answers in self.answers.items():
                rows = session.execute(
                    select(Trial.id, Response.label, Participation.progress)
                    .join(Participation)
                    .outerjoin(Response)
                    .where(Participation.code_hash == hash_code(code))
                    .order_by(Trial.position)
                ).all()
                assert [row[0] for row in rows] == self.orders[code]
                assert [row[1] for row in rows if row[1]] == answers
                assert all(row[2] == len(answers) for row in rows)
            total = sum(len(answers) for answers in self.answers.values())
            assert session.scalar(select(func.count()).select_from(Response)) == total


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
