"""How long the comparison takes: ``python -m tests.benchmarks.dashboard``.

Synthetic studies of 100 images and as many people as make 10,000, 100,000 and 1,000,000 answers, in
SQLite and PostgreSQL. Reading is held against ``pandas.read_sql`` of the same columns, all figures
without their resampling against one ``groupby`` over the same answers as whole numbers, both in the
same run and in turns. Resampling must cost no more than people and images grow.
"""

import argparse
import resource
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine, insert, text

from survey import store, studies
from survey.comparison import read_study
from survey.dashboard import Dashboard
from survey.database import open_database, transaction
from survey.models import Participant, Participation, Response, Trial
from survey.records import ModelVersion, StudyDefinition
from survey.statistics.resampling import Sampler
from survey.statistics.summary import summarize
from survey.statistics.table import align_models, build_table
from tests.benchmarks.report import print_header, print_table
from tests.survey.conftest import NOW
from tests.survey.postgres import find_programs, run_postgres
from tests.survey.samples import LABELS, TEXTS, add_study
from tests.survey.statistics.planted import draw

ROOT = Path(__file__).parents[2]
IMAGES = 100
SIZES = (10_000, 100_000, 1_000_000)  # answers
READING_GOAL = 1.3  # times pandas.read_sql
FIGURES_GOAL = 15.0  # times one groupby
CHUNK = 50_000  # rows inserted at once
VIEWERS = 16
DEFINITION = StudyDefinition(title=TEXTS, consent=TEXTS, size=IMAGES, practice=0)
MEBI = 1024**2

READ = text(
    "SELECT participation.id AS participation_id, trial.image_id, trial.phase, response.label, "
    "response.response_ms FROM participation "
    "JOIN trial ON trial.participation_id = participation.id "
    "JOIN response ON response.trial_id = trial.id "
    "WHERE participation.finished_at IS NOT NULL AND trial.phase IN ('main', 'repeat')"
)


@dataclass(frozen=True)
class Times:
    """Seconds, the median of several runs each."""

    reading: float
    read_sql: float
    figures: float
    groupby: float
    resampling: float
    page: float
    filtered: float
    again: float
    viewers: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--most", type=int, default=SIZES[-1], help="answers of the largest study")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    arguments = parser.parse_args()
    print_header({"study": f"{IMAGES} images, two models, {Sampler().draws} draws"})
    reached = True
    for kind in ("sqlite", "postgresql"):
        if arguments.only in (None, kind):
            reached &= run(kind, [size for size in SIZES if size <= arguments.most])
    return 0 if reached else 1


