"""``/analyze`` as gradio_client and curl use it, and what the app keeps of what it was sent."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from app import Settings, build_app, launch
from kfer.errors import PhotoError
from kfer.labels import TAXONOMIES
from kfer.ui import _take_upload
from kfer.web import build_routes
from tests.kfer.fake_recognizer import FakeRecognizer, build_reading
from tests.kfer.photo_samples import (
    TEXT,
    build_quarters,
    cut_short,
    encode,
    encode_heic,
    encode_turned,
    write_bomb,
)
from tests.processes import find_port
from tests.servers import AppServer, get, list_files, post, run_app
from tests.survey.samples import build_empty_survey

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GROUP = ROOT / "kfer" / "examples" / "group.webp"
KEYS = ["file", "width", "height", "model", "taxonomy", "approximate", "faces", "note"]
FACE_KEYS = ["rect", "detection_score", "label", "label_en", "unsure", "probs"]
POLL_SECONDS = 0.1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    with run_app(tmp_path_factory.mktemp("app")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: AppServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with build_client(server.url, tmp_path_factory.mktemp("downloads")) as client:
        yield client


@contextmanager
def build_client(url: str, downloads: Path) -> Iterator[Client]:
    client = Client(url, verbose=False, analytics_enabled=False, download_files=str(downloads))
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


def call_raw(server: AppServer, data: list[Any]) -> str:
    """Start a call as curl does; the stream of events that answers."""
    body = json.dumps({"data": data}).encode()
    status, answer = post(f"{server.url}/gradio_api/call/analyze", body, "application/json")
    assert status == 200, answer
    event = json.loads(answer)["event_id"]
    status, stream = get(f"{server.url}/gradio_api/call/analyze/{event}", 120)
    assert status == 200
    return stream.decode()


def test_a_photo_gives_the_annotated_picture_and_the_commands_object(client: Client) -> None:
    picture, described = client.predict(handle_file(GROUP), api_name="/analyze")
    with Image.open(picture) as image:
        assert (image.format, image.size) == ("JPEG", (1280, 470))
    assert list(described) == KEYS
    assert described["file"] == "group.webp"
    assert (described["width"], described["height"]) == (1280, 470)
    assert described["taxonomy"] == "ferplus8"
    assert described["note"] is None
    assert len(described["faces"]) == 3
    for face in described["faces"]:
        assert list(face) == FACE_KEYS
        assert list(face["probs"]) == list(TAXONOMIES["ferplus8"].labels)
        assert sum(face["probs"].values()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    "choices", [{}, {"detector": "haar"}, {"detector": "none", "taxonomy": "korean5"}], ids=str
)
def test_the_page_is_answered_the_same(
    choices: dict[str, str], client: Client, server: AppServer
) -> None:
    _, described = client.predict(handle_file(GROUP), **choices, api_name="/analyze")
    query = "&".join(f"{name}={value}" for name, value in choices.items())
    status, body = server.post(f"kfer/analyze?{query}", GROUP.read_bytes())
    assert status == 200
    assert json.loads(body)["analysis"] == {**described, "file": "photo"}


def test_the_model_may_be_named(client: Client) -> None:
    _, described = client.predict(handle_file(GROUP), "kfer-default", "none", api_name="/analyze")
    _, again = client.predict(handle_file(GROUP), described["model"], "none", api_name="/analyze")
    assert again == described


@pytest.mark.parametrize(
    ("name", "data", "size"),
    [
        ("a.heic", encode_heic(build_quarters()), (96, 64)),
        ("turned.jpg", encode_turned(6, "JPEG"), (96, 64)),
        ("휴가 사진.png", encode(build_quarters(50, 80), "PNG"), (50, 80)),
    ],
)
def test_any_kind_of_photo_is_taken_upright(
    name: str, data: bytes, size: tuple[int, int], client: Client, write: Callable[..., Path]
) -> None:
    photo = handle_file(write(name, data))
    _, described = client.predict(photo, detector="none", api_name="/analyze")
    assert (described["width"], described["height"]) == size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TEXT, "is not a photo that can be read; allowed: JPEG"),
        (b"", r"is empty \(0 bytes\)"),
        (cut_short(encode(build_quarters(400, 300), "JPEG", quality=95)), "damaged or cut short"),
        (write_bomb(), "too many pixels"),
    ],
    ids=["text", "nothing", "cut", "bomb"],
)
def test_what_is_no_photo_is_refused_with_the_reason(
    data: bytes,
    message: str,
    client: Client,
    server: AppServer,
    write: Callable[..., Path],
) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(write("photo.jpg", data)), api_name="/analyze")
    assert [file for file in server.list_files() if file.suffix != ".jpg"] == []
    assert [file for file in server.list_files() if file.name == "photo.jpg"] == []
    assert client.predict(handle_file(GROUP), detector="none", api_name="/analyze")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"model": "nobody"}, "'nobody' is not offered here; choose one of kfer-default"),
        ({"detector": "eyes"}, "'eyes' is not offered here; choose one of mtcnn, haar, none"),
        ({"taxonomy": "moods"}, "no taxonomy 'moods'; choose one of aihub7"),
    ],
)
def test_a_choice_that_is_not_offered_is_refused(
    choice: dict[str, str], message: str, client: Client
) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(GROUP), **choice, api_name="/analyze")


@pytest.mark.parametrize("photo", [None, "group.webp", 7, [], {}, {"path": None}], ids=str)
def test_what_is_no_upload_is_refused(photo: Any, server: AppServer) -> None:
    stream = call_raw(server, [photo])
    assert "event: error" in stream
    assert "event: complete" not in stream
    assert "Traceback" not in stream


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}], ids=["bare", "meta"])
@pytest.mark.parametrize("way", ["absolute", "out of the cache", "address"])
def test_a_path_that_the_caller_made_up_is_neither_read_nor_deleted(
    way: str, meta: dict[str, Any], server: AppServer, tmp_path: Path
) -> None:
    secret = shutil.copy(GROUP, tmp_path / "secret.webp")
    path = {
        "absolute": str(secret),
        "out of the cache": f"{server.cache}/../../{tmp_path.name}/secret.webp",
        "address": f"file://{secret}",
    }[way]
    stream = call_raw(server, [{"path": path, **meta}, None, "none"])
    assert "event: error" in stream
    assert "event: complete" not in stream
    assert "probs" not in stream
    assert secret.read_bytes() == GROUP.read_bytes()
    assert client_still_works(server)


def client_still_works(server: AppServer) -> bool:
    return server.post("kfer/analyze?detector=none", GROUP.read_bytes())[0] == 200


def test_the_public_endpoints_are_those_of_the_contract(client: Client, server: AppServer) -> None:
    information = client.view_api(return_format="dict", print_info=False)
    steps = ("start", "answer", "back", "resume", "result", "withdraw")
    public = {"analyze", "comparison", *(f"survey_{step}" for step in steps)}
    assert set(information["named_endpoints"]) == {f"/{name}" for name in public}
    assert information["unnamed_endpoints"] == {}
    _, config = get(f"{server.url}/config")
    names = {
        dependency["api_name"]
        for dependency in json.loads(config)["dependencies"]
        if dependency["api_visibility"] == "public"
    }
    assert names == public


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("gradio_api/runs", {404}),
        ("gradio_api/run-history/records", {404}),
        ("monitoring", {403, 404}),
        ("monitoring/summary", {403, 404}),
        ("gradio_api/profiling/summary", {404}),
    ],
)
def test_nothing_about_other_visitors_runs_can_be_asked(
    path: str, statuses: set[int], server: AppServer
) -> None:
    assert get(f"{server.url}/{path}")[0] in statuses


def test_only_outputs_are_served_as_files(server: AppServer) -> None:
    secret = server.data / "secret.txt"
    secret.write_text("the participants' answers", encoding="utf-8")
    forbidden = [secret, ROOT / "app.py", ROOT / "models/kfer-default/config.json", "/etc/hostname"]
    try:
        for file in forbidden:
            for route in ("gradio_api/file=", "file=", "gradio_api/file/"):
                status, body = get(f"{server.url}/{route}{file}")
                assert status in (403, 404), (route, file)
                assert b"answers" not in body
    finally:
        secret.unlink()


def test_a_page_leaves_nothing_on_the_disk_and_a_call_only_its_picture(
    server: AppServer, client: Client, tmp_path: Path
) -> None:
    before = set(server.list_files())
    frame = encode(Image.open(GROUP).convert("RGB").resize((640, 235)), "JPEG")
    for body in (GROUP.read_bytes(), TEXT, encode_heic(build_quarters()), frame, frame, frame):
        for route in ("analyze", "annotate", "preview"):
            server.post(f"kfer/{route}", body)
    assert set(server.list_files()) == before

    photo = tmp_path / "upload of mine.jpg"
    photo.write_bytes(frame)
    picture, _ = client.predict(handle_file(photo), api_name="/analyze")
    (left,) = set(server.list_files()) - before
    assert left.is_relative_to(server.cache)
    assert left.read_bytes() == Path(picture).read_bytes() != frame


def test_an_app_that_is_told_to_end_leaves_no_picture(tmp_path: Path) -> None:
    with run_app(tmp_path / "app") as server:
        with build_client(server.url, tmp_path / "downloads") as client:
            client.predict(handle_file(GROUP), detector="none", api_name="/analyze")
        left = [path.suffix for path in server.list_files()]
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert left == [".jpg"]
    assert server.list_files() == []


def test_an_upload_that_was_read_is_gone_and_says_so(server: AppServer) -> None:
    status, body = post(
        f"{server.url}/gradio_api/upload", *build_upload("once.webp", GROUP.read_bytes())
    )
    assert status == 200
    upload = {"path": json.loads(body)[0], "meta": {"_type": "gradio.FileData"}}
    assert "event: complete" in call_raw(server, [upload, None, "mtcnn", None])
    with pytest.raises(PhotoError, match="an upload is read once and deleted; upload it again"):
        _take_upload(upload | {"path": str(Path(get_upload_folder()) / "gone.webp")})


@pytest.fixture
def short_lived(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[tuple[str, Path, FakeRecognizer]]:
    """The app with a cache whose files live for a second: its address and the cache."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(app, "CACHE_SECONDS", (1, 1))
    recognizer = FakeRecognizer([build_reading((10, 10, 30, 30))])
    port = find_port()
    blocks = build_app(recognizer, None, *build_empty_survey())
    settings = Settings("127.0.0.1", port, None, tmp_path / "data")
    launch(blocks, settings, build_routes(recognizer), tmp_path / "cache")
    yield f"http://127.0.0.1:{port}", tmp_path / "cache", recognizer
    blocks.close(verbose=False)


