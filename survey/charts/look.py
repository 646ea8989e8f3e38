"""What all charts share: colours, type, words for numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from kfer.labels import Taxonomy
from survey.statistics.figures import Figure
from survey.texts import CANNOT_TELL_SHOWN

# After Okabe and Ito: told apart with every kind of colour vision, readable on light and dark.
PEOPLE = "#d55e00"
MODEL = "#0072b2"
CHANCE = "#8a8a8a"
REFERENCE = "#8a8a8a"
MODEL_SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "star", "x")
MODEL_SHADES = ("#0072b2", "#009e73", "#56b4e9", "#cc79a7", "#005b8f", "#00664c", "#2f7fb0")
LINE = 16  # letters of a name on an axis: a phone's chart has no room for more
FONT = (
    "Pretendard, 'Noto Sans CJK KR', 'Noto Sans KR', 'Apple SD Gothic Neo', 'Malgun Gothic', "
    "sans-serif"
)


# Why a figure is undefined: what survey.statistics says, in Korean.
REASONS = {
    "no answers": "답이 없어요",
    "not a number for these answers": "이 답들로는 값을 구할 수 없어요",
    "alpha needs images that two people have answered": "두 사람이 답한 이미지가 있어야 해요",
    "alpha is undefined: all answers agree": "모든 답이 같아서 α를 구할 수 없어요",
    "Fleiss' kappa needs two people": "두 사람이 있어야 해요",
    "Fleiss' kappa is undefined: all answers agree": "모든 답이 같아서 κ를 구할 수 없어요",
    "the study repeats no image": "다시 나오는 이미지가 없는 설문이에요",
    "kappa is undefined: all answers agree": "모든 답이 같아서 κ를 구할 수 없어요",
    "error consistency needs two who have seen the same images": (
        "같은 이미지를 본 둘이 있어야 해요"
    ),
    "error consistency is undefined: everybody is always right, or wrong": (
        "모두가 늘 맞거나 늘 틀려서 κ를 구할 수 없어요"
    ),
    "needs answers to images of both sets": "공개와 비공개 이미지 모두에 답이 있어야 해요",
    "needs three images that people have answered": "사람이 답한 이미지가 세 장은 있어야 해요",
    "a rank correlation is undefined: all values are the same": (
        "값이 모두 같아서 순위 상관을 구할 수 없어요"
    ),
}


@dataclass(frozen=True, eq=False)
class Chart:
    """``numbers`` are what is drawn, a row per mark; ``key`` names the chart in links and files."""

    key: str
    title: str
    caption: str
    figure: go.Figure
    numbers: pd.DataFrame


@dataclass(frozen=True)
class Words:
    """Texts in one language; ``say`` takes the Korean and the English."""

    language: str

    def say(self, korean: str, english: str) -> str:
        return korean if self.language == "ko" else english

    def name_labels(self, labels: Taxonomy, *, cannot_tell: bool = False) -> list[str]:
        names = list(labels.labels if self.language == "ko" else labels.english)
        return [*names, CANNOT_TELL_SHOWN[self.language]] if cannot_tell else names

    def quote(self, figure: Figure, *, as_percent: bool = True, digits: int = 2) -> str:
        """A value with its interval, as a paper writes it; or why there is none."""
        if figure.value is None:
            reason = figure.undefined or "–"
            return self.say(REASONS.get(reason, reason), reason)

        def write(value: float) -> str:
            return f"{100 * value:.1f}" if as_percent else f"{value:.{digits}f}"

        unit = " %" if as_percent else ""
        if figure.low is None or figure.high is None:
            return write(figure.value) + unit
        return f"{write(figure.value)}{unit} [{write(figure.low)}, {write(figure.high)}]"

    def quote_points(self, figure: Figure) -> str:
        """A difference of shares, in percentage points; or why there is none."""
        told = self.quote(figure)
        if figure.value is None:
            return told
        return f"{told.replace(' %', '')}{self.say('%p', ' points')}"

    @property
    def people(self) -> str:
        return self.say("사람", "people")

    @property
    def chance(self) -> str:
        return self.say("우연", "chance")

    def name_visibility(self, visibility: str) -> str:
        return {
            "public": self.say("공개 이미지", "public images"),
            "private": self.say("비공개 이미지", "private images"),
        }[visibility]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def attach(word: str, particles: tuple[str, str]) -> str:
    """A Korean word with the particle that fits its end: after a consonant, or not.

    For 으로 and 로, a final ㄹ counts as none.
    """
    final = (ord(word[-1]) - ord("가")) % 28
    after_consonant = final > 0 and not (particles[1] == "로" and final == 8)
    return word + particles[0 if after_consonant else 1]


def fold(name: str) -> str:
    """A long name on several lines of an axis, broken after a sign where there is one."""
    lines = [""]
    for piece in re.findall(rf"[^/_.-]{{1,{LINE}}}[/_.-]?|[/_.-]", name):
        if len(lines[-1] + piece) > LINE:
            lines.append("")
        lines[-1] += piece
    return "<br>".join(filter(None, lines))


def tell_p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def choose_step(most: int) -> int:
    """Between at most seven ticks of an axis that counts up to ``most``: 1, 2 or 5, 10, 20 ..."""
    step = 1
    while most > 6 * step:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return step


def draw_bars(figures: Sequence[Figure]) -> dict[str, Any]:
    """plotly's asymmetric error bars, in percent; none where there is no interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_reach(each, each.high) for each in figures],
        "arrayminus": [_reach(each, each.low) for each in figures],
        "thickness": 1.5,
        "width": 4,
    }


def _reach(figure: Figure, end: float | None) -> float:
    if figure.value is None or end is None:
        return 0.0
    return 100 * abs(end - figure.value)


def to_percent(figures: Sequence[Figure]) -> list[float | None]:
    return [None if each.value is None else 100 * each.value for each in figures]


def list_figures(names: dict[str, Sequence[Any]], figures: Sequence[Figure]) -> pd.DataFrame:
    """Columns that name each figure, then its value, interval, n and why it may be undefined."""
    columns: dict[str, Sequence[Any]] = {
        **names,
        "value": [each.value for each in figures],
        "low": [each.low for each in figures],
        "high": [each.high for each in figures],
        "n": [each.n for each in figures],
        "undefined": [each.undefined for each in figures],
    }
    return pd.DataFrame(columns)


def lay_out(figure: go.Figure, x: str, y: str, **changes: Any) -> go.Figure:
    """The one look: no ornament, axes named with units, the legend above and never over data."""
    figure.update_layout(
        template="none",
        font={"family": FONT, "size": 14},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 64, "r": 16, "t": 56, "b": 56},
        height=380,
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        hoverlabel={"font": {"family": FONT}},
    )
    grid = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True}
    figure.update_xaxes(title={"text": x}, **grid)
    figure.update_yaxes(title={"text": y, "standoff": 10}, **grid)  # clear of long labels
    figure.update_layout(**changes)
    return figure
