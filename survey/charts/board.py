"""All charts of a comparison, in the order of the tab and of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from survey.charts.look import Chart, Words
from survey.charts.models import (
    plot_confusion,
    plot_consistency,
    plot_difficulty,
    plot_reliability,
)
from survey.charts.people import (
    plot_crowds,
    plot_days,
    plot_labels,
    plot_scores,
    plot_speed,
    plot_visibility,
)
from survey.statistics.summary import Summary


@dataclass(frozen=True, eq=False)
class Chapter:
    """Charts under one question."""

    key: str
    title: str
    charts: tuple[Chart, ...]


def draw_board(summary: Summary, days: Sequence[date], words: Words) -> list[Chapter]:
    """The first chapter is the finding itself; ``days`` are those on which people finished."""
    confusions = [plot_confusion(summary, model, words) for model in summary.models or (None,)]
    chapters = (
        ("scores", "몇 장을 맞혔나요", "How many were right", [plot_scores(summary, words)]),
        ("labels", "표정마다 어떤가요", "By emotion", [plot_labels(summary, words)]),
        ("confusion", "무엇을 무엇으로 보나요", "What is taken for what", confusions),
        (
            "visibility",
            "공개와 비공개가 다른가요",
            "Public against private",
            [plot_visibility(summary, words)],
        ),
        (
            "consistency",
            "같은 얼굴에서 틀리나요",
            "Do they fail on the same faces",
            [plot_consistency(summary, words)],
        ),
        (
            "difficulty",
            "어떤 얼굴이 어려운가요",
            "Which faces are hard",
            [plot_difficulty(summary, words)],
        ),
        (
            "certainty",
            "얼마나 확신하고, 얼마나 빠른가요",
            "How sure, and how fast",
            [plot_reliability(summary, words), plot_speed(summary, words)],
        ),
        ("crowds", "여럿이면 나은가요", "How good is a crowd", [plot_crowds(summary, words)]),
        ("days", "언제 모은 답인가요", "When people answered", [plot_days(list(days), words)]),
    )
    return [
        Chapter(key, words.say(korean, english), tuple(charts))
        for key, korean, english, charts in chapters
    ]
