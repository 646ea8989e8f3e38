"""What the page marks: answers that the model is not sure of, and approximations."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from kfer.bundle import Head
from kfer.labels import get_taxonomy
from tests.browser.test_analyze import GROUP, expect_three_faces, upload
from tests.kfer.fakes import build_tiny_bundle
from tests.servers import run_app

pytestmark = pytest.mark.browser


def test_answers_that_the_server_calls_unsure_are_marked(page: Page) -> None:
    verdicts = [True, False, None]

    def judge(route: Route) -> None:
        answer = json.loads(route.fetch().body())
        for face, unsure in zip(answer["analysis"]["faces"], verdicts, strict=True):
            face["unsure"] = unsure
        route.fulfill(json=answer)

    page.route("**/kfer/analyze*", judge)
    page.locator("[data-setting=taxonomy]").select_option("aihub7")  # in any label set
    upload(page, GROUP)
    expect_three_faces(page)
    words = [card.locator(".kfer-unsure").all_inner_texts() for card in list_cards(page)]
    assert words == [["불확실"], [], []]
    answers = [card.locator(".kfer-card-answer").inner_text() for card in list_cards(page)]
    tags = page.locator(".kfer-tag").all_inner_texts()
    marks = ["?", "", ""]
    for number, (tag, answer, mark) in enumerate(zip(tags, answers, marks, strict=True), 1):
        assert tag.startswith(f"{number} {answer}{mark} ")


def list_cards(page: Page) -> list[Locator]:
    return page.locator(".kfer-card").all()


def test_label_sets_that_are_not_the_models_own_are_called_approximate(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    heads = (Head(get_taxonomy("korean5"), 0, 5, 1.0),)
    model = build_tiny_bundle(tmp_path / "korean", heads)
    with run_app(tmp_path / "app", KFER_MODEL=str(model)) as server:
        page = open_page(server)
        options = page.locator("[data-setting=taxonomy] option")
        expect(options).to_have_text(["한국형 5가지", "한국형 7가지(AI Hub) · 어림"])
        page.locator("[data-language=en]").click()
        expect(options).to_have_text(["Korean 5", "Korean 7 (AI Hub) · approx."])
        page.locator("[data-setting=model]").select_option(index=1)  # ferplus8 and fer7
        marked = options.filter(has_text="· approx.")
        expect(marked).to_contain_text(["Korean 5", "Korean 7", "6, without fear"])
        expect(marked).to_have_count(3)
