"""The survey's parts put together once, when a program starts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from kfer.labels import Taxonomy
from survey import studies
from survey.dashboard import Dashboard
from survey.database import locate_database, open_database, transaction
from survey.demo_study import NAME as DEMO
from survey.demo_study import ensure_demo_study, load_demo_definition
from survey.endpoints import Endpoints
from survey.freeze import Predict, freeze
from survey.links import Signer, load_secret
from survey.records import ModelVersion


@dataclass(frozen=True)
class Survey:
    """An up-to-date database with the demo study in it, and what works on it."""

    engine: Engine
    signer: Signer
    endpoints: Endpoints
    dashboard: Dashboard
    tell_time: Callable[[], datetime]

    @property
    def demo_taxonomy(self) -> Taxonomy:
        return load_demo_definition().labels

    def freeze_demo(self, predict: Predict, model: ModelVersion) -> int:
        """A model's answers on the demo study's images; from the second start on there are none."""
        with transaction(self.engine, writes=False) as session:
            demo = studies.get_study(session, DEMO)
        now = self.tell_time()
        return freeze(self.engine, predict, model, demo.definition.labels, now, study=demo)


def open_survey(
    database_url: str | None,
    data_dir: Path,
    secret: str | None,
    admin_token: str | None,
    tell_time: Callable[[], datetime],
) -> Survey:
    """Without a URL or a secret, those in the data folder are used.

    Raises DatabaseError, and StudyError for an admin token that is too short.
    """
    engine = open_database(locate_database(database_url, data_dir))
    ensure_demo_study(engine, tell_time())
    signer = Signer(secret or load_secret(data_dir))
    endpoints = Endpoints(engine, signer, tell_time)
    return Survey(engine, signer, endpoints, Dashboard(engine, admin_token), tell_time)
