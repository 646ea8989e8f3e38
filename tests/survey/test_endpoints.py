"""A whole participation by the endpoints and the image route alone, as a program would do it."""

import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.testclient import TestClient

from survey import links, studies
from survey.database import transaction
from survey.endpoints import Endpoints
from survey.errors import ParticipationError
from survey.links import LIFETIME_SECONDS, Signer, load_secret
from survey.records import StudyDefinition
from survey.web import STEP_BYTES, build_routes, pad
from tests.survey.conftest import NOW
from tests.survey.samples import LABELS, SMALL, TEXTS, add_study, draw_jpeg


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def endpoints(engine: Engine) -> Endpoints:
    add_study(engine)
    return Endpoints(engine, Signer("secret"), Clock())


@pytest.fixture
def client(engine: Engine, endpoints: Endpoints) -> Iterator[TestClient]:
    routes = build_routes(engine, Signer("secret"), endpoints)
    with TestClient(Starlette(routes=routes)) as client:
        yield client


def start(endpoints: Endpoints, language: str = "ko") -> dict[str, Any]:
    return endpoints.start("small", True, language, {"age": "20-29"})


def answer(endpoints: Endpoints, code: str, trial: dict[str, Any], label: str = "기쁨") -> Any:
    return endpoints.answer(code, trial["id"], label, 700, {"device": "touch"})


def answer_all(endpoints: Endpoints, begun: dict[str, Any]) -> list[dict[str, Any]]:
    """Every trial of a participation, in order."""
    trials, trial = [], begun["trial"]
    while trial:
        trials.append(trial)
        trial = answer(endpoints, begun["code"], trial)["trial"]
    return trials


def test_a_trial_says_what_the_contract_says(endpoints: Endpoints) -> None:
    begun = start(endpoints)
    trial = begun["trial"]
    assert set(begun) == {"code", "trial"}
    assert list(trial) == [
        "id", "phase", "position", "total", "block", "image_url", "next_image_url", "options",
        "labels", "answer",
    ]  # fmt: skip
    assert (trial["phase"], trial["position"], trial["total"]) == ("practice", 1, 2)
    assert trial["options"] == [*LABELS, "cannot_tell"]
    assert trial["labels"]["cannot_tell"] == "모르겠어요"
    assert trial["answer"] is None
    english = start(endpoints, "en")["trial"]
    assert english["options"] == trial["options"]  # canonical, whatever is shown
    assert list(english["labels"].values()) == [
        "joy", "embarrassment", "anger", "sadness", "neutral", "cannot tell"
    ]  # fmt: skip
    json.dumps(begun)


def test_positions_count_from_one_in_each_phase(endpoints: Endpoints) -> None:
    trials = answer_all(endpoints, start(endpoints))
    assert [(trial["phase"], trial["position"], trial["total"]) for trial in trials] == [
        *(("practice", position, 2) for position in (1, 2)),
        *(("main", position, 10) for position in range(1, 11)),
    ]
    assert trials[-1]["next_image_url"] is None


def test_practice_is_told_right_or_wrong_and_the_rest_is_not(endpoints: Endpoints) -> None:
    begun = start(endpoints)
    first = answer(endpoints, begun["code"], begun["trial"], LABELS[0])
    truth = first["feedback"]["label"]
    assert truth in LABELS
    assert first["feedback"]["correct"] is (truth == LABELS[0])
    second = answer(endpoints, begun["code"], first["trial"], "cannot_tell")
    assert second["feedback"]["correct"] is False
    main = answer(endpoints, begun["code"], second["trial"])
    assert set(main) == {"trial"}


def test_hidden_trials_look_like_all_others(engine: Engine) -> None:
    definition = StudyDefinition(
        title=TEXTS, consent=TEXTS, size=40, practice=0, repeats=5, block=25
    )
    study = add_study(engine, "hidden", definition)
    endpoints = Endpoints(engine, Signer("secret"), Clock())
    trials = answer_all(endpoints, endpoints.start("hidden", True, "ko"))
    assert {(trial["phase"], trial["total"]) for trial in trials} == {("main", 45)}
    assert [trial["position"] for trial in trials] == list(range(1, 46))
    with transaction(engine, writes=False) as session:
        assert len(studies.list_study_images(session, study, "main")) == 40


def test_what_comes_out_of_turn_is_noted(endpoints: Endpoints) -> None:
    begun = start(endpoints)
    second = answer(endpoints, begun["code"], begun["trial"])
    third = answer(endpoints, begun["code"], second["trial"])
    late = answer(endpoints, begun["code"], begun["trial"], "슬픔")
    assert late["note"] == "not the current trial"
    assert late["trial"]["id"] == third["trial"]["id"]
    assert "feedback" not in late


