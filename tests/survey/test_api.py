"""A whole participation in the demo study by gradio_client, against a real app."""

import io
import warnings
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from gradio_client import Client  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]
from PIL import Image

from survey.comparison import Withheld
from tests.servers import AppServer, get, run_app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    with run_app(tmp_path_factory.mktemp("app")) as server:
        yield server


@pytest.fixture
def client(server: AppServer) -> Iterator[Client]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = Client(server.url, verbose=False, analytics_enabled=False)
    with closing(client):
        yield client


def call(client: Client, step: str, **arguments: Any) -> Any:
    return client.predict(api_name=f"/survey_{step}", **arguments)


def test_a_whole_participation(client: Client, server: AppServer) -> None:
    begun = call(client, "start", study="demo", consent=True, language="ko", background={})
    code, trial = begun["code"], begun["trial"]
    seen, answer = [], begun
    while trial:
        if len(seen) % 20 == 0:
            status, body = get(f"{server.url}/{trial['image_url']}")
            assert status == 200
            with Image.open(io.BytesIO(body)) as image:
                assert image.size == (384, 384)
        seen.append((trial["phase"], trial["position"], trial["total"]))
        answer = call(
            client, "answer", code=code, trial_id=trial["id"], label="슬픔", response_ms=640.5
        )
        trial = answer["trial"]
    assert seen == [("practice", at, 5) for at in range(1, 6)] + [
        ("main", at, 100) for at in range(1, 101)
    ]
    result = answer["result"]
    assert (result["score"], result["total"]) == (20, 100)
    assert result["by_label"]["슬픔"]["score"] == 20
    assert result["by_visibility"]["private"]["score"] == 10
    assert result == call(client, "result", code=code)
    assert call(client, "withdraw", code=code) == {
        "deleted": 213
    }  # with the flag for one label throughout
    with pytest.raises(AppError, match="This code is not known"):
        call(client, "resume", code=code)


@pytest.mark.parametrize(
    ("step", "arguments", "message"),
    [
        ("start", {"study": "none", "consent": True, "language": "ko"}, "There is no study 'none'"),
        ("start", {"study": "demo", "consent": False, "language": "ko"}, "needs your consent"),
        ("start", {"study": "demo", "consent": True, "language": "xx"}, "speaks ko, en, not 'xx'"),
        ("resume", {"code": "x" * 1_000_000}, "This code is not known"),
        ("back", {"code": ""}, "This code is not known"),
        ("back", {"code": ["a", "b"]}, "code must be a text, but got \\['a', 'b'\\]"),
        ("start", {"study": ["demo"], "consent": True, "language": "ko"}, "study must be a text"),
        ("result", {"code": "0000-0000-0000"}, "This code is not known"),
    ],
)
def test_bad_input_is_said_and_the_app_stays_up(
    step: str, arguments: dict[str, Any], message: str, client: Client, server: AppServer
) -> None:
    with pytest.raises(AppError, match=message):
        call(client, step, **arguments)
    assert get(server.url)[0] == 200
    assert "Traceback" not in server.log


def test_the_comparison_tells_nothing_about_one_person(client: Client) -> None:
    found = client.predict(api_name="/comparison", study="demo", filters={"visibility": "public"})
    assert found["study"]["name"] == "demo"
    assert (found["people"], found["models"], found["headline"]) == (None, {}, None)
    # Other tests may have brought the app one participant; on its own this one finds none.
    reason = Withheld.few_people if found["finished"] else Withheld.no_answers
    assert found["withheld"] == reason
    assert client.predict(api_name="/comparison", study="demo")["finished"] >= 0
    for arguments, message in (
        ({"study": "nowhere"}, "There is no study nowhere"),
        ({"study": ["demo"]}, "study must be a text"),
        ({"study": "demo", "filters": {"who": "me"}}, "filters: unknown 'who'"),
        ({"study": "demo", "filters": {"models": ["none@1"]}}, "models has"),
    ):
        with pytest.raises(AppError, match=message):
            client.predict(api_name="/comparison", **arguments)
