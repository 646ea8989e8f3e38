"""The survey's routes by themselves, up much sooner than the app: ``python -m`` this, PORT set.

The same routes on the same database, by the same kind of server, without Gradio and torch.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from survey.setup import open_survey
from survey.web import build_routes


def main() -> None:
    data = Path(os.environ["KFER_DATA_DIR"])
    study = open_survey(None, data, None, None, lambda: datetime.now(UTC))
    routes = build_routes(study.engine, study.signer, study.endpoints)
    app = Starlette(routes=[*routes, Route("/", show_up)])
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")


async def show_up(_request: Request) -> Response:
    """Who waits for the server asks for this."""
    return Response()


if __name__ == "__main__":
    main()