def test_back_resume_and_withdraw(endpoints: Endpoints) -> None:
    begun = start(endpoints)
    code = begun["code"]
    second = answer(endpoints, code, begun["trial"], "분노")["trial"]
    assert endpoints.back(code)["trial"]["answer"] == "분노"
    resumed = endpoints.resume(code.lower())
    assert resumed["trial"]["position"] == 1
    assert datetime.fromisoformat(resumed["last_seen_at"]) > NOW
    assert answer(endpoints, code, begun["trial"], "분노")["trial"]["id"] == second["id"]
    assert endpoints.withdraw(code) == {"deleted": 15}
    with pytest.raises(ParticipationError):
        endpoints.resume(code)


@pytest.mark.parametrize(
    "background",
    [
        "text",
        ["a"],
        {"a": 1},
        {"a": "x" * 201},
        {str(n): "" for n in range(21)},
        {"a": {"b": "c"}},
        {"age": "\ud83d"},
        {"\ud83d": "30"},
        {"age": "a\0b"},
    ],
    ids=["text", "list", "number", "long", "many", "nested", "half", "half name", "nul"],
)
def test_a_background_of_anything_but_short_texts_is_refused(
    background: Any, endpoints: Endpoints
) -> None:
    with pytest.raises(ParticipationError, match="background"):
        endpoints.start("small", True, "ko", background)


@pytest.mark.parametrize("text", ["\ud83d", "a\0"], ids=["half", "nul"])
def test_what_no_database_takes_makes_no_sense(
    text: str, endpoints: Endpoints, client: TestClient
) -> None:
    begun = start(endpoints)
    answer = {"code": begun["code"], "trial_id": begun["trial"]["id"], "label": LABELS[0]}
    for route, body in (
        ("resume", {"code": text}),
        ("start", {"study": text, "consent": True, "language": "ko"}),
        ("answer", {**answer, "trial_id": text, "response_ms": 1}),
        ("answer", {**answer, "label": text, "response_ms": 1}),
    ):
        assert client.post(f"/survey/api/{route}", content=json.dumps(body)).status_code == 400
    late = {**answer, "response_ms": 1, "client": {"shown_at": "0001-01-01T00:00:00+14:00"}}
    assert client.post("/survey/api/answer", json=late).status_code == 200


WRONG: tuple[Any, ...] = (["small"], 5, True, {"a": 1})


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_no_text_is_refused_at_every_step(
    wrong: Any, endpoints: Endpoints, client: TestClient
) -> None:
    begun = start(endpoints)
    answer = {
        "code": begun["code"],
        "trial_id": begun["trial"]["id"],
        "label": LABELS[0],
        "response_ms": 1,
    }
    taking_part = {"study": "small", "consent": True, "language": "ko"}
    for step, body in (
        *(("start", {**taking_part, name: wrong}) for name in ("study", "language")),
        *(("answer", {**answer, name: wrong}) for name in ("code", "trial_id", "label")),
        *((step, {"code": wrong}) for step in ("back", "resume", "result", "withdraw")),
    ):
        said = client.post(f"/survey/api/{step}", json=body)
        assert (step, said.status_code) == (step, 400)
        assert "must be a text" in said.json()["error"]["en"]
        assert "이해할 수 없는 요청이에요" in said.json()["error"]["ko"]
    assert client.post("/survey/api/answer", json=answer).status_code == 200


def test_a_request_that_is_none_is_refused(client: TestClient) -> None:
    for body in (b"", b"[1]", b"{", b'{"code": "a", "x": 1}', b"{}", b'"' + bytes(70_000) + b'"'):
        assert client.post("/survey/api/resume", content=body).status_code == 400
    assert client.get("/survey/api/study?name=%00").status_code == 400
    assert client.get("/survey/api/study").json()["name"] == "small"


def test_a_code_leads_back_into_its_own_study(engine: Engine, endpoints: Endpoints) -> None:
    begun = start(endpoints)
    other = replace(SMALL, taxonomy="fer7", size=14)
    record = add_study(engine, "other", other)
    with transaction(engine) as session:  # the next version asks with other labels
        phases = {
            phase: [image.id for image in studies.list_study_images(session, record, phase)]
            for phase in ("main", "practice", "attention")
        }
        studies.add_study(session, "small", other, phases, NOW)
    assert endpoints.study("small")["labels"].keys() == set(other.options)
    study = endpoints.resume(begun["code"])["study"]
    assert (study["name"], list(study["labels"])) == ("small", begun["trial"]["options"])


