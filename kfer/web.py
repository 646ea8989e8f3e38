"""The page's own routes: a photo is posted as it is, its readings come back. Nothing is stored.

The request's body stays in memory, so neither photos nor live frames ever touch the disk.
"""

import io
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import anyio
from anyio import CapacityLimiter
from PIL import Image
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from kfer.errors import KferError, PhotoError
from kfer.photos import Photo, open_photo
from kfer.pipeline import Analysis, describe
from kfer.recognizer import Recognizer
from kfer.render import build_rows, draw_analysis, write_csv
from kfer.texts import TEXTS

MAX_BYTES = 30 * 1024 * 1024  # as texts.py says
AT_ONCE = 2  # photos read at the same time; more would only slow each other down
MOST = 16  # photos that have come and wait for their turn, or are being read
BODY_SECONDS = 120  # in which a photo must have come
JPEG_QUALITY = 90
MAX_NAME = 255  # characters of a photo's name that are repeated in its readings

_HERE = Path(__file__).parent
_PRIVATE = {"Cache-Control": "private, no-store"}
_FAULT = {
    "ko": "사진을 읽다가 서버에서 문제가 생겼어요. 다른 사진으로 다시 해 주세요.",
    "en": "The photo could not be read; the fault is logged. Try again with another photo.",
}
_BUSY = {
    "ko": "지금 사진이 너무 많이 밀려 있어요. 잠시 뒤 다시 해 주세요.",
    "en": "Too many photos are waiting just now; try again in a moment.",
}
_LATE = {
    "ko": "사진 전송이 너무 느려서 중단했어요. 연결을 확인하고 다시 해 주세요.",
    "en": "The photo came too slowly to wait for; check the connection and try again.",
}

_log = logging.getLogger(__name__)

Answer = Callable[[Recognizer, Photo, Request], Response]
Take = Callable[[int], None]


class _RefusedError(Exception):
    """The photo cannot be taken just now, or any longer."""

    def __init__(self, status: int, message: dict[str, str]) -> None:
        super().__init__(message["en"])
        self.status = status
        self.message = message


class _Budget:
    """Bytes that all bodies together may take, while they come and while they are kept."""

    def __init__(self, free: int) -> None:
        self._free = free

    @contextmanager
    def lend(self) -> Iterator[Take]:
        """Takes bytes, or raises _RefusedError; all come back when the block ends."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count > self._free:
                raise _RefusedError(503, _BUSY)
            self._free -= count
            taken += count

        try:
            yield take
        finally:
            self._free += taken


def build_routes(recognizer: Recognizer) -> list[BaseRoute]:
    """Routes below ``/kfer``: POST analyze, annotate and preview, GET static files and examples."""
    readers, places = CapacityLimiter(AT_ONCE), CapacityLimiter(MOST)
    budget = _Budget(MOST * MAX_BYTES)

    def build_endpoint(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def read(request: Request, data: bytes) -> Response:
            async with readers:
                if await request.is_disconnected():
                    raise ClientDisconnect  # while the photo waited
                return await anyio.to_thread.run_sync(
                    lambda: answer(recognizer, open_photo(data), request)
                )

        async def endpoint(request: Request) -> Response:
            try:
                with budget.lend() as take:
                    data = await _read_body(request, take)
                    # A place is for photos that have come: one that comes slowly holds up nobody.
                    if not places.available_tokens:
                        raise _RefusedError(503, _BUSY)
                    async with places:
                        return await read(request, data)
            except _RefusedError as refused:
                return JSONResponse({"error": refused.message}, refused.status, headers=_PRIVATE)
            except KferError as error:
                message = {"ko": error.korean, "en": str(error)}
                return JSONResponse({"error": message}, 422, headers=_PRIVATE)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            except Exception:
                _log.exception("%s failed", request.url.path)
                return JSONResponse({"error": _FAULT}, 500, headers=_PRIVATE)

        return endpoint

    return [
        Route("/kfer/analyze", build_endpoint(_answer_readings), methods=["POST"]),
        Route("/kfer/annotate", build_endpoint(_answer_annotated), methods=["POST"]),
        Route("/kfer/preview", build_endpoint(_answer_preview), methods=["POST"]),
        Mount("/kfer/static", StaticFiles(directory=_HERE / "static")),
        Mount("/kfer/examples", StaticFiles(directory=_HERE / "examples")),
    ]


def encode_jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


async def _read_body(request: Request, take: Take) -> bytes:
    """Raises PhotoError as soon as the body is too large, _RefusedError when it takes too long."""
    chunks = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for chunk in request.stream():
                take(len(chunk))
                chunks += chunk
                if len(chunks) > MAX_BYTES:
                    raise build_size_error()
    except TimeoutError:
        raise _RefusedError(408, _LATE) from None
    return bytes(chunks)


def build_size_error() -> PhotoError:
    """For a photo of more than MAX_BYTES, whichever way it came."""
    korean, english = TEXTS["error_size"]
    return PhotoError(english, korean)


def _analyze(recognizer: Recognizer, photo: Photo, request: Request) -> Analysis:
    query = request.query_params
    return recognizer.analyze(
        photo, query.get("model"), query.get("detector") or "mtcnn", query.get("taxonomy")
    )


def _read_name(request: Request) -> str:
    """The photo's own name, percent-encoded in a header: addresses end up in proxies' logs."""
    return unquote(request.headers.get("x-kfer-name", ""))[:MAX_NAME] or "photo"


def _answer_readings(recognizer: Recognizer, photo: Photo, request: Request) -> Response:
    described = describe(_analyze(recognizer, photo, request), _read_name(request))
    csv = write_csv(build_rows(described))
    body = {"analysis": described, "csv": csv, "turned": photo.turned}
    return Response(json.dumps(body, ensure_ascii=False), 200, _PRIVATE, "application/json")


def _answer_annotated(recognizer: Recognizer, photo: Photo, request: Request) -> Response:
    language = request.query_params.get("language") or "ko"
    picture = draw_analysis(_analyze(recognizer, photo, request), language)
    return Response(encode_jpeg(picture), 200, _PRIVATE, "image/jpeg")


def _answer_preview(_recognizer: Recognizer, photo: Photo, _request: Request) -> Response:
    """The photo as JPEG, for formats that browsers cannot show."""
    return Response(encode_jpeg(photo.image), 200, _PRIVATE, "image/jpeg")
