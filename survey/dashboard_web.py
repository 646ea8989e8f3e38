"""The comparison's own routes: its content, and what only the researcher may have.

The admin token comes in the Authorization header: it stands in no address, no cookie and no log.
"""

import gzip
from functools import cache
from importlib.metadata import version
from typing import Any

from anyio import CapacityLimiter
from plotly.offline import get_plotlyjs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from survey.dashboard import Dashboard
from survey.web import read_body, reply

AT_ONCE = 4  # computations are long; those who ask for the same wait for one
PLOTLY_PATH = f"survey/plotly-{version('plotly')}.min.js"
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable", "Content-Encoding": "gzip"}


def build_routes(dashboard: Dashboard) -> list[BaseRoute]:
    """Below ``/survey/comparison``: studies, view, thumbnail, export."""
    limiter = CapacityLimiter(AT_ONCE)

    async def list_studies(_request: Request) -> Response:
        return await reply(dashboard.list_studies, {}, limiter)

    async def view(request: Request) -> Response:
        def show(
            study: str, filters: dict[str, Any] | None = None, language: str = "ko"
        ) -> dict[str, Any]:
            return dashboard.show(study, filters, language, _read_token(request))

        return await reply(show, await read_body(request), limiter)

    async def show_thumbnail(request: Request) -> Response:
        arguments = _read_queries(request, "study", "image")
        response = await reply(dashboard.draw_thumbnail, arguments, limiter)
        if response.status_code == 200:
            response.headers["Content-Type"] = "image/jpeg"
        return response

    async def export(request: Request) -> Response:
        return await reply(dashboard.export, _read_queries(request, "study", "suffix"), limiter)

    return [
        Route("/survey/comparison/studies", list_studies, methods=["GET"]),
        Route("/survey/comparison/view", view, methods=["POST"]),
        Route("/survey/comparison/thumbnail", show_thumbnail, methods=["GET"]),
        Route("/survey/comparison/export", export, methods=["GET"]),
        Route(f"/{PLOTLY_PATH}", send_plotly, methods=["GET"]),
    ]


def send_plotly(_request: Request) -> Response:
    """plotly.js as the Python package brings it, a third of its size on the way."""
    return Response(_pack_plotly(), headers=FOREVER, media_type="text/javascript")


@cache
def _pack_plotly() -> bytes:
    return gzip.compress(get_plotlyjs().encode())


def _read_queries(request: Request, *names: str) -> dict[str, str | None]:
    """Those of the address, and the token."""
    queries = {name: request.query_params.get(name, "") for name in names}
    return {**queries, "token": _read_token(request)}


def _read_token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else None