def test_a_client_that_is_no_object_is_refused(endpoints: Endpoints) -> None:
    begun = start(endpoints)
    with pytest.raises(ParticipationError, match="client must be an object"):
        endpoints.answer(begun["code"], begun["trial"]["id"], "기쁨", 1, ["touch"])  # type: ignore[arg-type]


# --- images -------------------------------------------------------------------------------------


def test_an_image_is_shown_by_its_link_and_kept_nowhere(
    endpoints: Endpoints, client: TestClient
) -> None:
    response = client.get(start(endpoints)["trial"]["image_url"])
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["cache-control"] == "private, no-store"
    assert "content-disposition" not in response.headers
    with Image.open(io.BytesIO(response.content)) as image:
        image.load()
        assert image.size == (48, 48)


def test_every_image_has_the_same_length(endpoints: Endpoints, client: TestClient) -> None:
    begun = start(endpoints)
    lengths, trial = Counter[int](), begun["trial"]
    while trial:
        lengths[len(client.get(trial["image_url"]).content)] += 1
        trial = answer(endpoints, begun["code"], trial)["trial"]
    assert lengths == {STEP_BYTES: 12}
    assert len(pad(bytes(STEP_BYTES + 1))) == 2 * STEP_BYTES
    assert pad(bytes(STEP_BYTES)) == bytes(STEP_BYTES)


def test_links_lead_to_the_current_image_and_the_next_alone(
    endpoints: Endpoints, client: TestClient
) -> None:
    begun = start(endpoints)
    first = begun["trial"]
    second = answer(endpoints, begun["code"], first)["trial"]

    def read(url: str) -> int:
        return client.get(url).status_code

    assert read(first["image_url"]) == 403  # answered
    assert read(first["next_image_url"]) == read(second["image_url"]) == 200
    assert read(second["next_image_url"]) == 200
    reopened = endpoints.back(begun["code"])["trial"]
    assert read(reopened["image_url"]) == read(first["image_url"]) == 200
    assert read(second["next_image_url"]) == 403  # two ahead now
    trials = answer_all(endpoints, {"code": begun["code"], "trial": reopened})
    assert {read(trial["image_url"]) for trial in trials} == {403}  # finished


def test_after_withdrawal_and_closing_nothing_is_shown(
    engine: Engine, endpoints: Endpoints, client: TestClient
) -> None:
    gone, open_ = start(endpoints), start(endpoints)
    endpoints.withdraw(gone["code"])
    assert client.get(gone["trial"]["image_url"]).status_code == 404
    with transaction(engine) as session:
        studies.close_study(session, "small", NOW)
    assert client.get(open_["trial"]["image_url"]).status_code == 403


def test_forged_and_foreign_links_show_nothing(endpoints: Endpoints, client: TestClient) -> None:
    url = start(endpoints)["trial"]["image_url"]
    payload, time, signature = url.split("/")[-1].split(".")
    for forged in (
        f"survey/image/{payload}.{time}.{signature[::-1]}",
        f"survey/image/{payload}.{time}",
        f"survey/image/{payload}",
        "survey/image/a.b.c",
        Signer("another").build_link(start(endpoints)["trial"]["id"]),
        "survey/image/..%2F..%2Fsecret",
    ):
        response = client.get(forged)
        assert response.status_code in (403, 404)
        assert response.content in (b"", b"Not Found")


def test_a_link_lives_two_minutes(
    endpoints: Endpoints, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = start(endpoints)["trial"]["image_url"]
    assert LIFETIME_SECONDS == 120
    monkeypatch.setattr(links, "LIFETIME_SECONDS", -1)
    assert client.get(url).status_code == 403


def test_the_secret_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    found: list[str] = []
    gate = threading.Barrier(8)

    def load() -> None:
        gate.wait()
        found.append(load_secret(tmp_path / "data"))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found[0]) >= 40
    (file,) = (tmp_path / "data").iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_no_link_or_answer_tells_label_set_or_image(endpoints: Endpoints) -> None:
    begun = start(endpoints, "en")
    for trial in answer_all(endpoints, begun)[2:]:
        told = json.dumps({**trial, "options": [], "labels": {}}, ensure_ascii=False)
        assert not any(word in told for word in (*LABELS, "public", "private", "small-"))


def test_a_small_jpeg_is_still_one_after_padding() -> None:
    with Image.open(io.BytesIO(pad(draw_jpeg(7)))) as image:
        assert image.getpixel((5, 5)) == 7
