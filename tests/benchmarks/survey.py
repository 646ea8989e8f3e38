"""What the survey bears: ``python -m tests.benchmarks.survey``.

Load: many people answer the demo study at once, through the routes that the page calls, each with
a connection of their own; the image after the next is loaded while they think. An answer is held
against an event of Gradio's that does nothing, asked for by as many clients at the same pace, in
turns, in the same run: both bear what else the machine does, and the ratio holds on a busy one.

Crash: the server is killed again and again while people answer, and started on what it left.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from sqlalchemy import Engine, func, select

from survey.database import build_engine, transaction
from survey.models import FrozenPrediction, Image
from tests.benchmarks.report import print_header, print_table
from tests.servers import AppServer, run_app
from tests.survey.swarm import (
    Pace,
    Person,
    Stored,
    Times,
    answer_until_killed,
    count_given,
    find_faults,
    gather_people,
    load_stored,
    resume_all,
    run_at_once,
    take_part_at_once,
)

ROOT = Path(__file__).parents[2]
SEED = 20261121
TRIALS = 105  # of the demo study
GOAL = 2.0  # times the empty event, at the 95th percentile
ANSWERS = (20, 200)  # a kill comes after so many further ones
FINISHING = 5  # go on to the end after the last kill
WARM_SECONDS = 240
APP = ("app.py",)
BARE = ("-m", "tests.survey.bare_server")

# The least that Gradio can be asked for; as many at once as the survey allows itself.
EMPTY_APP = """
import os

import gradio as gr


def nothing() -> str:
    return ""


with gr.Blocks(analytics_enabled=False) as blocks:
    gr.api(nothing, api_name="nothing", concurrency_limit=16)
blocks.launch(server_name="127.0.0.1", server_port=int(os.environ["PORT"]), quiet=True)
"""


@dataclass(frozen=True)
class Load:
    """So many people at once; in each of three turns they go on by the answers of ``pace``."""

    name: str
    people: int
    pace: Pace
    events: int  # of Gradio's, per person and turn: fewer where only the rate matters


TURNS = 3
LOADS = (
    Load("quick", 40, Pace(8, think=1.0), 8),
    Load("usual", 200, Pace(3, think=5.7), 3),  # the study takes ten minutes
    Load("flood", 40, Pace(TRIALS // TURNS, think=0), 12),
)


@dataclass
class Result:
    """One load on both apps."""

    load: Load
    ours: Times = field(default_factory=Times)
    empty: Times = field(default_factory=Times)
    faults: Counter[str] = field(default_factory=Counter)
    grown: int = 0  # bytes of the server's memory


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    print_header({"server": "app.py on SQLite, beside the people who answer"})
    loads = [load for load in LOADS if options.only is None or load.name in options.only]
    if loads:
        with tempfile.TemporaryDirectory() as folder:
            report_load(bench_load(Path(folder), loads))
    if options.only is None or "crash" in options.only:
        with tempfile.TemporaryDirectory() as folder:
            bench_crash(Path(folder), options)
    return 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.survey")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*(load.name for load in LOADS), "crash"),
        help="some of the three loads, or the crashes (default: all)",
    )
    parser.add_argument("--people", type=int, default=50, help="who answer while it is killed")
    parser.add_argument("--kills", type=int, default=20, help="in all (default 20)")
    parser.add_argument(
        "--app-kills",
        type=int,
        default=2,
        help="how many of them hit app.py, which starts slowly; the others hit the survey's routes "
        "in a server without Gradio and torch (default 2)",
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of the moments of the kills")
    options = parser.parse_args(arguments)
    if options.people < 1 or not 0 <= options.app_kills <= options.kills:
        parser.error("--people must be at least 1, --app-kills from 0 to --kills")
    return options


# --- load ---------------------------------------------------------------------------------------


def bench_load(folder: Path, loads: Sequence[Load]) -> list[Result]:
    script = folder / "empty.py"
    script.write_text(EMPTY_APP, encoding="utf-8")
    with ExitStack() as stack:
        server = stack.enter_context(run_app(folder / "app", APP))
        empty = stack.enter_context(run_app(folder / "empty", (str(script),)))
        engine = build_engine(f"sqlite:///{server.data / 'kfer.sqlite'}")
        stack.callback(engine.dispose)
        wait_until_warm(engine)
        people = gather_people(server.url, 1)
        take_part_at_once(server.url, people, Pace(TRIALS, think=0), SEED, Times())
        ask_for_nothing(empty.url, 1, Pace(TRIALS, think=0), SEED, Times())
        return [bench_one(load, server, empty.url, engine, people) for load in loads]


def wait_until_warm(engine: Engine) -> None:
    """The app loads its model and reads the demo study's images while the page is already there."""
    deadline = time.monotonic() + WARM_SECONDS
    while time.monotonic() < deadline:
        with transaction(engine, writes=False) as session:
            images, read = (
                session.scalar(select(func.count()).select_from(table))
                for table in (Image, FrozenPrediction)
            )
        if images and images == read:
            return
        time.sleep(0.5)
    raise TimeoutError(f"the app was not ready within {WARM_SECONDS} s")


