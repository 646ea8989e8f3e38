"""The page's own routes, with a fake recognizer and, where errors are its own, a tiny real one."""

import asyncio
import csv
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from kfer import web
from kfer.bundle import load_bundle
from kfer.errors import KferError
from kfer.pipeline import NO_FACE
from kfer.recognizer import Recognizer
from kfer.web import MAX_BYTES, build_routes
from tests.kfer.fake_recognizer import FAKE_BUNDLE, FakeRecognizer, build_reading
from tests.kfer.photo_samples import (
    PDF,
    TEXT,
    build_quarters,
    cut_short,
    encode,
    encode_heic,
    encode_turned,
    write_bomb,
)

ROUTES = ("analyze", "annotate", "preview")
PHOTO = encode(build_quarters(), "JPEG")
READINGS = (build_reading((4, 4, 24, 24)), build_reading((50, 20, 30, 30), "슬픔", 0.4))
BAD_PHOTOS = {
    "text": (TEXT, "is not a photo"),
    "pdf": (PDF, "is not a photo"),
    "nothing": (b"", r"is empty \(0 bytes\)"),
    "cut": (cut_short(encode(build_quarters(400, 300), "JPEG", quality=95)), "cut short"),
    "bomb": (write_bomb(), "too many pixels: .+ and at most 64 are"),
}


def serve(recognizer: Recognizer) -> Starlette:
    return Starlette(routes=build_routes(recognizer))


@pytest.fixture
def fake() -> FakeRecognizer:
    return FakeRecognizer(READINGS)


@pytest.fixture
def client(fake: FakeRecognizer) -> Iterator[TestClient]:
    with TestClient(serve(fake)) as client:
        yield client


def test_a_photo_is_answered_with_its_readings_as_json_and_csv(client: TestClient) -> None:
    answer = client.post("/kfer/analyze", content=PHOTO)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"analysis", "csv", "turned"}
    assert body["turned"] is False
    analysis = body["analysis"]
    assert list(analysis) == [
        "file", "width", "height", "model", "taxonomy", "approximate", "faces", "note",
    ]  # fmt: skip
    assert (analysis["width"], analysis["height"]) == (96, 64)
    assert analysis["model"] == FAKE_BUNDLE.identity
    assert [face["label"] for face in analysis["faces"]] == ["기쁨", "슬픔"]
    assert [face["rect"] for face in analysis["faces"]] == [[4, 4, 24, 24], [50, 20, 30, 30]]
    rows = list(csv.DictReader(io.StringIO(body["csv"])))
    assert [row["label_en"] for row in rows] == ["happiness", "sadness"]
    assert "기쁨" in answer.text  # not escaped


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ({"X-KFER-Name": quote("휴가 100%.heic")}, "휴가 100%.heic"),
        ({"X-KFER-Name": "%ff%fe"}, "��"),
        ({"X-KFER-Name": "a" * 300}, "a" * 255),
        ({"X-KFER-Name": ""}, "photo"),
        ({}, "photo"),
    ],
    ids=["korean", "not text", "endless", "empty", "none"],
)
def test_json_and_csv_carry_the_name_of_the_photo(
    header: dict[str, str], name: str, client: TestClient
) -> None:
    body = client.post("/kfer/analyze", content=PHOTO, headers=header).json()
    assert body["analysis"]["file"] == name
    rows = list(csv.DictReader(io.StringIO(body["csv"])))
    assert [row["file"] for row in rows] == [name, name]


def test_without_a_face_the_note_says_so() -> None:
    with TestClient(serve(FakeRecognizer())) as client:
        analysis = client.post("/kfer/analyze", content=PHOTO).json()["analysis"]
    assert analysis["note"] == NO_FACE
    assert analysis["faces"][0]["rect"] == [0, 0, 96, 64]


def test_the_choices_of_the_page_reach_the_recognizer(
    client: TestClient, fake: FakeRecognizer
) -> None:
    query = {"model": "fake", "detector": "haar", "taxonomy": "korean5"}
    client.post("/kfer/analyze", content=PHOTO, params=query)
    client.post("/kfer/annotate", content=PHOTO)
    assert fake.asked == [("fake", "haar", "korean5"), (None, "mtcnn", None)]


