"""URL -> engine, schema brought up to date, and transactions that end in one piece."""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from survey.errors import DatabaseError

MIGRATIONS = Path(__file__).parent / "migrations"
WAL_RETRY_SECONDS = 0.01
BUSY_MS = 5000  # how long a writer waits for another process
CONNECT_SECONDS = 10  # how long a PostgreSQL server may say nothing
TURN_SECONDS = 30  # and for its turn in this one, where every turn is short
_MIGRATION_LOCK = 7_351_942_011  # any number that nothing else locks on a PostgreSQL server

_log = logging.getLogger(__name__)


def locate_database(url: str | None, data_dir: Path) -> str:
    """The configured one, or a SQLite file in the data folder, which is made.

    Raises DatabaseError where it cannot be made.
    """
    if url:
        return url
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"KFER_DATA_DIR {data_dir} cannot be used ({error.strerror}); name a folder that can "
            "be written to."
        ) from None
    return f"sqlite:///{data_dir / 'kfer.sqlite'}"


def open_database(url: str) -> Engine:
    """An engine on an up-to-date schema. Raises DatabaseError, which never shows a password."""
    engine = build_engine(url)
    try:
        migrate(engine)
    except DatabaseError:
        engine.dispose()
        raise
    except DBAPIError as error:
        engine.dispose()
        raise DatabaseError(
            f"The database {engine.url.render_as_string()} cannot be opened "
            f"({_explain(error)}). Next: check KFER_DATABASE_URL and that its server runs, or "
            "leave it out to use SQLite in KFER_DATA_DIR."
        ) from None
    return engine


def build_engine(url: str) -> Engine:
    """Raises DatabaseError when the URL is none, or its driver is not installed."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _build_sqlite(url)
        if parsed.drivername == "postgresql":  # SQLAlchemy's own choice is the older psycopg2
            parsed = parsed.set(drivername="postgresql+psycopg")
        # A server that says nothing must not hold up a page, or a command, for good.
        waiting = {} if "connect_timeout" in parsed.query else {"connect_timeout": CONNECT_SECONDS}
        return create_engine(parsed, pool_pre_ping=True, connect_args=waiting)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise DatabaseError(
            "KFER_DATABASE_URL is no database address; allowed are sqlite:///path/to/file.sqlite "
            "and postgresql://user:password@host/name."
        ) from None
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"This database needs the package {error.name}, which is not installed; "
            "for PostgreSQL: pip install -r requirements-postgresql.txt."
        ) from None


def _build_sqlite(url: str) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_MS / 1000},
        execution_options={"turn": Lock()},  # see _take_turn
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # so that sqlite3 begins nothing by itself
        _switch_to_wal(connection)
        # A reply that was sent stays, even if the machine loses power.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then wants to write is refused at once, whatever the
        # timeout, when another has written meanwhile: so those that may write lock beforehand.
        mode = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Once for a file, which keeps it; two that do so at once are refused, whatever the timeout."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_SECONDS)
        else:
            return


def migrate(engine: Engine) -> None:
    """Bring the schema up to date; several processes may start at once.

    Raises DatabaseError when the schema is newer than this version of KFER knows.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writes=True).begin() as connection:
        take_lock(connection, _MIGRATION_LOCK)
        current = MigrationContext.configure(connection).get_current_revision()
        scripts = ScriptDirectory.from_config(config)
        if current == scripts.get_current_head():
            return
        try:
            scripts.get_revision(current or "base")
        except CommandError:
            raise DatabaseError(
                f"The database was made by a newer KFER (schema {current}); this one knows up to "
                f"{scripts.get_current_head()}. Next: install that newer KFER again."
            ) from None
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def take_lock(connection: Connection, number: int) -> None:
    """Until the transaction ends, one at a time; SQLite lets one write at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({number})"))


@contextmanager
def transaction(engine: Engine, writes: bool = True) -> Iterator[Session]:
    """A session whose changes are all kept at the end of the block, or none.

    Raises DatabaseError when the database is locked, full or gone: the caller may simply retry.
    """
    options: dict[str, Any] = {"writes": writes}
    if not writes and engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"  # all is read as of one moment
    try:
        with (
            _take_turn(engine if writes else None),
            Session(engine.execution_options(**options), expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session
    except PoolTimeoutError as error:
        raise _build_passing("all connections are in use") from error
    except DBAPIError as error:
        if not _is_passing(error):
            raise
        raise _build_passing(_explain(error)) from error


@contextmanager
def _take_turn(engine: Engine | None) -> Iterator[None]:
    """On SQLite, one writer of this process after another; others need no turn.

    SQLite lets one write at a time too, but whoever must wait for it only asks again ever more
    rarely: with 40 people at once, some were not let in for all of BUSY_MS while others came and
    went, and their answers were refused. Between processes it still has to do.
    """
    turn: Lock | None = engine.get_execution_options().get("turn") if engine else None
    if turn is None:
        yield
        return
    if not turn.acquire(timeout=TURN_SECONDS):
        raise _build_passing("others are writing")
    try:
        yield
    finally:
        turn.release()


def _build_passing(reason: str) -> DatabaseError:
    return DatabaseError(
        f"The answer could not be saved ({reason}); nothing is lost: try again.",
        "답을 저장하지 못했어요. 잃어버린 것은 없으니 잠시 뒤 다시 해 주세요.",
    )


def _is_passing(error: DBAPIError) -> bool:
    """Locked, full, read-only or gone: the machine's fault and not the statement's."""
    return error.connection_invalidated or isinstance(error, OperationalError)


def _explain(error: DBAPIError) -> str:
    """The driver's first line; where it may tell a server's address, that goes to the log alone."""
    line = str(error.orig).strip().splitlines()[0]
    if isinstance(error.orig, sqlite3.Error):
        return line
    _log.warning("the database: %s", line)
    return "the database's server is out of reach or refuses; the reason is logged"