def test_outputs_and_forgotten_uploads_are_gone_after_their_age(
    short_lived: tuple[str, Path, FakeRecognizer], tmp_path: Path
) -> None:
    url, cache, recognizer = short_lived
    with build_client(url, tmp_path / "downloads") as client:
        picture, _ = client.predict(handle_file(GROUP), api_name="/analyze")
    assert len(recognizer.asked) == 1
    assert Path(picture).stat().st_size > 10_000
    upload = build_upload("forgotten.webp", GROUP.read_bytes())
    status, body = post(f"{url}/gradio_api/upload", *upload)
    assert status == 200
    (forgotten,) = (Path(path) for path in json.loads(body))
    assert forgotten.is_relative_to(cache)
    before = set(list_files(cache))
    body, content_type = build_upload("broken.webp", GROUP.read_bytes() * 4)
    broken = HTTPConnection(urlsplit(url).netloc)
    broken.putrequest("POST", "/gradio_api/upload")
    broken.putheader("Content-Type", content_type)
    broken.putheader("Content-Length", str(len(body)))
    broken.endheaders(body[: len(body) // 2])
    wait_for(lambda: bool(set(list_files(cache)) - before))
    broken.close()
    wait_for(lambda: list(cache.iterdir()) == [])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    assert condition()


def build_upload(name: str, data: bytes) -> tuple[bytes, str]:
    """A multipart body, and its content type."""
    head = f'--cut\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n--cut--\r\n", "multipart/form-data; boundary=cut"


def test_a_fault_of_the_program_is_logged_and_hidden_from_the_caller(
    short_lived: tuple[str, Path, FakeRecognizer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, _, recognizer = short_lived
    recognizer.error = RuntimeError("secret detail")
    with build_client(url, tmp_path / "downloads") as client:
        with pytest.raises(AppError, match="the fault is logged") as caught:
            client.predict(handle_file(GROUP), api_name="/analyze")
        assert not re.search("secret detail|Traceback", str(caught.value))
        (record,) = [record for record in caplog.records if record.name == "kfer.ui"]
        assert record.exc_info is not None
        assert record.exc_info[1] is recognizer.error
        recognizer.error = None
        assert client.predict(handle_file(GROUP), api_name="/analyze")