def test_the_annotated_photo_is_a_jpeg_with_boxes(client: TestClient) -> None:
    answer = client.post("/kfer/annotate", content=PHOTO)
    assert answer.headers["content-type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size) == ("JPEG", (96, 64))
    plain = Image.open(io.BytesIO(client.post("/kfer/preview", content=PHOTO).content))
    assert picture.tobytes() != plain.tobytes()


def test_the_annotated_photo_speaks_the_pages_language(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    draw = web.draw_analysis
    monkeypatch.setattr(
        web, "draw_analysis", lambda analysis, language: asked.append(language) or draw(analysis)
    )
    for query in ({}, {"language": "en"}):
        client.post("/kfer/annotate", content=PHOTO, params=query)
    assert asked == ["ko", "en"]


@pytest.mark.parametrize(
    "photo", [encode_heic(build_quarters()), encode_turned(6, "JPEG")], ids=["heic", "turned"]
)
def test_the_preview_is_an_upright_jpeg(photo: bytes, client: TestClient) -> None:
    answer = client.post("/kfer/preview", content=photo)
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, picture.size) == ("JPEG", (96, 64))
    red, green, blue = picture.getpixel((20, 10))
    assert red > 150 > max(green, blue)


@pytest.mark.parametrize(
    ("photo", "turned"),
    [
        (encode_turned(6, "WEBP"), True),
        (encode_turned(1, "WEBP"), False),
        (encode_turned(6, "JPEG"), False),
        (encode_turned(6, "PNG"), False),
        (encode_heic(build_quarters()), False),
    ],
    ids=["webp", "upright webp", "jpeg", "png", "heic"],
)
def test_the_page_is_told_of_photos_that_not_every_browser_turns(
    photo: bytes, turned: bool, client: TestClient
) -> None:
    body = client.post("/kfer/analyze", content=photo).json()
    assert body["turned"] is turned
    assert (body["analysis"]["width"], body["analysis"]["height"]) == (96, 64)


@pytest.mark.parametrize("name", BAD_PHOTOS)
@pytest.mark.parametrize("route", ROUTES)
def test_what_is_no_photo_is_refused_in_both_languages(
    route: str, name: str, client: TestClient, fake: FakeRecognizer
) -> None:
    data, message = BAD_PHOTOS[name]
    answer = client.post(f"/kfer/{route}", content=data)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert re.search(message, error["en"])
    assert re.search("[가-힣].+요", error["ko"])
    assert fake.asked == []
    assert client.post(f"/kfer/{route}", content=PHOTO).status_code == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"model": "nobody"}, "The model 'nobody' is not offered here; choose one of tiny"),
        ({"detector": "eyes"}, "The detector 'eyes' is not offered here; choose one of mtcnn"),
        ({"detector": "yolo"}, "'yolo' is not offered here; choose one of mtcnn, haar, none."),
        ({"taxonomy": "moods"}, "no taxonomy 'moods'; choose one of aihub7, korean5"),
    ],
)
def test_a_choice_that_is_not_offered_is_refused(
    query: dict[str, str], message: str, tiny_bundle: Path
) -> None:
    recognizer = Recognizer([load_bundle(tiny_bundle)])
    with TestClient(serve(recognizer)) as client:
        answer = client.post("/kfer/analyze", content=PHOTO, params={"detector": "none", **query})
        assert answer.status_code == 422
        assert message in answer.json()["error"]["en"]
        assert set(answer.json()["error"]) == {"ko", "en"}
        good = client.post("/kfer/analyze", content=PHOTO, params={"detector": "none"})
        assert good.json()["analysis"]["model"] == load_bundle(tiny_bundle).identity


def test_a_model_of_an_older_page_is_answered_by_a_reload(tiny_bundle: Path) -> None:
    with TestClient(serve(Recognizer([load_bundle(tiny_bundle)]))) as client:
        answer = client.post("/kfer/analyze", content=PHOTO, params={"model": "tiny@0123456789ab"})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["ko"] == "이 모델은 더 이상 없어요. 페이지를 새로고침해 주세요."
    assert error["en"].endswith("choose one of tiny. In the page: reload it.")


