"""What everybody may see of a study, what the researcher may, and that it is computed once."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from PIL import Image as Picture
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.testclient import TestClient

from survey import dashboard as module
from survey import participation, studies
from survey.comparison import read_study
from survey.dashboard import Dashboard
from survey.dashboard_web import PLOTLY_PATH, build_routes
from survey.database import transaction
from survey.errors import StudyError, TokenError
from survey.export import COLUMNS
from survey.models import Flag
from survey.records import ModelVersion
from survey.shared_results import SharedResults
from survey.statistics.quality import RULES
from tests.survey.conftest import NOW
from tests.survey.samples import LABELS, SMALL, add_study
from tests.survey.simulated import simulate

TOKEN = "a token of some length"
ACCURACIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)


@pytest.fixture
def study(engine: Engine) -> list[int]:
    """A small study with two models and six people, whose scores are given."""
    record = add_study(engine)
    with transaction(engine) as session:
        images = studies.list_study_images(session, record, "main")
        sure = dict.fromkeys(LABELS, 0.05)
        for name, all_right in (("good", True), ("bad", False)):
            answers = {
                image.id: sure | {image.label if all_right else LABELS[0]: 0.8} for image in images
            }
            studies.add_predictions(
                session, answers, ModelVersion(name, "1", "korean5"), "korean5", NOW
            )
    return simulate(engine, "small", ACCURACIES)


def test_everybody_sees_the_figures_of_the_contract(engine: Engine, study: list[int]) -> None:
    found = Dashboard(engine).describe("small")
    assert (found["n"], found["finished"], found["unfinished"]) == (6, 6, 0)
    assert found["people"]["mean_score"]["value"] == pytest.approx(sum(study) / 6)
    assert set(found["people"]["mean_score"]) == {"value", "low", "high", "n", "undefined"}
    assert {name: each["score"]["value"] for name, each in found["models"].items()} == {
        "bad@1": 2, "good@1": 10
    }  # fmt: skip
    assert found["study"]["title"] == [SMALL.title["ko"], SMALL.title["en"]]
    assert "good in 100.0 %" in found["headline"]
    private = Dashboard(engine).describe("small", {"visibility": "private", "models": ["good@1"]})
    assert (private["images"], list(private["models"])) == (5, ["good@1"])


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"models": ["best@1"]}, "models has 'best@1'; allowed are bad@1, good@1"),
        ({"labels": ["joy"]}, "labels has 'joy'"),
        ({"since": "soon"}, "since must be a day"),
    ],
)
@pytest.mark.usefixtures("study")
def test_filters_that_fit_nothing_are_refused(
    engine: Engine, filters: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        Dashboard(engine).describe("small", filters)
    with pytest.raises(StudyError, match="no study other"):
        Dashboard(engine).describe("other")


def test_nothing_is_told_about_fewer_than_five(engine: Engine) -> None:
    add_study(engine)
    dashboard = Dashboard(engine, TOKEN)
    empty = dashboard.show("small")
    assert (empty["withheld"], empty["references"]["key"]) == ("no_answers", "references")
    simulate(engine, "small", ACCURACIES[:4])
    few = dashboard.show("small")
    assert few["withheld"] == "few_people"
    assert not {"headline", "chapters", "raters", "images", "participants"} & set(few)
    told = dashboard.describe("small")
    assert (told["n"], told["people"], told["models"], told["headline"]) == (None, None, {}, None)
    whole = dashboard.show("small", token=TOKEN)
    assert (whole["withheld"], whole["counts"]["n"]) == (None, 4)
    simulate(engine, "small", ACCURACIES[4:5])
    assert dashboard.show("small")["withheld"] is None


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.usefixtures("study")
def test_the_page_has_every_chart_once_with_its_numbers(engine: Engine, language: str) -> None:
    page = Dashboard(engine).show("small", language=language)
    charts = [chart for chapter in page["chapters"] for chart in chapter["charts"]]
    assert len(charts) == 11  # one confusion for each model
    keys = [chart["key"] for chart in charts]
    assert len(set(keys)) == len(keys)
    for chart in charts:
        assert len(pd.read_csv(io.StringIO(chart["csv"]))) > 0
        assert chart["figure"]["data"]
    assert [row[0] for row in page["raters"]["rows"]][2:] == ["bad", "good"]
    shares = [row["people_right"] for row in page["images"]["rows"]]
    assert shares == sorted(shares)
    assert len(shares) == 10
    assert page["participants"] is None
    # How many a rule doubts may be one: that is for the researcher.
    assert page["choices"]["rules"] == dict.fromkeys(RULES)
    counts = Dashboard(engine, TOKEN).show("small", token=TOKEN)["choices"]["rules"]
    assert (list(counts), counts["too_fast"]) == (list(RULES), 0)


def test_the_researcher_sees_everybody(engine: Engine, study: list[int]) -> None:
    doubted = read_study(engine, "small").table.participants[2]
    with transaction(engine) as session:
        session.add(
            Flag(participation_id=doubted, rule="too_fast", detail="400 ms", created_at=NOW)
        )
    dashboard = Dashboard(engine, TOKEN)
    people = dashboard.show("small", token=TOKEN)["participants"]
    # The page names the rule in its own language.
    flags = [[], [], [{"rule": "too_fast", "detail": "400 ms"}], [], [], []]
    assert [each["flags"] for each in people] == flags
    assert [round(each["right"] * 10) for each in people] == study
    table = pd.read_csv(io.BytesIO(dashboard.export("small", ".csv", TOKEN)))
    assert list(table.columns) == list(COLUMNS)
    assert set(table["subj"]) == {each["subj"] for each in people}
    main = table[table["phase"] == "main"]
    assert sorted(main.groupby("subj")["correct"].sum()) == sorted(study)
    parquet = pd.read_parquet(io.BytesIO(dashboard.export("small", ".parquet", TOKEN)))
    assert len(parquet) == len(table)
    with pytest.raises(StudyError, match="Unknown kind of file"):
        dashboard.export("small", ".exe", TOKEN)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], "한글 토큰"])
@pytest.mark.usefixtures("study")
def test_a_wrong_token_opens_nothing(engine: Engine, token: str) -> None:
    for dashboard in (Dashboard(engine, TOKEN), Dashboard(engine)):
        assert not dashboard.may_see_all(token)
        with pytest.raises(TokenError):
            dashboard.export("small", ".csv", token)
        if token:
            with pytest.raises(TokenError):
                dashboard.show("small", token=token)


def test_a_token_that_can_be_guessed_is_refused(engine: Engine) -> None:
    with pytest.raises(StudyError, match="at least 16 characters, but has 6"):
        Dashboard(engine, "secret")


@pytest.mark.parametrize("token", ["열여섯 글자가 넘는 관리자 토큰", "sixteen letters\nand more"])
def test_a_token_that_no_header_can_carry_is_refused(engine: Engine, token: str) -> None:
    with pytest.raises(StudyError, match="ASCII letters, digits and signs"):
        Dashboard(engine, token)


@pytest.mark.usefixtures("study")
def test_images_are_seen_outside_only_when_they_can_teach_nobody(engine: Engine) -> None:
    dashboard = Dashboard(engine, TOKEN)
    page = dashboard.show("small")
    assert page["thumbnails"] == []
    public = [row["image"] for row in page["images"]["rows"] if row["visibility"] == "public"]
    private = next(row["image"] for row in page["images"]["rows"] if row["image"] not in public)
    with pytest.raises(StudyError, match="not shown here"):
        dashboard.draw_thumbnail("small", public[0])
    with Picture.open(io.BytesIO(dashboard.draw_thumbnail("small", public[0], TOKEN))) as image:
        assert max(image.size) <= 96
    # The same images in another study that is open: closing the first one is not enough.
    with transaction(engine) as session:
        record = studies.get_study(session, "small")
        main = [each.id for each in studies.list_study_images(session, record, "main")]
        warm_up = [each.id for each in studies.list_study_images(session, record, "practice")]
        phases = {"main": main, "practice": warm_up, "attention": []}
        studies.add_study(session, "again", SMALL, phases, NOW)
        studies.close_study(session, "small", NOW)
    assert dashboard.show("small")["thumbnails"] == []
    with transaction(engine) as session:
        studies.close_study(session, "again", NOW)
    # Nor while other sets with the same pictures are in one.
    add_study(engine, "elsewhere")
    assert dashboard.show("small")["thumbnails"] == []
    with transaction(engine) as session:
        studies.close_study(session, "elsewhere", NOW)
    assert set(public) <= set(dashboard.show("small")["thumbnails"])
    assert dashboard.draw_thumbnail("small", public[0])[:2] == b"\xff\xd8"
    for token in (None, TOKEN):
        with pytest.raises(StudyError, match="not shown here"):
            dashboard.draw_thumbnail("small", private, token)


@pytest.mark.usefixtures("study")
def test_many_viewers_share_one_computation_until_something_changes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, read = [], []
    compare, read_data = module.compare_study, module.read_study

    def count_comparisons(*arguments: Any, **options: Any) -> Any:
        computed.append(arguments)
        return compare(*arguments, **options)

    def count_reads(*arguments: Any) -> Any:
        read.append(arguments)
        return read_data(*arguments)

    monkeypatch.setattr(module, "compare_study", count_comparisons)
    monkeypatch.setattr(module, "read_study", count_reads)
    dashboard = Dashboard(engine)
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda _: dashboard.show("small"), range(8)))
    assert (len(read), len(computed)) == (1, 1)
    assert all(page["headline"] == pages[0]["headline"] for page in pages)
    dashboard.show("small", {"visibility": "public"})
    dashboard.show("small", {"visibility": "public"}, "en")
    assert (len(read), len(computed)) == (1, 2)
    simulate(engine, "small", [1.0])
    assert dashboard.describe("small")["n"] == 7
    assert (len(read), len(computed)) == (2, 3)


@pytest.mark.usefixtures("study")
def test_whatever_a_comparison_is_made_of_changes_it(engine: Engine) -> None:
    dashboard = Dashboard(engine)
    seen = [dashboard.describe("small")]

    def expect_change() -> None:
        now = dashboard.describe("small")
        assert now != seen[-1]
        seen.append(now)

    code, _ = participation.start(engine, "small", True, "ko", {}, NOW + timedelta(days=2))
    expect_change()
    participation.withdraw(engine, code)
    assert dashboard.describe("small") == seen[0]
    with transaction(engine) as session:
        record = studies.get_study(session, "small")
        images = studies.list_study_images(session, record, "main")
        answers = {image.id: dict.fromkeys(LABELS, 0.2) for image in images}
        studies.add_predictions(session, answers, ModelVersion("new", "1", None), "korean5", NOW)
    expect_change()
    with transaction(engine) as session:
        studies.close_study(session, "small", NOW)
    expect_change()


def test_results_that_fail_are_computed_again_and_old_ones_are_forgotten() -> None:
    results: SharedResults[int] = SharedResults(2)
    tried: list[int] = []

    def fail() -> int:
        tried.append(1)
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            results.get("a", fail)
    assert len(tried) == 2
    assert [results.get(key, lambda: len(tried)) for key in "abc"] == [2, 2, 2]
    tried.append(1)
    assert [results.get(key, lambda: len(tried)) for key in "ba"] == [2, 3]


def test_those_who_wait_get_what_the_first_one_computes() -> None:
    results: SharedResults[object] = SharedResults(2)
    begun, go_on = threading.Event(), threading.Event()

    def compute() -> object:
        begun.set()
        go_on.wait(30)
        return object()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(results.get, "a", compute)
        begun.wait(30)
        second = pool.submit(results.get, "a", object)
        go_on.set()
        assert first.result() is second.result()


@pytest.fixture
def client(engine: Engine, study: list[int]) -> TestClient:  # noqa: ARG001
    return TestClient(Starlette(routes=build_routes(Dashboard(engine, TOKEN))))


def test_the_routes_say_who_may_ask_and_what_is_wrong(client: TestClient) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    listed = client.get("/survey/comparison/studies")
    assert [study["name"] for study in listed.json()] == ["small"]
    view = client.post("/survey/comparison/view", json={"study": "small"})
    assert (view.status_code, view.json()["admin"]) == (200, False)
    assert view.headers["cache-control"] == "private, no-store"
    wanted = {"study": "small", "filters": {"labels": []}, "language": "en"}
    assert client.post("/survey/comparison/view", json=wanted).json()["withheld"] == "no_images"
    admin = client.post("/survey/comparison/view", json={"study": "small"}, headers=bearer)
    assert len(admin.json()["participants"]) == 6
    for body, status in (
        ({"study": "other"}, 422),
        ({}, 400),
        ({"study": "small", "x": 1}, 400),
        ({"study": "small", "token": TOKEN}, 400),
        ({"study": ["small"]}, 400),
        ({"study": 5}, 400),
        ({"study": "small", "language": ["ko"]}, 400),
        ({"study": "small", "filters": ["labels"]}, 422),
        (["small"], 400),
    ):
        assert client.post("/survey/comparison/view", json=body).status_code == status
    export = "/survey/comparison/export?study=small&suffix=.csv"
    assert client.get(export).status_code == 403
    assert client.get(export, headers={"Authorization": "Bearer no"}).status_code == 403
    assert client.get(f"{export}&token={TOKEN}").status_code == 403  # it stands in no address
    for route in ("export?study=%00&suffix=.csv", "thumbnail?study=%00&image=a"):
        assert client.get(f"/survey/comparison/{route}", headers=bearer).status_code == 400
    sent = client.get(export, headers=bearer)
    assert (sent.status_code, sent.headers["cache-control"]) == (200, "private, no-store")
    assert sent.text.lstrip("\ufeff").startswith("subj,session,trial,rt")
    image = admin.json()["thumbnails"][0]
    thumbnail = f"/survey/comparison/thumbnail?study=small&image={image}"
    assert client.get(thumbnail).status_code == 422
    assert client.get(thumbnail, headers=bearer).headers["content-type"] == "image/jpeg"


def test_plotly_comes_with_the_app_packed(client: TestClient) -> None:
    response = client.get(f"/{PLOTLY_PATH}")
    assert response.headers["content-encoding"] == "gzip"
    assert "immutable" in response.headers["cache-control"]
    assert int(response.headers["content-length"]) < len(response.content) / 2
    assert b"plotly.js" in response.content[:200]


def test_a_model_of_other_labels_is_called_an_approximation(engine: Engine) -> None:
    record = add_study(engine)
    with transaction(engine) as session:
        images = studies.list_study_images(session, record, "main")
        answers = {image.id: dict.fromkeys(LABELS, 0.2) for image in images}
        for name, source in (("own", "korean5"), ("mapped", "ferplus8"), ("old", None)):
            version = ModelVersion(name, "1", source)
            studies.add_predictions(session, answers, version, "korean5", NOW)
    simulate(engine, "small", ACCURACIES)
    dashboard = Dashboard(engine)
    models = dashboard.describe("small")["models"]
    assert [models[f"{name}@1"]["approximation"] for name in ("own", "old")] == [None, None]
    assert "ferplus8 is shown as korean5, an approx" in models["mapped@1"]["approximation"]
    caption = dashboard.show("small")["raters"]["caption"]
    assert "mapped의 답은 ferplus8에서 옮긴 어림값이에요: " in caption
    assert "놀람→당황" in caption
    assert "own의 답은" not in caption


def test_a_definition_in_one_language_is_titled_in_it(engine: Engine) -> None:
    only = replace(SMALL, title={"en": "Faces"}, consent={"en": "I agree."})
    add_study(engine, definition=only)
    assert Dashboard(engine).describe("small")["study"]["title"] == ["Faces", "Faces"]
