"""`kill -9` of the server while people answer: what a reply was received for is never lost.

The operating system lives on here and writes what SQLite gave it; what a power cut leaves depends
on ``synchronous=FULL`` besides, which no test of ours can cut the power for.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from survey.database import build_engine
from survey.participation import hash_code
from tests.servers import AppServer, run_app
from tests.survey.swarm import (
    Pace,
    Person,
    Stored,
    Times,
    answer_until_killed,
    count_given,
    find_faults,
    load_stored,
    resume_all,
    take_part_at_once,
)

SEED = 20261121
PEOPLE = 10
TRIALS = 105  # of the demo study
ORDER = (("t1", "i1"), ("t2", "i2"), ("t3", "i3"))
RIGHT = Stored(ORDER, ("기쁨", "슬픔", None), progress=2, finished=False, revisions=0)
BARE = ("-m", "tests.survey.bare_server")
APP = ("app.py",)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """The app's database, looked into from outside while a server is up."""
    engine = build_engine(f"sqlite:///{tmp_path / 'data' / 'kfer.sqlite'}")
    yield engine
    engine.dispose()


@pytest.mark.slow
def test_answers_survive_kill_9_and_everybody_goes_on_where_they_were(
    tmp_path: Path, engine: Engine
) -> None:
    rng = random.Random(SEED)
    people: list[Person] = []
    stored: dict[str, Stored] = {}
    for arguments in (BARE, BARE, APP):
        with run_app(tmp_path, arguments) as server:
            stored = come_back(server, engine, people, stored)
            answer_until_killed(server, people, PEOPLE, rng.randrange(20, 80), rng)
            assert server.process.returncode == -9
    assert count_given(people) >= 60
    with run_app(tmp_path, BARE) as server:
        stored = come_back(server, engine, people, stored)
        first = people[0]
        take_part_at_once(server.url, [first], Pace(TRIALS, think=0), SEED, Times())
        assert first.trial is None
        stored = come_back(server, engine, people, stored)
    assert stored[hash_code(first.code)].finished
    assert "Traceback" not in server.log


def come_back(
    server: AppServer, engine: Engine, people: list[Person], before: dict[str, Stored]
) -> dict[str, Stored]:
    """Everybody resumes; then the database says what they remember, no more and no less."""
    resume_all(server.url, people)
    stored = load_stored(engine)
    assert find_faults(people, stored, before) == Counter()
    return stored


@pytest.mark.parametrize(
    ("stored", "faults"),
    [
        (RIGHT, {}),
        (None, {"lost": 3}),
        (replace(RIGHT, labels=("기쁨", None, None), progress=1), {"lost": 1, "progress": 1}),
        (replace(RIGHT, labels=("슬픔", "기쁨", None)), {"misplaced": 2}),
        (replace(RIGHT, labels=("기쁨", "슬픔", "슬픔")), {"foreign": 1}),
        (replace(RIGHT, revisions=1), {"doubled": 1}),
        (replace(RIGHT, progress=1), {"progress": 1}),
        (replace(RIGHT, finished=True), {"progress": 2}),
        (replace(RIGHT, order=(*ORDER[:2], ("t3", "i4"))), {"order": 1}),
    ],
    ids=[
        "right", "no trace", "lost", "swapped", "one more", "twice", "behind", "over", "other image"
    ],
)  # fmt: skip
def test_every_kind_of_fault_is_found(stored: Stored | None, faults: dict[str, int]) -> None:
    person = Person("code", {"id": "t3"}, [("t1", "기쁨"), ("t2", "슬픔")])
    code_hash = hash_code("code")
    found = {} if stored is None else {code_hash: stored}
    assert find_faults([person], found, {code_hash: RIGHT}) == Counter(faults)


def test_half_a_start_and_answers_of_nobody_are_found() -> None:
    begun = replace(RIGHT, labels=(None, None, None), progress=0)
    assert find_faults([], {"a": begun, "b": begun}, {}) == Counter()
    assert find_faults([], {"a": begun, "b": replace(begun, order=ORDER[:2])}, {}) == {"order": 1}
    assert find_faults([], {"a": replace(begun, progress=1)}, {}) == {"foreign": 1}
