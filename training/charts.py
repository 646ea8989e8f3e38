"""Figures of one head as SVG: they need no script, follow light and dark, and scale to a phone."""

from collections.abc import Sequence
from typing import Any

from kfer.labels import get_taxonomy
from training.evaluate import HeadFigures
from training.templating import ENVIRONMENT

FONT = (
    "Pretendard, 'Noto Sans CJK KR', 'Noto Sans KR', 'Apple SD Gothic Neo', 'Malgun Gothic', "
    "system-ui, sans-serif"
)
WIDTH = 440  # of every chart, so that all have type of one size
LEFT, RIGHT = 100, WIDTH - 8
KINDS = ("first", "second", "third")


def draw_charts(head: HeadFigures) -> dict[str, str]:
    """SVG by name: confusion, reliability, classes."""
    return {
        "confusion": _draw_confusion(head),
        "reliability": _draw_reliability(head),
        "classes": _draw_classes(head),
    }


def _draw_confusion(head: HeadFigures) -> str:
    taxonomy = get_taxonomy(head.taxonomy)
    width, height, top = (RIGHT - LEFT) / len(taxonomy.labels), 42, 26
    cells = []
    for at, counts in enumerate(head.confusion):
        for column, count in enumerate(counts):
            share = count / max(sum(counts), 1)
            cells.append(
                {
                    "x": LEFT + column * width,
                    "y": top + at * height,
                    "width": width,
                    "height": height,
                    "share": round(share, 3),
                    "strong": share > 0.7,  # where the text's other colour is the better one
                    "percent": f"{100 * share:.0f}%",
                    "count": count,  # where it is 0, nothing is written
                }
            )
    return _render(
        "confusion.svg",
        f"Confusion of {head.taxonomy}: rows are the truth, columns the answers",
        top + height * len(taxonomy.labels) + 4,
        left=LEFT,
        columns=[
            {"x": LEFT + (at + 0.5) * width, "label": label}
            for at, label in enumerate(taxonomy.labels)
        ],
        rows=[
            {"y": top + (at + 0.5) * height, "label": label, "english": english}
            for at, (label, english) in enumerate(
                zip(taxonomy.labels, taxonomy.english, strict=True)
            )
        ],
        cells=cells,
    )


def _draw_reliability(head: HeadFigures) -> str:
    left, top, side, crowd = 56, 34, WIDTH - 80, 56
    bottom = top + side * 0.75
    foot = bottom + 16 + crowd

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x * side, bottom - y * (bottom - top)

    most = max(each.n for each in head.bins)
    bars = []
    for each in head.bins:
        x, y = place(each.low, each.accuracy)
        bars.append(
            {
                "x": x + 1,
                "y": y,
                "width": (each.high - each.low) * side - 2,
                "confidence_y": place(0, each.confidence)[1],
                "crowd": each.n / most * crowd,
            }
        )
    return _render(
        "reliability.svg",
        f"Reliability of {head.taxonomy}: how often answers of each probability are right",
        foot + 42,
        left=left, right=left + side, top=top, bottom=bottom, foot=foot, bars=bars,
        ticks=[
            {"x": place(share, 0)[0], "y": place(0, share)[1], "label": f"{100 * share:.0f}%"}
            for share in (0, 0.25, 0.5, 0.75, 1)
        ],
        legend=_list_legend(("right", "pictures", "mean probability"), left),
    )  # fmt: skip


def _draw_classes(head: HeadFigures) -> str:
    taxonomy = get_taxonomy(head.taxonomy)
    top, height, side = 30, 46, RIGHT - LEFT - 40
    bottom = top + height * len(taxonomy.labels)
    rows = []
    for at, (label, figures) in enumerate(head.classes.items()):
        y = top + at * height
        values = (figures.precision, figures.recall, figures.f1)
        rows.append(
            {
                "y": y,
                "label": label,
                "english": f"{taxonomy.to_english(label)} {figures.support}",
                "bars": [
                    {
                        "kind": kind,
                        "y": y + 6 + 12 * line,
                        "width": value * side,
                        "value": f"{value:.2f}",
                    }
                    for line, (kind, value) in enumerate(zip(KINDS, values, strict=True))
                ],
            }
        )
    return _render(
        "classes.svg",
        f"Precision, recall and F1 of each class of {head.taxonomy}",
        bottom + 26,
        left=LEFT, top=top, bottom=bottom, rows=rows,
        ticks=[{"x": LEFT + share * side, "label": f"{share:g}"} for share in (0, 0.5, 1)],
        legend=_list_legend(("precision", "recall", "F1"), LEFT),
    )  # fmt: skip


def _list_legend(labels: Sequence[str], left: float) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "label": label, "x": left + 100 * at}
        for at, (kind, label) in enumerate(zip(KINDS, labels, strict=True))
    ]


def _render(template: str, title: str, height: float, **marks: object) -> str:
    return ENVIRONMENT.get_template(template).render(
        title=title, font=FONT, width=WIDTH, height=round(height), **marks
    )
