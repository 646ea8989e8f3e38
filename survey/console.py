"""What the commands share: faults as one line, the time, the configured database."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kfer.errors import KferError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from survey.records import StudyRecord


class Errors:
    """Turns what is the input's fault into one line and exit status 1."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KferError):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None


def now() -> datetime:
    return datetime.now(UTC)


def get_stderr() -> Any:
    return typer.get_text_stream("stderr")


def open_engine() -> "Engine":
    from survey.database import locate_database, open_database

    data_dir = Path(os.environ.get("KFER_DATA_DIR") or "data")
    return open_database(locate_database(os.environ.get("KFER_DATABASE_URL"), data_dir))


def get_study(engine: "Engine", name: str) -> "StudyRecord":
    from survey import studies
    from survey.database import transaction

    with transaction(engine, writes=False) as session:
        return studies.get_study(session, name)
