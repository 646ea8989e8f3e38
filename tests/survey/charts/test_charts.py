"""Every chart in both languages: what it says is what was computed, and its numbers come along."""

import json
from collections.abc import Callable
from datetime import date

import pytest

from survey.charts import models, people
from survey.charts.look import Chart, Words, percent
from survey.statistics.summary import Summary, summarize
from survey.statistics.table import ModelColumn
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
        ModelColumn(f"{name}@1", draw_probabilities(seed, table.truth, 2.0))
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


def test_days_are_added_up() -> None:
    days = [date(2026, 11, 2), date(2026, 11, 1), date(2026, 11, 2)]
    chart = people.plot_days(days, Words("en"))
    assert chart.numbers["finished"].tolist() == [1, 3]
    assert chart.title == "3 people have finished"
