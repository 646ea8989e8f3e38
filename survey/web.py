"""The one way to a survey image: a signed link, for the current trial and the next, never stored.

Every answer has one of few lengths, so that the length tells nothing about the picture.
"""

import anyio
from anyio import CapacityLimiter
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from survey import store, studies
from survey.database import transaction
from survey.errors import DatabaseError
from survey.links import PREFIX, Signer

STEP_BYTES = 64 * 1024  # lengths are multiples of this
AT_ONCE = 16
_HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def build_routes(engine: Engine, signer: Signer) -> list[BaseRoute]:
    limiter = CapacityLimiter(AT_ONCE)

    async def show(request: Request) -> Response:
        token = request.path_params["token"]
        try:
            status, body = await anyio.to_thread.run_sync(
                _find_image, engine, signer, token, limiter=limiter
            )
        except DatabaseError:
            status, body = 503, b""
        return Response(body, status, _HEADERS, "image/jpeg" if body else None)

    return [Route(f"/{PREFIX}/{{token}}", show, methods=["GET"])]


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