def run(kind: str, sizes: list[int]) -> bool:
    rows, reached = [], True
    for size in sizes:
        with build_study(kind, size // IMAGES) as engine:
            times = measure(engine, runs=5 if size < SIZES[-1] else 3)
        reading, figures = times.reading / times.read_sql, times.figures / times.groupby
        reached &= reading <= READING_GOAL and figures <= FIGURES_GOAL
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEBI
        rows.append(
            [
                f"{size:,}", f"{times.reading:.2f} s", f"{reading:.2f}", f"{times.figures:.2f} s",
                f"{figures:.1f}", f"{times.resampling:.2f} s", f"{times.page:.2f} s",
                f"{times.filtered:.2f} s", f"{1000 * times.again:.0f} ms", f"{times.viewers:.2f} s",
                f"{peak:.0f} MB",
            ]
        )  # fmt: skip
    columns = [
        "answers", "reading", f"x read_sql (<= {READING_GOAL})", "figures",
        f"x groupby (<= {FIGURES_GOAL:.0f})", "resampling", "whole tab", "filter", "again",
        f"{VIEWERS} viewers", "peak memory",
    ]  # fmt: skip
    print_table(kind, columns, rows)
    return reached


@contextmanager
def build_study(kind: str, people: int) -> Iterator[Engine]:
    """A database with one study that so many people have finished."""
    with tempfile.TemporaryDirectory(prefix="kfer-benchmark-") as folder:
        if kind == "sqlite":
            engine = open_database(f"sqlite:///{folder}/kfer.sqlite")
            fill(engine, people)
            yield engine
            engine.dispose()
            return
        programs = find_programs()
        if programs is None:
            sys.exit("no PostgreSQL on this machine; tests/setup.sh says how to install it")
        with run_postgres(programs) as url:
            engine = open_database(url)
            fill(engine, people)
            # What autovacuum does a minute after so many rows; planned without it, a join of 10,000
            # answers takes as long again.
            with engine.begin() as connection:
                connection.execute(text("ANALYZE"))
            yield engine
            engine.dispose()


def fill(engine: Engine, people: int) -> None:
    study = add_study(engine, "big", DEFINITION)
    with transaction(engine, writes=False) as session:
        images = studies.list_study_images(session, study, "main")
    table = draw(0, people, IMAGES)
    options = [*LABELS, "cannot_tell"]
    # The planted truth is turned to that of the images.
    turned = {image.id: LABELS.index(image.label) for image in images}
    ids = [image.id for image in images]
    shift = np.array([turned[image] for image in ids]) - table.truth
    told = table.answers < len(LABELS)
    codes = np.where(told, (table.answers + shift) % len(LABELS), table.answers)
    names = [[secrets.token_hex(8) for _ in ids] for _ in range(people)]
    add_people(engine, study.id, people)
    insert_all(
        engine,
        Trial,
        (
            {
                "id": names[person][at], "participation_id": person + 1, "position": at,
                "phase": "main", "block": 0, "image_id": image,
            }
            for person in range(people)
            for at, image in enumerate(ids)
        ),
    )  # fmt: skip
    insert_all(
        engine,
        Response,
        (
            {
                "trial_id": names[person][at], "label": options[codes[person, at]],
                "first_label": options[codes[person, at]], "revisions": 0, "blurred": False,
                "response_ms": int(table.response_ms[person, at]), "answered_at": NOW,
            }
            for person in range(people)
            for at in range(len(ids))
        ),
    )  # fmt: skip
    sure = dict.fromkeys(LABELS, 0.1)
    with transaction(engine) as session:
        for model in ("one", "other"):
            answers = {image.id: sure | {image.label: 0.6} for image in images}
            studies.add_predictions(
                session, answers, ModelVersion(model, "1", "korean5"), "korean5", NOW
            )


def add_people(engine: Engine, study_id: int, people: int) -> None:
    insert_all(
        engine,
        Participant,
        (
            {"id": f"p{person}", "language": "ko", "background": {}, "created_at": NOW}
            for person in range(people)
        ),
    )
    insert_all(
        engine,
        Participation,
        (
            {
                "id": person + 1, "study_id": study_id, "participant_id": f"p{person}",
                "code_hash": f"{person:064}", "seed": 0, "progress": IMAGES, "reopened": False,
                "consent_version": "1", "consented_at": NOW, "started_at": NOW,
                "last_seen_at": NOW, "finished_at": NOW,
            }
            for person in range(people)
        ),
    )  # fmt: skip


def insert_all(engine: Engine, model: Any, rows: Iterator[dict[str, Any]]) -> None:
    chunk: list[dict[str, Any]] = []
    with transaction(engine) as session:
        for row in rows:
            chunk.append(row)
            if len(chunk) == CHUNK:
                session.execute(insert(model), chunk)
                chunk.clear()
        if chunk:
            session.execute(insert(model), chunk)


def measure(engine: Engine, runs: int) -> Times:
    data = read_study(engine, "big")
    labels = data.study.definition.labels
    models = align_models(data.table, data.models)
    coded = pd.DataFrame(
        {"image": np.tile(np.arange(IMAGES), len(data.table.participants)),
         "answer": data.table.answers.ravel()}
    )  # fmt: skip

    def read() -> None:
        with transaction(engine, writes=False) as session:
            store.read_answers(session, data.study)

    def read_sql() -> None:
        with engine.connect() as connection:
            pd.read_sql(READ, connection)

    def compute() -> None:
        # A table of its own: what is derived from it is kept with it.
        table = data.table.select()
        summarize(table, models, Sampler(draws=1))

    def group() -> None:
        coded.groupby(["image", "answer"]).size()

    def resample() -> None:
        summarize(data.table.select(), models)

    reading, plain = compare(read, read_sql, runs)
    figures, groupby = compare(compute, group, runs)
    whole = statistics.median(clock(resample) for _ in range(runs))
    build_table(data.answers, data.images, labels)
    dashboard = Dashboard(engine)
    page = clock(lambda: dashboard.show("big"))
    filtered = clock(lambda: dashboard.show("big", {"visibility": "public"}))
    again = clock(lambda: dashboard.show("big"))
    return Times(
        reading, plain, figures, groupby, whole - figures, page, filtered, again,
        measure_viewers(engine),
    )  # fmt: skip


def measure_viewers(engine: Engine) -> float:
    """Until all of them see the page, who come at once to a dashboard that knows nothing yet."""
    dashboard = Dashboard(engine)
    with ThreadPoolExecutor(VIEWERS) as pool:
        return clock(lambda: list(pool.map(lambda _: dashboard.show("big"), range(VIEWERS))))


def compare(one: Callable[[], Any], other: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Medians, run in turns so that what else the machine does falls on both."""
    pairs = [(clock(one), clock(other)) for _ in range(runs)]
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)


def clock(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
