"""Both databases: schema, pragmas, transactions, and errors that say what to do."""

import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from kfer.labels import get_taxonomy
from survey import database
from survey.comparison import Filters, compare_study, read_study
from survey.database import build_engine, open_database, transaction
from survey.errors import DatabaseError
from survey.freeze import freeze
from survey.models import Base, FrozenPrediction, Image, ImageSet, Participant
from survey.records import ModelVersion
from survey.statistics.describe import describe_summary
from tests.processes import find_port
from tests.survey.conftest import NOW
from tests.survey.samples import add_images, add_study
from tests.survey.test_results import read_brightness


def add_set(engine: Engine, name: str, created_at: datetime = NOW) -> None:
    with transaction(engine) as session:
        session.add(
            ImageSet(
                name=name,
                visibility="public",
                taxonomy="korean5",
                presentation={"한글": [1, None]},
                created_at=created_at,
            )
        )


def list_sets(engine: Engine) -> list[str]:
    with transaction(engine, writes=False) as session:
        return list(session.scalars(select(ImageSet.name).order_by(ImageSet.name)))


def test_the_migrations_make_exactly_the_tables_of_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
    assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_opening_again_keeps_what_is_there(database_url: str) -> None:
    for name in ("a", "b"):
        engine = open_database(database_url)
        add_set(engine, name)
        engine.dispose()
    engine = open_database(database_url)
    assert list_sets(engine) == ["a", "b"]
    engine.dispose()


def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    engines: list[Engine] = []
    gate = threading.Barrier(4)

    def start() -> None:
        gate.wait()
        engines.append(open_database(database_url))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engines) == 4
    with engines[0].connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
    for engine in engines:
        engine.dispose()


