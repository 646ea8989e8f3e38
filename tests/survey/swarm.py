"""Many people who take part at once over HTTP, and what the database must say of them afterwards.

Each has a connection and a memory of their own: the memory is what the database is held against.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import Engine, select

from survey.database import transaction
from survey.models import Participation, Response, Trial
from survey.participation import hash_code
from tests.servers import AppServer

STUDY = "demo"
PATIENCE_SECONDS = 120
POLL_SECONDS = 0.002
SHORT_SECONDS = 0.05  # a kill comes at most this long after the answer that it waited for


class RefusedError(Exception):
    """The server answered, but not as it should."""


@dataclass
class Person:
    """Somebody who remembers every answer they gave."""

    code: str
    trial: dict[str, Any] | None  # on the screen; None: all are answered
    given: list[tuple[str, str]] = field(default_factory=list)  # trial and label; a reply came
    open: tuple[str, str] | None = None  # sent, but no reply came, or a refusal


@dataclass(frozen=True)
class Pace:
    """Each person gives so many answers, with so many seconds of thought before each."""

    answers: int
    think: float  # on average; it varies by half of it to either side


@dataclass
class Times:
    """Seconds that the requests of some people took, and what was refused them."""

    answers: list[float] = field(default_factory=list)
    images: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    wall: float = 0.0


@dataclass(frozen=True)
class Stored:
    """One participation as the database has it, its trials in order."""

    order: tuple[tuple[str, str], ...]  # trial and image
    labels: tuple[str | None, ...]
    progress: int
    finished: bool
    revisions: int


# --- what one person does -----------------------------------------------------------------------


def build_client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        timeout=PATIENCE_SECONDS,
        # The server closes a connection that was idle for 5 s, and a browser would try again.
        limits=httpx.Limits(keepalive_expiry=2),
        trust_env=False,
        verify=False,  # nothing is encrypted, and to read certificates for everybody takes longest
    )


async def call(client: httpx.AsyncClient, step: str, **arguments: Any) -> dict[str, Any]:
    """Raises RefusedError, and httpx.TransportError where no reply comes."""
    response = await client.post(f"/survey/api/{step}", json=arguments)
    if response.status_code != 200:
        raise RefusedError(step, response.status_code, response.text[:200])
    reply: dict[str, Any] = response.json()
    return reply


async def join(client: httpx.AsyncClient) -> Person:
    reply = await call(client, "start", study=STUDY, consent=True, language="ko")
    return Person(reply["code"], reply["trial"])


async def answer(client: httpx.AsyncClient, person: Person, rng: random.Random) -> None:
    """What the trial on the screen shows, or the same once more where no reply came."""
    assert person.trial is not None
    person.open = person.open or (person.trial["id"], rng.choice(person.trial["options"]))
    trial_id, label = person.open
    ms = rng.randrange(300, 3000)
    reply = await call(
        client, "answer", code=person.code, trial_id=trial_id, label=label, response_ms=ms
    )
    person.given.append(person.open)
    person.open, person.trial = None, reply["trial"]


async def resume(client: httpx.AsyncClient, person: Person) -> None:
    """Come back; whether an answer without a reply was stored, the trial shown now tells."""
    person.trial = (await call(client, "resume", code=person.code))["trial"]
    shown = person.trial and person.trial["id"]
    if person.open is not None and person.open[0] != shown:
        person.given.append(person.open)
    person.open = None


async def take_part(
    client: httpx.AsyncClient, person: Person, pace: Pace, times: Times, rng: random.Random
) -> None:
    """As the page does it: the image after the next is loaded while one thinks."""
    for _ in range(pace.answers):
        await asyncio.sleep(pace.think * rng.uniform(0.5, 1.5))
        start = time.perf_counter()
        try:
            await answer(client, person, rng)
        except RefusedError as error:
            times.refused["{} {}".format(*error.args)] += 1
            continue
        times.answers.append(time.perf_counter() - start)
        if person.trial is None:
            return
        if person.trial["next_image_url"]:
            start = time.perf_counter()
            response = await client.get(f"/{person.trial['next_image_url']}")
            if response.status_code != 200:
                times.refused[f"image {response.status_code}"] += 1
            times.images.append(time.perf_counter() - start)


# --- what all of them do ------------------------------------------------------------------------


def gather_people(url: str, count: int) -> list[Person]:
    """All of them begin in the same moment."""
    people: list[Person] = []

    async def act(client: httpx.AsyncClient, _index: int) -> None:
        people.append(await join(client))

    asyncio.run(run_at_once(url, count, act))
    return people


def take_part_at_once(
    url: str, people: Sequence[Person], pace: Pace, seed: int, times: Times
) -> None:
    """Adds to ``times``."""

    async def act(client: httpx.AsyncClient, index: int) -> None:
        rng = random.Random(f"{seed} {index}")
        await take_part(client, people[index], pace, times, rng)

    start = time.perf_counter()
    asyncio.run(run_at_once(url, len(people), act))
    times.wall += time.perf_counter() - start


def resume_all(url: str, people: Sequence[Person]) -> None:
    """Those who have not finished as far as they know."""
    running = [person for person in people if person.trial is not None]
    asyncio.run(
        run_at_once(url, len(running), lambda client, index: resume(client, running[index]))
    )


def answer_until_killed(
    server: AppServer, people: list[Person], at_once: int, answers: int, rng: random.Random
) -> None:
    """Kill the server a moment after that many further answers, in the midst of the next ones.

    Nobody thinks before they answer. Who finishes is followed by somebody new, added to ``people``.
    """
    running: list[Person | None] = [person for person in people if person.trial is not None]
    running += [None] * (at_once - len(running))
    aim = count_given(people) + answers
    seeds = [rng.random() for _ in running]
    delay = rng.uniform(0, SHORT_SECONDS)

    async def act(client: httpx.AsyncClient, index: int) -> None:
        person, own = running[index], random.Random(seeds[index])
        with suppress(httpx.TransportError):
            while True:
                if person is None or person.trial is None:
                    person = await join(client)
                    people.append(person)
                await answer(client, person, own)

    async def kill() -> None:
        while count_given(people) < aim:
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(delay)
        server.process.kill()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            group.create_task(run_at_once(server.url, at_once, act))

    asyncio.run(run())
    server.process.wait()


async def run_at_once(
    url: str, count: int, act: Callable[[httpx.AsyncClient, int], Coroutine[Any, Any, None]]
) -> None:
    """Everybody with a connection of their own, by number."""

    async def run(index: int) -> None:
        async with build_client(url) as client:
            await act(client, index)

    async with asyncio.TaskGroup() as group:
        for index in range(count):
            group.create_task(run(index))


def count_given(people: Sequence[Person]) -> int:
    return sum(len(person.given) for person in people)


# --- what must be stored ------------------------------------------------------------------------


def load_stored(engine: Engine) -> dict[str, Stored]:
    """Every participation, by the hash of its code."""
    query = (
        select(
            Participation.code_hash,
            Participation.progress,
            Participation.finished_at,
            Trial.id,
            Trial.image_id,
            Response.label,
            Response.revisions,
        )
        .join(Trial, Trial.participation_id == Participation.id)
        .outerjoin(Response, Response.trial_id == Trial.id)
        .order_by(Participation.id, Trial.position)
    )
    rows: dict[str, list[Any]] = {}
    with transaction(engine, writes=False) as session:
        for row in session.execute(query):
            rows.setdefault(row.code_hash, []).append(row)
    return {
        code_hash: Stored(
            order=tuple((row.id, row.image_id) for row in own),
            labels=tuple(row.label for row in own),
            progress=own[0].progress,
            finished=own[0].finished_at is not None,
            revisions=sum(row.revisions or 0 for row in own),
        )
        for code_hash, own in rows.items()
    }


def find_faults(
    people: Sequence[Person], stored: dict[str, Stored], before: dict[str, Stored]
) -> Counter[str]:
    """What people remember against what is stored, by kind of fault; none if all is well.

    ``before`` is what was stored earlier: no order may have changed since.
    """
    faults: Counter[str] = Counter()
    known = {hash_code(person.code): person for person in people}
    for code_hash, person in known.items():
        if code_hash in stored:
            faults += _find_faults(person, stored[code_hash])
        else:
            faults["lost"] += len(person.given) + 1
    length = max((len(one.order) for one in stored.values()), default=0)
    for code_hash, one in stored.items():
        earlier = before.get(code_hash)
        faults["order"] += len(one.order) != length or (earlier or one).order != one.order
        if code_hash not in known:  # begun, and the reply that told the code was lost
            faults["foreign"] += one.progress + len(set(one.labels) - {None})
    return +faults


def _find_faults(person: Person, stored: Stored) -> Counter[str]:
    labels = {
        trial_id: label for (trial_id, _), label in zip(stored.order, stored.labels, strict=True)
    }
    given = dict(person.given)
    faults: Counter[str] = Counter()
    faults["doubled"] += len(person.given) - len(given) + stored.revisions
    for trial_id, label in given.items():
        found = labels.pop(trial_id, None)
        faults["lost" if found is None else "misplaced"] += found != label
    faults["foreign"] += sum(label is not None for label in labels.values())
    # Answered in the frozen order, and what comes next is what is shown.
    trial_ids = [trial_id for trial_id, _ in stored.order]
    faults["order"] += list(given) != trial_ids[: len(given)]
    faults["progress"] += stored.progress != len(given)
    faults["progress"] += stored.finished != (len(given) == len(trial_ids))
    expected = None if stored.finished else trial_ids[min(len(given), len(trial_ids) - 1)]
    faults["progress"] += (person.trial and person.trial["id"]) != expected
    return faults