def test_a_body_over_the_limit_is_refused_before_it_is_read_to_its_end(
    fake: FakeRecognizer,
) -> None:
    chunk = bytes(1024 * 1024)
    status, body, received = asyncio.run(send_endlessly(serve(fake), chunk))
    assert status == 422
    assert "larger than 30 MB" in json.loads(body)["error"]["en"]
    assert "30 MB보다 커요" in json.loads(body)["error"]["ko"]
    assert received == MAX_BYTES // len(chunk) + 1
    assert fake.asked == []


async def send_endlessly(app: Starlette, chunk: bytes) -> tuple[int, bytes, int]:
    """Post to /kfer/analyze without end -> status, body, and how many chunks were taken."""
    taken = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        assert taken < 100
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(build_scope("/kfer/analyze"), receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], body, taken


def build_scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [],
        "scheme": "http",
        "server": ("127.0.0.1", 80),
    }


def test_a_visitor_who_leaves_while_sending_is_no_fault(
    fake: FakeRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    with caplog.at_level(logging.WARNING):
        asyncio.run(serve(fake)(build_scope("/kfer/analyze"), receive, send))
    assert caplog.records == []
    assert fake.asked == []


@pytest.mark.parametrize("route", ["analyze", "annotate"])
def test_a_fault_of_the_program_is_logged_and_hidden_from_the_visitor(
    route: str, client: TestClient, fake: FakeRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    fake.error = RuntimeError("secret detail")
    answer = client.post(f"/kfer/{route}", content=PHOTO)
    assert answer.status_code == 500
    assert "the fault is logged" in answer.json()["error"]["en"]
    assert re.search("[가-힣].+요", answer.json()["error"]["ko"])
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "kfer.web"]
    assert record.exc_info is not None
    assert record.exc_info[1] is fake.error
    fake.error = None
    assert client.post(f"/kfer/{route}", content=PHOTO).status_code == 200


def test_an_error_that_is_the_inputs_fault_is_not_logged(
    client: TestClient, fake: FakeRecognizer, caplog: pytest.LogCaptureFixture
) -> None:
    fake.error = KferError("too dark", "너무 어두워요")
    answer = client.post("/kfer/analyze", content=PHOTO)
    assert answer.json() == {"error": {"ko": "너무 어두워요", "en": "too dark"}}
    assert [record for record in caplog.records if record.name == "kfer.web"] == []


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("body", "error"), [(PHOTO, None), (TEXT, None), (PHOTO, OSError())])
def test_no_answer_about_a_photo_may_be_kept(
    route: str, body: bytes, error: Exception | None, client: TestClient, fake: FakeRecognizer
) -> None:
    fake.error = error
    answer = client.post(f"/kfer/{route}", content=body)
    assert answer.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize("route", ROUTES)
def test_photos_are_only_posted(route: str, client: TestClient) -> None:
    assert client.get(f"/kfer/{route}").status_code == 405


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("static/analyze.js", "/javascript"),  # text or, once Gradio has run, application
        ("static/language.js", "/javascript"),
        ("static/units.js", "/javascript"),
        ("examples/group.webp", "image/webp"),
    ],
)
def test_scripts_and_examples_are_served(path: str, content_type: str, client: TestClient) -> None:
    answer = client.get(f"/kfer/{path}")
    assert answer.status_code == 200
    assert content_type in answer.headers["content-type"]
    assert len(answer.content) > 1000


@pytest.mark.parametrize("folder", ["static", "examples"])
@pytest.mark.parametrize(
    "path", ["../web.py", "%2e%2e/web.py", "..%2fweb.py", "..%5cweb.py", "%2fetc%2fhostname", ""]
)
def test_nothing_beside_scripts_and_examples_is_served(
    folder: str, path: str, fake: FakeRecognizer
) -> None:
    status = asyncio.run(get_raw(serve(fake), f"/kfer/{folder}/{path}"))
    assert status == 404


async def get_raw(app: Starlette, path: str) -> int:
    """As a client sends it that does not tidy up its paths."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = build_scope(unquote(path)) | {"method": "GET", "raw_path": path.encode()}
    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status
