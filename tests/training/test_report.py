"""Reports: one page that needs nothing else, Markdown, and numbers to compute everything anew."""

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

from kfer.metrics import compute_ece
from tests.training.reports import EVIL, build_answers, build_report
from training.answers import pool_answers
from training.charts import draw_charts
from training.errors import ConfigError
from training.evaluate import measure_head
from training.report import (
    DATA,
    HTML,
    MARKDOWN,
    WORST,
    Report,
    check_report_folder,
    find_worst,
    write_report,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build_report(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "test"
    write_report(report, folder)
    return folder


class Page(HTMLParser):
    """Tags with their attributes, and the texts within ``small``."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.small: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open == "small" and data.strip():
            self.small.append(data)


def test_the_page_asks_nothing_of_anybody_and_runs_no_script(folder: Path) -> None:
    page = Page((folder / HTML).read_text(encoding="utf-8"))
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "i", "u"}
    links = [attrs.get(key) or "" for _, attrs in page.tags for key in ("src", "href")]
    assert all(link.startswith("data:image/") for link in links if link)
    text = (folder / HTML).read_text(encoding="utf-8")
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert "personal data" in text


def test_what_the_data_is_called_is_shown_as_it_is_and_never_run(
    folder: Path, report: Report
) -> None:
    page = Page((folder / HTML).read_text(encoding="utf-8"))
    assert EVIL in page.small
    text = (folder / MARKDOWN).read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    inline = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in inline for child in token.children or ()}
    assert not kinds & {"html_inline", "link_open", "em_open", "code_inline"}
    assert "html_block" not in {token.type for token in tokens}
    shown = ["".join(child.content for child in token.children or ()) for token in inline]
    for expected in (EVIL, report.title, report.facts[0], "fog | <u>"):
        assert expected in shown


def test_markdown_holds_no_picture_but_the_charts(folder: Path) -> None:
    text = (folder / MARKDOWN).read_text(encoding="utf-8")
    assert "data:" not in text
    charts = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(charts) == 3
    assert all((folder / chart).is_file() for chart in charts)
    assert {path.name for path in folder.iterdir()} == {HTML, MARKDOWN, DATA, *charts}


def test_the_surest_mistakes_come_first_with_their_pictures(folder: Path, report: Report) -> None:
    answers = report.answers[0]
    wrong = [
        (row.max(), path)
        for row, path, truth in zip(answers.calibrated, answers.paths, answers.truth, strict=True)
        if row.argmax() != truth
    ]
    expected = [path for _, path in sorted(wrong, reverse=True)[:WORST]]
    mistakes = find_worst(answers, WORST)
    assert [mistake.path for mistake in mistakes] == expected
    assert (mistakes[0].path, mistakes[0].truth, mistakes[0].answer) == (EVIL, "기쁨", "분노")
    assert mistakes[0].probability == pytest.approx(0.999, abs=1e-3)
    page = Page((folder / HTML).read_text(encoding="utf-8"))
    assert [text for text in page.small if text.startswith("폴더")] == expected
    pictures = [attrs["src"] or "" for name, attrs in page.tags if name == "img"]
    assert len(pictures) == len(expected)
    for path, picture in zip(expected, pictures, strict=True):
        shown = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).convert("L")
        original = np.asarray(Image.open(report.images / path), dtype=float)
        assert np.abs(np.asarray(shown, dtype=float) - original).mean() < 8  # WebP's loss


def test_everything_can_be_computed_anew_from_the_numbers(folder: Path, report: Report) -> None:
    data = json.loads((folder / DATA).read_text(encoding="utf-8"))
    (predictions,) = data["predictions"]
    labels = predictions["labels"]
    pictures = predictions["pictures"]
    truth = [labels.index(each["truth"]) for each in pictures]
    answer = [labels.index(each["answer"]) for each in pictures]
    (head,) = data["figures"]["heads"]
    assert accuracy_score(truth, answer) == pytest.approx(head["accuracy"]["value"])
    assert f1_score(truth, answer, average="macro") == pytest.approx(head["macro_f1"])
    assert f1_score(truth, answer, average="weighted") == pytest.approx(head["weighted_f1"])
    probabilities = np.array([each["probabilities"] for each in pictures])
    assert compute_ece(truth, probabilities) == pytest.approx(head["ece_after"], abs=1e-5)
    assert len({each["person"] for each in pictures}) == head["persons"] == 10
    assert [each["path"] for each in pictures] == report.answers[0].paths
    assert {each["model"] for each in pictures} == {"m@1"}


def test_charts_draw_the_figures(report: Report) -> None:
    (head,) = report.heads
    charts = {name: ElementTree.fromstring(svg) for name, svg in draw_charts(head).items()}
    namespace = "{http://www.w3.org/2000/svg}"

    def list_texts(chart: str) -> list[str]:
        return [each.text or "" for each in charts[chart].iter(f"{namespace}text")]

    counts = [count for row in head.confusion for count in row if count]
    assert [text for text in list_texts("confusion") if text.isdigit()] == list(map(str, counts))
    heat = [
        float(each.attrib["fill-opacity"])
        for each in charts["confusion"].iter(f"{namespace}rect")
        if each.attrib["class"] == "heat"
    ]
    shares = [count / sum(row) for row in head.confusion for count in row]
    assert heat == pytest.approx(shares, abs=1e-3)
    bars = [
        float(each.attrib["width"])
        for each in charts["classes"].iter(f"{namespace}rect")
        if each.attrib.get("height") == "10"
    ]
    values = [
        value for each in head.classes.values() for value in (each.precision, each.recall, each.f1)
    ]
    assert np.corrcoef(bars, values)[0, 1] == pytest.approx(1)
    right = [
        float(each.attrib["height"])
        for each in charts["reliability"].iter(f"{namespace}rect")
        if each.attrib["class"] == "first" and each.attrib["height"] != "11"
    ]
    accuracies = [each.accuracy for each in head.bins]
    assert np.corrcoef(right, accuracies)[0, 1] == pytest.approx(1)
    for chart in charts.values():
        _, _, width, height = map(float, chart.attrib["viewBox"].split())
        for each in chart.iter(f"{namespace}rect"):
            assert float(each.attrib["x"]) + float(each.attrib["width"]) <= width
            assert float(each.attrib["y"]) + float(each.attrib["height"]) <= height


def test_pooled_answers_are_those_of_all() -> None:
    parts = [build_answers([f"{seed}{index}" for index in range(20)], seed) for seed in (1, 2)]
    pooled = pool_answers(parts)
    assert pooled.paths == [*parts[0].paths, *parts[1].paths]
    right = [int((part.predicted == part.truth).sum()) for part in parts]
    assert measure_head(pooled, 1.0).accuracy.value == sum(right) / 40


def test_no_mistakes_are_no_fault(report: Report, tmp_path: Path) -> None:
    right = report.answers[0].predicted
    perfect = dataclasses.replace(report.answers[0], truth=right)
    told = dataclasses.replace(report, answers=[perfect], heads=[measure_head(perfect, 1.0)])
    write_report(told, tmp_path)
    assert "0 of 0 wrong answers" in (tmp_path / MARKDOWN).read_text(encoding="utf-8")


def test_a_report_never_comes_to_lie_in_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bundle = tmp_path / "bundle"
    for folder in (bundle, bundle / "report", tmp_path / "x" / ".." / "bundle"):
        with pytest.raises(ConfigError, match=r"--report .*: is in the bundle; name a folder"):
            check_report_folder(folder, bundle)
    with pytest.raises(ConfigError, match=r"--report .*: is a file; name a folder"):
        check_report_folder(tmp_path / "file", bundle)
    check_report_folder(tmp_path / "bundle-report", bundle)