def bench_one(
    load: Load,
    server: AppServer,
    empty_url: str,
    engine: Engine,
    everybody: list[Person],
) -> Result:
    """``everybody`` took part before and must not have suffered; those who are new are added."""
    result = Result(load)
    memory = read_memory(server.process.pid)
    people = gather_people(server.url, load.people)
    everybody += people
    before = load_stored(engine)
    for turn in range(TURNS):
        events = replace(load.pace, answers=load.events)
        ask_for_nothing(empty_url, load.people, events, turn, result.empty)
        take_part_at_once(server.url, people, load.pace, turn, result.ours)
    result.grown = read_memory(server.process.pid) - memory
    result.faults = find_faults(everybody, load_stored(engine), before)
    return result


def ask_for_nothing(url: str, people: int, pace: Pace, seed: int, times: Times) -> None:
    """As Gradio's page and clients do: post the call, then listen for its event. Adds to times."""

    async def act(client: httpx.AsyncClient, index: int) -> None:
        rng = random.Random(f"{seed} {index}")
        for _ in range(pace.answers):
            await asyncio.sleep(pace.think * rng.uniform(0.5, 1.5))
            start = time.perf_counter()
            reply = await client.post("/gradio_api/call/nothing", json={"data": []})
            event = reply.json()["event_id"]
            told = await client.get(f"/gradio_api/call/nothing/{event}")
            if "event: complete" not in told.text:
                times.refused["event"] += 1
            times.answers.append(time.perf_counter() - start)

    start = time.perf_counter()
    asyncio.run(run_at_once(url, people, act))
    times.wall += time.perf_counter() - start


def read_memory(pid: int) -> int:
    """Resident bytes of a process; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    sizes = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(next(sizes, "0")) * 1024


def report_load(results: Sequence[Result]) -> None:
    rows = []
    for result in results:
        load, ours, empty = result.load, result.ours, result.empty
        median, late = percentiles(ours.answers)
        empty_median, empty_late = percentiles(empty.answers)
        rows.append(
            (
                load.name,
                str(load.people),
                f"{TURNS * load.pace.answers} of {TRIALS}",
                f"{load.pace.think:.1f}",
                f"{len(ours.answers) / ours.wall:.0f} / {len(empty.answers) / empty.wall:.0f}",
                f"{median:.0f} / {empty_median:.0f}",
                f"{late:.0f} / {empty_late:.0f}",
                f"{late / empty_late:.2f}",
                f"{percentiles(ours.images)[1]:.0f}",
                describe(ours.refused + empty.refused),
                describe(result.faults),
                f"{result.grown / 1024 / load.people:.0f}",
            )
        )
    columns = (
        "load", "people", "answers each", "s of thought", "per second", "p50 ms", "p95 ms",
        "p95 ratio", "image p95 ms", "refused", "faults", "KiB per person",
    )  # fmt: skip
    title = "Answers at once: our answer / Gradio's empty event"
    print_table(title, columns, rows)
    print(f"goal: p95 ratio at most {GOAL:.0f}, nothing refused, no faults\n")


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """The 50th and the 95th, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return cuts[9] * 1000, cuts[18] * 1000


def describe(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "0"


# --- crash --------------------------------------------------------------------------------------


@dataclass
class Crashes:
    """What the kills met, and what they broke."""

    open: int = 0  # answers on their way when the server was killed
    kept: int = 0  # those of them that were stored all the same
    faults: Counter[str] = field(default_factory=Counter)


def bench_crash(folder: Path, options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    victims = [APP] * options.app_kills + [BARE] * (options.kills - options.app_kills)
    rng.shuffle(victims)
    people: list[Person] = []
    stored: dict[str, Stored] = {}
    crashes = Crashes()
    with ExitStack() as stack:
        engine = build_engine(f"sqlite:///{folder / 'data' / 'kfer.sqlite'}")
        stack.callback(engine.dispose)
        for victim in victims:
            with run_app(folder, victim) as server:
                stored = come_back(server, engine, people, stored, crashes)
                answer_until_killed(server, people, options.people, rng.randrange(*ANSWERS), rng)
                crashes.open += sum(person.open is not None for person in people)
        with run_app(folder, BARE) as server:
            stored = come_back(server, engine, people, stored, crashes)
            finishing = [person for person in people if person.trial is not None][:FINISHING]
            take_part_at_once(server.url, finishing, Pace(TRIALS, think=0), SEED, Times())
            crashes.faults["not finished"] += sum(person.trial is not None for person in finishing)
            come_back(server, engine, people, stored, crashes)
    report_crash(crashes, people, options)


def come_back(
    server: AppServer,
    engine: Engine,
    people: Sequence[Person],
    before: dict[str, Stored],
    crashes: Crashes,
) -> dict[str, Stored]:
    """Everybody resumes, and the database is held against what they remember."""
    given = count_given(people)
    resume_all(server.url, people)
    crashes.kept += count_given(people) - given
    stored = load_stored(engine)
    crashes.faults += find_faults(people, stored, before)
    return stored


def report_crash(crashes: Crashes, people: Sequence[Person], options: argparse.Namespace) -> None:
    rows = [
        ("kills (kill -9), of these of app.py", f"{options.kills}, {options.app_kills}"),
        ("people answering at once, in all", f"{options.people}, {len(people)}"),
        ("answers that a reply came for", str(count_given(people) - crashes.kept)),
        ("answers on their way at a kill, stored", f"{crashes.open}, {crashes.kept}"),
        ("faults (goal 0)", describe(+crashes.faults)),
    ]
    print_table("Killed while people answer, started on what was left", ("counted", "number"), rows)


if __name__ == "__main__":
    sys.exit(main())
