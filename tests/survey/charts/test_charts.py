"""Every chart in both languages: what it says is what was computed, and its numbers come along."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

import survey.statistics
from survey.charts import models, people
from survey.charts.look import REASONS, Chart, Words, attach, choose_step, fold, percent
from survey.charts.tables import explain_raters
from survey.records import ModelAnswer
from survey.statistics.figures import Figure, explain
from survey.statistics.summary import Summary, summarize
from survey.statistics.table import ModelColumn, align_models
from tests.survey.statistics.planted import build, draw, draw_probabilities

Plot = Callable[[Summary, Words], Chart]


def plot_confusion(summary: Summary, words: Words) -> Chart:
    return models.plot_confusion(summary, summary.models[0] if summary.models else None, words)


PLOTS: list[Plot] = [
    people.plot_scores, people.plot_labels, people.plot_visibility, people.plot_speed,
    people.plot_crowds, plot_confusion, models.plot_consistency, models.plot_difficulty,
    models.plot_reliability,
]  # fmt: skip


@pytest.fixture(scope="module")
def summary() -> Summary:
    table = draw(1, people=12)
    columns = [
        ModelColumn(f"{name}@1", name, draw_probabilities(seed, table.truth, 2.0))
        for seed, name in enumerate(("one", "other"))
    ]
    return summarize(table, columns)


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("plot", PLOTS)
def test_a_chart_says_what_it_found_and_brings_its_numbers(
    plot: Plot, language: str, summary: Summary
) -> None:
    chart = plot(summary, Words(language))
    assert "12" in chart.caption or "100" in chart.caption
    for text in (chart.title, chart.caption):
        assert not any(word in text for word in ("None", "nan", "{"))
        assert any("가" <= letter <= "힣" for letter in text) == (language == "ko")
    assert len(chart.numbers) > 0
    drawn = json.loads(chart.figure.to_json())
    assert drawn["data"]
    axes = [drawn["layout"].get(axis, {}) for axis in ("xaxis", "yaxis")]
    assert all("title" in axis for axis in axes)


def test_the_headline_is_what_a_paper_would_quote(summary: Summary) -> None:
    text = people.say_headline(summary, Words("en"))
    mean = summary.people.mean
    assert text.startswith(f"People were right in {percent(mean.value)} [")
    best = max(summary.models, key=lambda model: model.accuracy.value or 0)
    assert f"{best.name.split('@')[0]} in {percent(best.accuracy.value)}" in text
    assert "points (p" in text


def test_scores_are_counted_up_to_the_best_and_in_nobodys_order() -> None:
    # One person for each of 0, 5, ... 100 %.
    rows = [[0] * right + [1] * (20 - right) for right in range(21)]
    drawn = plot_counts(rows)
    assert drawn == {5 * low: 1 + (low == 19) for low in range(20)}
    assert drawn == plot_counts(rows[::-1])


@pytest.mark.parametrize(
    ("most", "step"), [(1, 1), (6, 1), (7, 2), (12, 2), (13, 5), (31, 10), (61, 20), (300, 50)]
)
def test_people_are_counted_in_whole_numbers(most: int, step: int) -> None:
    assert choose_step(most) == step
    table = build([[0] * 10] * most)
    chart = people.plot_scores(summarize(table, []), Words("en"))
    assert chart.figure.layout.yaxis.dtick == step


def plot_counts(rows: list[list[int]]) -> dict[float, int]:
    """People by the lower end of the bar that they are counted in."""
    table = build(rows, [0] * 20)
    (bars, *_) = people.plot_scores(summarize(table, []), Words("en")).figure.data
    return {
        round(middle - width / 2, 6): count
        for middle, width, count in zip(bars.x, [bars.width] * len(bars.x), bars.y, strict=True)
    }


def test_versions_of_one_model_are_told_apart() -> None:
    table = draw(1, people=12)
    answers = [
        ModelAnswer(name, image, dict(zip(table.labels.labels, row, strict=True)))
        for seed, name in enumerate(("same@1", "same@2", "other@1"))
        for image, row in zip(
            table.images, draw_probabilities(seed, table.truth, 2.0).tolist(), strict=True
        )
    ]
    columns = align_models(table, answers)
    found = summarize(table, columns[:2])  # also where a filter leaves one of them
    assert [model.title for model in found.models] == ["other", "same@1"]
    found = summarize(table, columns[1:] + columns[:1])
    assert [model.title for model in found.models] == ["same@1", "same@2", "other"]
    heatmap = models.plot_consistency(found, Words("en")).figure.data[0]
    assert list(heatmap.x) == ["people", "same@1", "same@2", "other"]


def test_what_is_undefined_is_said_without_a_unit(summary: Summary) -> None:
    undefined = explain("needs answers to images of both sets")
    for language, told in (
        ("en", "needs answers to images of both sets"),
        ("ko", "공개와 비공개 이미지 모두에 답이 있어야 해요"),
    ):
        assert Words(language).quote_points(undefined) == told
        nothing = replace(summary.people.consistency, kappa=undefined)
        without = replace(summary, people=replace(summary.people, consistency=nothing))
        assert models.plot_consistency(without, Words(language)).title == told


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("n", [1, 2])
def test_one_person_and_no_model_still_make_a_chart(plot: Plot, n: int) -> None:
    few = summarize(build([[0, 1, 5, 0]] * n), [])
    chart = plot(few, Words("ko"))
    assert "None" not in chart.title + chart.caption
    json.loads(chart.figure.to_json())


def test_bars_end_at_the_interval(summary: Summary) -> None:
    chart = people.plot_labels(summary, Words("en"))
    bar = chart.figure.data[0]
    joy = summary.people.by_label["기쁨"]
    assert bar.x[0] == "joy"
    assert bar.y[0] == pytest.approx(100 * (joy.value or 0))
    assert bar.y[0] + bar.error_y.array[0] == pytest.approx(100 * (joy.high or 0))
    assert bar.y[0] - bar.error_y.arrayminus[0] == pytest.approx(100 * (joy.low or 0))


def test_the_difference_panel_is_the_model_minus_people(summary: Summary) -> None:
    chart = plot_confusion(summary, Words("en"))
    own, all_people = (
        chart.numbers[chart.numbers["who"] == who]["share"].to_numpy() for who in ("one", "people")
    )
    difference = chart.numbers[chart.numbers["who"] == "model − people"]["share"].to_numpy()
    assert difference == pytest.approx(own - all_people)


def test_no_emotion_is_called_easiest_while_intervals_overlap() -> None:
    images = [0] * 8 + [1] * 8
    half = [0, 2] * 4 + [1, 2] * 4
    alike = summarize(build([half, half[::-1], images] * 3, truth=images), [])
    title = people.plot_labels(alike, Words("en")).title
    assert title.startswith("No emotion is clearly easier or harder for people (")
    apart = summarize(build([[0] * 8 + [2] * 8] * 8, truth=images), [])
    title = people.plot_labels(apart, Words("en")).title
    assert title == "Easiest for people: joy (100.0 %); hardest: embarrassment (0.0 %)"


def test_the_confusion_of_each_model_has_its_own_heading(summary: Summary) -> None:
    found = {models.plot_confusion(summary, each, Words("ko")).title for each in summary.models}
    assert len(found) == len(summary.models) > 1
    title = plot_confusion(summary, Words("en")).title
    assert re.fullmatch(
        r"People most often took \w+ for \w+ \(\d+ %, the next \d+ %\)\. "
        rf"{summary.models[0].title}: \w+ → \w+ \(\d+ %\)",
        title,
    )


def test_long_names_are_folded_and_lose_no_letter() -> None:
    assert fold("people") == "people"
    assert fold("trpakov/vit-face-expression") == "trpakov/vit-<br>face-expression"
    name = "x" * 40 + "-" + "y" * 5
    assert fold(name).replace("<br>", "") == name
    assert all(len(line) <= 17 for line in fold(name).split("<br>"))


def test_days_are_added_up() -> None:
    days = [date(2026, 11, 2), date(2026, 11, 1), date(2026, 11, 2)]
    chart = people.plot_days(days, Words("en"))
    assert chart.numbers["finished"].tolist() == [1, 3]
    assert chart.title == "3 people have finished"


def test_undefined_figures_are_explained_in_korean() -> None:
    """Every reason that the statistics give, and none that they do not."""
    sources = (Path(survey.statistics.__file__).parent).glob("*.py")
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    given = set(re.findall(r'(?:explain|_give_none)\(\s*"([^"]+)"', code))
    assert given == set(REASONS)


@pytest.mark.parametrize(
    ("word", "object_", "into"),
    [("기쁨", "기쁨을", "기쁨으로"), ("분노", "분노를", "분노로"), ("서울", "서울을", "서울로")],
)
def test_korean_particles_fit_the_word(word: str, object_: str, into: str) -> None:
    assert attach(word, ("을", "를")) == object_
    assert attach(word, ("으로", "로")) == into


def test_a_difference_between_sets_is_claimed_only_where_there_is_one(summary: Summary) -> None:
    gap = replace(summary.people, gap=Figure(-0.1, -0.15, -0.02, 12))
    title = people.plot_visibility(replace(summary, people=gap), Words("en")).title
    assert title == "People did worse on public images (-10.0 [-15.0, -2.0] points)"
    unclear = replace(summary.people, gap=Figure(-0.1, -0.25, 0.02, 12))
    title = people.plot_visibility(replace(summary, people=unclear), Words("en")).title
    assert title.startswith("No clear difference")


@pytest.mark.parametrize(
    ("people", "told"),
    [
        (1, "speak of these people only. In 1,000 simulated studies 95 % intervals held the true "
            "value in just 71.3 to 94.9 %"),
        (2, "in just 88.5 to 97.5 %"),
        (4, "are a little off: in 1,000 simulated studies of 2 people"),
        (11, "are a little off: in 1,000 simulated studies of 5 people"),
        (20, ""),
    ],
)  # fmt: skip
def test_how_far_intervals_of_few_people_are_off_is_said(people: int, told: str) -> None:
    caption = explain_raters(summarize(draw(1, people=people), []), Words("en"))
    assert told in caption
    assert ("simulated" in caption) is bool(told)


def test_a_gap_that_no_draw_changes_is_told_in_a_sentence() -> None:
    table = build([[0, 1]] * 6, private=[False, True])
    title = people.plot_visibility(summarize(table, []), Words("en")).title
    assert "No clear difference" in title
    assert "(100.0 points)" in title