def test_a_database_of_a_newer_kfer_is_left_alone(database_url: str) -> None:
    engine = open_database(database_url)
    with transaction(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'ffff'"))
    engine.dispose()
    with pytest.raises(DatabaseError, match=r"newer KFER \(schema ffff\).*knows up to 0002"):
        open_database(database_url)


def test_times_and_texts_come_back_as_they_went(engine: Engine) -> None:
    seoul = timezone(timedelta(hours=9))
    add_set(engine, "서울", datetime(2026, 11, 21, 21, 30, 15, 123456, tzinfo=seoul))
    with transaction(engine, writes=False) as session:
        row = session.scalars(select(ImageSet)).one()
    assert row.created_at == datetime(2026, 11, 21, 12, 30, 15, 123456, tzinfo=UTC)
    assert row.created_at.tzinfo == UTC
    assert row.presentation == {"한글": [1, None]}


def test_a_time_without_a_zone_is_refused(engine: Engine) -> None:
    with pytest.raises(StatementError, match="names no zone"):
        add_set(engine, "naive", datetime(2026, 11, 21))


def test_a_block_that_fails_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(RuntimeError, match="half-way"), transaction(engine) as session:
        session.add(Participant(id="a", language="ko", background={}, created_at=NOW))
        session.flush()
        raise RuntimeError("half-way")
    with transaction(engine, writes=False) as session:
        assert session.scalars(select(Participant)).all() == []


def test_the_rules_of_the_tables_hold(engine: Engine) -> None:
    add_set(engine, "twice")
    with pytest.raises(IntegrityError):
        add_set(engine, "twice")
    with pytest.raises(IntegrityError), transaction(engine) as session:
        session.execute(
            text("INSERT INTO study_image (study_id, image_id, phase) VALUES (7, 'no', 'main')")
        )


def test_readers_see_no_writer_and_writers_wait(engine: Engine) -> None:
    """Forty writers of one counter, each reading it first: none is refused, none overwrites."""
    count_at_once(engine)


def test_on_sqlite_they_wait_in_a_line_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own waiting is unfair, so here it may not wait at all."""
    monkeypatch.setattr("survey.database.BUSY_MS", 0)
    engine = open_database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    count_at_once(engine)
    engine.dispose()


def run_at_once(threads: int, work: Callable[[], None]) -> list[Exception]:
    """What went wrong in any of the threads."""
    errors: list[Exception] = []

    def call() -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    running = [threading.Thread(target=call) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return errors


def count_at_once(engine: Engine) -> None:
    with transaction(engine) as session:
        session.add(Participant(id="a", language="ko", background={"n": 0}, created_at=NOW))

    def count() -> None:
        for _ in range(5):
            with transaction(engine) as session:
                row = session.scalars(
                    select(Participant).where(Participant.id == "a").with_for_update()
                ).one()
                row.background = {"n": row.background["n"] + 1}

    assert run_at_once(8, count) == []
    with transaction(engine, writes=False) as session:
        assert session.get_one(Participant, "a").background == {"n": 40}


def test_sqlite_is_set_up_to_lose_nothing(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    with engine.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert values == {
        "journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000, "synchronous": 2
    }  # fmt: skip
    engine.dispose()


def test_whose_turn_does_not_come_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("survey.database.TURN_SECONDS", 0.05)
    engine = open_database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    with (
        transaction(engine),
        pytest.raises(DatabaseError, match=r"could not be saved \(others are writing\)"),
    ):
        add_set(engine, "a")
    add_set(engine, "a")
    assert list_sets(engine) == ["a"]
    engine.dispose()


def test_a_locked_database_says_so_and_the_answer_can_be_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("survey.database.BUSY_MS", 50)
    path = tmp_path / "a.sqlite"
    engine = open_database(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match=r"could not be saved \(database is locked\)") as caught:
        add_set(engine, "a")
    assert caught.value.korean.startswith("답을 저장하지 못했어요.")
    other.execute("ROLLBACK")
    other.close()
    add_set(engine, "a")
    assert list_sets(engine) == ["a"]
    engine.dispose()


def test_a_full_disk_says_so_and_nothing_is_half_written(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    add_set(engine, "a")
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DatabaseError, match=r"database or disk is full"):
        add_set(engine, "b" * 90_000)
    assert list_sets(engine) == ["a"]
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    add_set(engine, "b")
    assert list_sets(engine) == ["a", "b"]
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "is no database address; allowed are sqlite:///"),
        ("mongodb://host/name", "is no database address"),
        ("mysql+mysqldb://host/name", "needs the package MySQLdb"),
        ("sqlite:////nowhere/at/all.sqlite", r"cannot be opened \(unable to open database file\)"),
        ("postgresql://me:secret@127.0.0.1:1/x", r"me:\*\*\*@127.0.0.1:1/x cannot be opened"),
    ],
)
def test_an_address_that_leads_nowhere_is_explained(url: str, message: str) -> None:
    with pytest.raises(DatabaseError, match=message) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_plain_postgresql_addresses_get_the_driver_that_is_installed() -> None:
    assert build_engine("postgresql://me@host/x").driver == "psycopg"


def test_a_database_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """``schemas/0001.sql``: a small study, two people who finished it, a model's answers."""
    path = tmp_path / "old.sqlite"
    script = (Path(__file__).parent / "schemas" / "0001.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        tables = [name for (name,) in connection.execute(LIST_TABLES)]
        before = {name: count_rows(connection, name) for name in tables}
    engine = open_database(f"sqlite:///{path}")
    comparison = compare_study(read_study(engine, "small"), Filters(), may_see_all=True)
    assert comparison.summary is not None
    figures = describe_summary(comparison.summary)
    assert figures["people"]["mean_score"]["value"] == pytest.approx((5 + 8) / 2)
    assert figures["models"]["model@1"]["score"]["value"] == 10
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        assert {name: count_rows(connection, name) for name in tables} == before
        sources = connection.execute("SELECT DISTINCT source FROM frozen_prediction").fetchall()
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert sources == [(None,)]


LIST_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


def count_rows(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_two_apps_that_freeze_a_model_at_once_agree(engine: Engine) -> None:
    add_study(engine)
    model, gate = ModelVersion("m", "1", "korean5"), threading.Barrier(4)

    def start() -> None:
        gate.wait()
        freeze(engine, read_brightness, model, get_taxonomy("korean5"), NOW)

    assert run_at_once(4, start) == []
    with transaction(engine, writes=False) as session:
        images = session.scalars(select(Image.id)).all()
        predicted = session.scalars(select(FrozenPrediction.image_id)).all()
    assert sorted(predicted) == sorted(images)


def test_a_statement_that_waits_too_long_may_be_tried_again(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite waits for BUSY_MS, which another test sees")
    with (
        pytest.raises(DatabaseError, match=r"could not be saved .*the reason is logged"),
        transaction(engine) as session,
    ):
        session.execute(text("SET LOCAL statement_timeout = 50"))
        session.execute(text("SELECT pg_sleep(5)"))
    assert "statement timeout" in caplog.text


def test_participants_are_not_told_where_the_server_is(caplog: pytest.LogCaptureFixture) -> None:
    port = find_port()  # nobody listens
    engine = create_engine(f"postgresql+psycopg://me@127.0.0.1:{port}/x")
    with pytest.raises(DatabaseError) as refused, transaction(engine) as session:
        session.execute(text("SELECT 1"))
    assert "127.0.0.1" not in str(refused.value)
    assert str(port) in caplog.text


def test_what_is_read_is_of_one_moment(engine: Engine) -> None:
    count = select(func.count()).select_from(ImageSet)
    with transaction(engine, writes=False) as session:
        assert session.scalar(count) == 0
        add_images(engine, "public", 1, "later-", "korean5")
        assert session.scalar(count) == 0
    with transaction(engine, writes=False) as session:
        assert session.scalar(count) == 1


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CONNECT_SECONDS", 2)  # the least that the driver knows
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DatabaseError, match="cannot be opened"):
            open_database(f"postgresql://me@127.0.0.1:{port}/x")
