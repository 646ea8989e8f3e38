"""The report: one file, offline, that says what the comparison says."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from pypdf import PdfReader
from sqlalchemy import Engine

from survey.charts.look import FONT, Words
from survey.charts.people import say_headline
from survey.comparison import Comparison, Filters, build_filters, compare_study, read_study
from survey.errors import StudyError
from survey.records import FlagRecord
from survey.report import LIBRARIES, build_report, list_methods, print_pdf
from tests.survey.conftest import NOW
from tests.survey.samples import add_study
from tests.survey.simulated import simulate


@pytest.fixture
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One kind of database is enough here."""
    return f"sqlite:///{tmp_path_factory.mktemp('database') / 'kfer.sqlite'}"


@pytest.fixture
def comparison(engine: Engine) -> Comparison:
    add_study(engine)
    simulate(engine, "small", [0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
    return compare_study(read_study(engine, "small"), Filters(), may_see_all=True)


@pytest.mark.parametrize("language", ["ko", "en"])
def test_it_holds_everything_and_asks_for_nothing(comparison: Comparison, language: str) -> None:
    words = Words(language)
    html = unescape(build_report(comparison, words, NOW))
    assert comparison.summary is not None
    assert say_headline(comparison.summary, words) in html
    assert all(f"{name} " in html for name in LIBRARIES)
    assert all(method in html for method in list_methods(words))
    figures = re.search(r"Object\.entries\((\{.*\})\)\) \{", html)
    assert figures is not None
    keys = list(json.loads(figures[1]))
    assert len(keys) == 10
    assert all(f'id="{key}"' in html for key in keys)
    # Plotly names addresses, of maps that we do not draw; nothing of ours is loaded from anywhere.
    assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=", html) == []
    assert html.count("<tr") == 11 + 3  # ten images, people and their majority, two headings
    assert f"font-family: {FONT};" in build_report(comparison, words, NOW)  # CSS: not escaped


def test_what_a_study_says_is_text_not_html(comparison: Comparison) -> None:
    title = {"ko": "<script>alert(1)</script>", "en": "-"}
    definition = comparison.study.definition
    object.__setattr__(definition, "title", title)
    assert "<script>alert" not in build_report(comparison, Words("ko"), NOW)


def test_few_people_are_marked_and_none_are_refused(engine: Engine) -> None:
    add_study(engine)
    empty = compare_study(read_study(engine, "small"), Filters(), may_see_all=True)
    with pytest.raises(StudyError, match=r"small: nothing to report\. There are no answers yet"):
        build_report(empty, Words("ko"), NOW)
    simulate(engine, "small", [0.5, 0.9])
    few = compare_study(read_study(engine, "small"), Filters(), may_see_all=True)
    assert "Fewer than 5 people" in build_report(few, Words("en"), NOW)


@pytest.mark.parametrize(
    ("language", "told"),
    [
        (
            "en",
            "Filters: Images: private images; Emotions: joy, sadness; Leave out people "
            "who: answered too fast; From: 2026-01-01. 5 of 6 people, 1 flagged left out, 0 "
            "outside the dates left out.",
        ),
        (
            "ko",
            "보는 범위: 이미지: 비공개 이미지; 표정: 기쁨, 슬픔; 빼고 볼 사람: 너무 빨리 답함; "
            "이날부터: 2026-01-01. 6명 중 5명, 표시된 1명 제외, 기간 밖 0명 제외.",
        ),
    ],
)
def test_it_says_what_of_the_study_it_is_about(engine: Engine, language: str, told: str) -> None:
    add_study(engine)
    simulate(engine, "small", [0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
    data = read_study(engine, "small")
    hasty = {data.table.participants[0]: [FlagRecord("too_fast", "...")]}
    data = replace(data, flags=hasty)
    settings = {
        "visibility": "private", "labels": ["기쁨", "슬픔"], "leave_out": ["too_fast"],
        "since": "2026-01-01",
    }  # fmt: skip
    part = compare_study(data, build_filters(settings, data), may_see_all=True)
    assert f'<p class="note">{told}</p>' in unescape(build_report(part, Words(language), NOW))
    alone = compare_study(data, build_filters({"models": []}, data), may_see_all=True)
    assert "Models: none. 6 of 6 people." in build_report(alone, Words("en"), NOW)
    whole = compare_study(data, Filters(), may_see_all=True)
    assert "보는 범위" not in build_report(whole, Words("ko"), NOW)


def test_a_pdf_needs_a_chromium(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"needs an installed Chromium \(looked for nowhere\)"):
        print_pdf("<p>", tmp_path / "report.pdf", ("nowhere",))
    with pytest.raises(StudyError, match="made no PDF"):
        print_pdf("<p>", tmp_path / "report.pdf", ("false",))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_pdf_says_the_same(
    comparison: Comparison, language: str, tmp_path: Path, chromium_path: Path
) -> None:
    words = Words(language)
    path = tmp_path / "report.pdf"
    print_pdf(build_report(comparison, words, NOW), path, (str(chromium_path),))
    reader = PdfReader(path)
    text = re.sub(r"\s", "", "".join(page.extract_text() for page in reader.pages))
    assert comparison.summary is not None
    assert re.sub(r"\s", "", say_headline(comparison.summary, words)) in text
    # An axis title stands in a chart: charts are drawn, not left out.
    assert re.sub(r"\s", "", words.say("응답 시간의 중앙값", "median response time")) in text
    assert 5 <= len(reader.pages) <= 15
    assert list(tmp_path.iterdir()) == [path]
