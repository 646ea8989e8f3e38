"""Many photos at once on the page's own routes: held within bounds, and nobody holds up others."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette

from kfer import web
from kfer.errors import KferError
from kfer.pipeline import Analysis
from kfer.web import AT_ONCE, MOST
from tests.kfer.fake_recognizer import FakeRecognizer
from tests.kfer.test_web import PHOTO, READINGS, build_scope, serve


class HeldRecognizer(FakeRecognizer):
    """Answers when it is let go."""

    def __init__(self) -> None:
        super().__init__(READINGS)
        self.let_go = threading.Event()

    def analyze(self, *arguments: Any) -> Analysis:
        self.asked.append((None, "", None))
        assert self.let_go.wait(30)
        return FakeRecognizer(READINGS).analyze(*arguments)


async def post_photo(app: Starlette, stays: asyncio.Event) -> tuple[int, bytes]:
    """Post to /kfer/analyze, and stay to hear the answer until ``stays`` is set."""
    body = [{"type": "http.request", "body": PHOTO, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await stays.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(build_scope("/kfer/analyze"), receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_only_so_many_photos_are_held_at_a_time() -> None:
    held = HeldRecognizer()
    app = serve(held)

    async def crowd() -> tuple[tuple[int, bytes], list[int]]:
        stays = asyncio.Event()
        under_way = [asyncio.create_task(post_photo(app, stays)) for _ in range(MOST)]
        await wait_for(lambda: len(held.asked) == AT_ONCE)
        one_too_many = await post_photo(app, stays)
        held.let_go.set()
        return one_too_many, [status for status, _ in await asyncio.gather(*under_way)]

    (status, body), others = asyncio.run(crowd())
    assert status == 503
    assert "try again in a moment" in json.loads(body)["error"]["en"]
    assert "잠시 뒤 다시" in json.loads(body)["error"]["ko"]
    assert others == [200] * MOST
    assert asyncio.run(post_photo(app, asyncio.Event()))[0] == 200


def test_photos_that_come_slowly_hold_up_nobody() -> None:
    app = serve(FakeRecognizer(READINGS))

    async def crowd() -> int:
        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(_message: Any) -> None:
            pass

        slow = [
            asyncio.create_task(app(build_scope("/kfer/analyze"), receive, send))
            for _ in range(2 * MOST)
        ]
        await asyncio.sleep(0.1)
        status, _ = await post_photo(app, asyncio.Event())
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return status

    assert asyncio.run(crowd()) == 200


async def stall(app: Starlette, chunk: bytes) -> tuple[int, bytes]:
    """Post the beginning of a photo to /kfer/analyze, and wait for the answer."""
    body = [{"type": "http.request", "body": chunk, "more_body": True}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not body:
            await asyncio.Event().wait()
        return body.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(build_scope("/kfer/analyze"), receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_bodies_that_stall_together_take_only_so_much_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = len(PHOTO) + 1
    monkeypatch.setattr(web, "MAX_BYTES", limit)
    app = serve(FakeRecognizer(READINGS))

    async def crowd() -> tuple[tuple[int, bytes], list[int]]:
        slow = [asyncio.create_task(stall(app, bytes(limit))) for _ in range(MOST)]
        await asyncio.sleep(0.1)
        refused = await post_photo(app, asyncio.Event())
        gone = slow.pop()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        statuses = [(await post_photo(app, asyncio.Event()))[0] for _ in range(2)]
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return refused, statuses

    (status, body), after = asyncio.run(crowd())
    assert status == 503
    assert "try again in a moment" in json.loads(body)["error"]["en"]
    assert after == [200, 200]  # each gives back what it took


@pytest.mark.parametrize("error", [None, KferError("too dark"), RuntimeError("a fault")], ids=str)
def test_memory_comes_back_however_a_request_ends(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_BYTES", len(PHOTO))
    app = serve(FakeRecognizer(READINGS, error=error))
    expected = {type(None): 200, KferError: 422, RuntimeError: 500}[type(error)]
    for _ in range(MOST + 1):
        assert asyncio.run(post_photo(app, asyncio.Event()))[0] == expected


def test_a_photo_that_does_not_come_to_its_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "BODY_SECONDS", 0.1)
    status, body = asyncio.run(stall(serve(FakeRecognizer(READINGS)), PHOTO[:10]))
    assert status == 408
    assert "came too slowly" in json.loads(body)["error"]["en"]
    assert "너무 느려서" in json.loads(body)["error"]["ko"]


def test_the_photo_of_somebody_who_left_while_it_waited_is_not_read() -> None:
    held = HeldRecognizer()
    app = serve(held)

    async def leave() -> None:
        stays, gone = asyncio.Event(), asyncio.Event()
        under_way = [asyncio.create_task(post_photo(app, stays)) for _ in range(AT_ONCE)]
        await wait_for(lambda: len(held.asked) == AT_ONCE)
        waiting = [asyncio.create_task(post_photo(app, gone)) for _ in range(5)]
        await asyncio.sleep(0.1)
        gone.set()
        held.let_go.set()
        await asyncio.gather(*under_way, *waiting)

    asyncio.run(leave())
    assert len(held.asked) == AT_ONCE
