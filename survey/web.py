"""The survey's own routes: its steps for the page, and the one way to a survey image.

An image comes by a signed link, for the current trial and the next, and is stored nowhere. Every
answer has one of few lengths, so that the length tells nothing about the picture.
"""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import CapacityLimiter
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from kfer.errors import KferError
from survey import store, studies
from survey.arguments import check_arguments
from survey.database import transaction
from survey.endpoints import STEPS, Endpoints
from survey.errors import DatabaseError, RequestError, TokenError
from survey.links import PREFIX, Signer

STEP_BYTES = 64 * 1024  # lengths are multiples of this
AT_ONCE = 16
MAX_BYTES = 64 * 1024  # of a step's body
HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FAULT = {
    "ko": "서버에서 문제가 생겼어요. 앞서 하신 답은 그대로 있어요.",
    "en": "Something went wrong on the server; what you answered before is kept.",
}
_STATUS: dict[type[KferError], int] = {DatabaseError: 503, RequestError: 400, TokenError: 403}

_log = logging.getLogger(__name__)


def build_routes(engine: Engine, signer: Signer, endpoints: Endpoints) -> list[BaseRoute]:
    """Below ``/survey``: GET image and study, POST what the endpoints do, the page's own files."""
    limiter = CapacityLimiter(AT_ONCE)
    steps: dict[str, Callable[..., dict[str, Any]]] = {
        step: getattr(endpoints, step) for step in STEPS
    }

    async def show_image(request: Request) -> Response:
        token = request.path_params["token"]
        try:
            status, body = await anyio.to_thread.run_sync(
                _find_image, engine, signer, token, limiter=limiter
            )
        except DatabaseError:
            status, body = 503, b""
        return Response(body, status, HEADERS, "image/jpeg" if body else None)

    async def show_study(request: Request) -> Response:
        name = request.query_params.get("name")
        return await reply(endpoints.study, {"name": name}, limiter)

    async def take_step(request: Request) -> Response:
        step = steps.get(request.path_params["step"])
        if step is None:
            return Response(status_code=404, headers=HEADERS)
        return await reply(step, await read_body(request), limiter)

    return [
        Route(f"/{PREFIX}/{{token}}", show_image, methods=["GET"]),
        Route("/survey/api/study", show_study, methods=["GET"]),
        Route("/survey/api/{step}", take_step, methods=["POST"]),
        Mount("/survey/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]


async def reply(function: Callable[..., Any], arguments: Any, limiter: CapacityLimiter) -> Response:
    """What the function says as JSON (bytes as they are), or why it says nothing."""
    try:
        call = partial(function, **check_arguments(function, arguments))
        body = await anyio.to_thread.run_sync(call, limiter=limiter)
    except KferError as error:
        status = _STATUS.get(type(error), 422)
        message = {"ko": error.korean, "en": str(error)}
        return JSONResponse({"error": message}, status, HEADERS)
    except Exception:
        _log.exception("a request to the survey failed")
        return JSONResponse({"error": _FAULT}, 500, HEADERS)
    if isinstance(body, bytes):
        return Response(body, headers=HEADERS)
    return JSONResponse(body, headers=HEADERS)


async def read_body(request: Request) -> Any:
    """The body's JSON, read no further than MAX_BYTES; None where it is none."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BYTES:
            return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _find_image(engine: Engine, signer: Signer, token: str) -> tuple[int, bytes]:
    """403: forged, expired, or not the current trial or the next; 404: withdrawn meanwhile."""
    trial_id = signer.find_trial_id(token)
    if trial_id is None:
        return 403, b""
    with transaction(engine, writes=False) as session:
        found = store.find_shown(session, trial_id)
        if found is None:
            return 404, b""
        if not found.is_current:
            return 403, b""
        jpeg = studies.find_jpeg(session, found.image_id)
    return (404, b"") if jpeg is None else (200, pad(jpeg))


def pad(jpeg: bytes) -> bytes:
    """Zeros after the end of the picture, which every decoder leaves unread."""
    return jpeg + bytes(-len(jpeg) % STEP_BYTES)
