"""Many photos at once on the page's own routes: held within bounds, and nobody holds up others."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette

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

    async def stall() -> int:
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

    assert asyncio.run(stall()) == 200


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
