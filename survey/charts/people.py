"""Charts of how well: scores, emotions, sets, speed, crowds."""

from collections.abc import Mapping
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from survey.charts.look import (
    CHANCE,
    MODEL_SHADES,
    MODEL_SYMBOLS,
    PEOPLE,
    REFERENCE,
    Chart,
    Words,
    attach,
    choose_step,
    draw_bars,
    lay_out,
    list_figures,
    percent,
    tell_p,
    to_percent,
)
from survey.charts.references import FACEREVIEW, FERPLUS_RATER, REFERENCE_DASHES
from survey.statistics.figures import Figure
from survey.statistics.summary import Summary

BINS = 20  # of the histogram of scores
DODGE = 0.05  # between groups, in steps of the axis


def plot_scores(summary: Summary, words: Words) -> Chart:
    """Everybody's accuracy as a histogram, models and published studies as lines."""
    people = summary.people
    # In the order of size, not in that of the participants, who are nobody's business.
    scores = sorted(score.value for score in people.scores if score.value is not None)
    # In percent and rounded, so that edges and scores are whole where they should be; the last bin
    # is that of 95 to 100 %.
    counts, edges = np.histogram(np.round(np.multiply(scores, 100), 7), bins=BINS, range=(0, 100))
    figure = go.Figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=100 / BINS,
            customdata=[f"{low:.0f}–{high:.0f}" for low, high in pairwise(edges)],
            hovertemplate="%{customdata} %: %{y}",
            marker={"color": PEOPLE, "line": {"color": "white", "width": 1}},
            name=words.people,
        )
    )
    for at, model in enumerate(summary.models):
        figure.add_vline(
            100 * (model.accuracy.value or 0),
            line={"color": MODEL_SHADES[at % len(MODEL_SHADES)], "width": 3},
        )
        figure.add_trace(  # a line of its own has no entry in the legend
            go.Scatter(
                x=[None], y=[None], mode="lines", name=model.title,
                line={"color": MODEL_SHADES[at % len(MODEL_SHADES)], "width": 3},
            )
        )  # fmt: skip
    for (value, name), dash in zip(
        (
            (FACEREVIEW.mean, words.say("FaceReview 2023 사람", "FaceReview 2023 people")),
            (FERPLUS_RATER, words.say("FER+ 한 사람", "one FER+ rater")),
        ),
        REFERENCE_DASHES,
        strict=True,
    ):
        line = {"color": REFERENCE, "width": 2, "dash": dash}
        figure.add_vline(100 * value, line=line)
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=name, line=line))
    lay_out(
        figure,
        words.say("맞힌 비율 (%)", "right answers (%)"),
        words.say("사람 수", "people"),
        bargap=0.02,
    )
    figure.update_yaxes(rangemode="tozero", dtick=choose_step(int(counts.max())))
    figure.update_xaxes(range=[0, 100])
    numbers = pd.DataFrame(
        {
            "who": ["people"] * len(scores) + [model.name for model in summary.models],
            "accuracy": [*scores, *(model.accuracy.value for model in summary.models)],
        }
    )
    return Chart(
        "scores", say_headline(summary, words), _caption_scores(summary, words), figure, numbers
    )


def say_headline(summary: Summary, words: Words) -> str:
    """What a paper would quote: people's mean, the best model's, their difference."""
    people = summary.people
    lead = words.say(
        f"사람은 평균 {words.quote(people.mean)}를 맞혔어요",
        f"People were right in {words.quote(people.mean)} of answers",
    )
    if not summary.models:
        return f"{lead}."
    best = max(summary.models, key=lambda model: model.accuracy.value or 0)
    versus = best.versus
    return words.say(
        f"{lead}. {best.title} 모델은 {words.quote(best.accuracy)}, 차이는 "
        f"{words.quote_points(versus.difference)} ({tell_p(versus.difference_test.p)})예요.",
        f"{lead}; {best.title} in {words.quote(best.accuracy)}, a difference of "
        f"{words.quote_points(versus.difference)} ({tell_p(versus.difference_test.p)}).",
    )


def _caption_scores(summary: Summary, words: Words) -> str:
    n, images = len(summary.people.scores), len(summary.table.images)
    return words.say(
        f"참여자 {n}명이 이미지 {images}장에서 맞힌 비율의 분포. 평균의 95 % 구간은 참여자와 "
        "이미지를 함께 다시 뽑은 부트스트랩(Owen 2007), 모델의 구간은 Wilson, 차이의 구간과 p는 "
        "같은 부트스트랩이에요. 회색 선은 FaceReview 2023의 발표된 값(42명, 평균 78.79, 56–86; "
        "모델 78)과 FER+의 공개된 투표에서 한 사람이 나머지 아홉의 다수와 같았던 비율(70.1).",
        f"Share of right answers of {n} participants on {images} images. The 95 % interval of the "
        "mean is a bootstrap over participants and images (Owen 2007), and so are the "
        "difference's and p; that of models is Wilson's. Grey lines: FaceReview 2023 as published "
        "(42 people, mean 78.79, range 56 to 86; its model 78), and one FER+ rater against the "
        "plurality of the other nine, counted in the published votes (70.1).",
    )


def plot_labels(summary: Summary, words: Words) -> Chart:
    """Accuracy by emotion: people, models, chance."""
    labels = summary.table.labels
    names = words.name_labels(labels)
    groups = [("people", words.people, PEOPLE, list(summary.people.by_label.values()))]
    groups += [
        (
            model.name,
            model.title,
            MODEL_SHADES[at % len(MODEL_SHADES)],
            list(model.by_label.values()),
        )
        for at, model in enumerate(summary.models)
    ]
    figure = go.Figure(
        [
            go.Bar(
                x=names,
                y=to_percent(figures),
                error_y=draw_bars(figures),
                name=name,
                marker={"color": color},
            )
            for _, name, color, figures in groups
        ]
    )
    chance = 100 / len(labels.labels)
    figure.add_hline(
        chance,
        line={"color": CHANCE, "dash": "dash"},
        annotation={"text": words.chance, "x": 1, "xanchor": "left", "yanchor": "middle"},
    )
    lay_out(
        figure,
        words.say("표정", "emotion"),
        words.say("맞힌 비율 (%)", "right answers (%)"),
        barmode="group",
        margin={"l": 64, "r": 64, "t": 56, "b": 56},  # room for the word beside the line
    )
    figure.update_yaxes(range=[0, 105])
    title = _tell_extremes(dict(zip(names, summary.people.by_label.values(), strict=True)), words)
    caption = words.say(
        f"참여자 {len(summary.people.scores)}명과 모델이 감정별로 맞힌 비율과 95 % 구간(사람: "
        f"참여자와 이미지의 부트스트랩, 모델: Wilson). 점선은 우연({chance:.0f} %).",
        f"Share of right answers by emotion of {len(summary.people.scores)} participants and of "
        "models, with 95 % intervals (people: bootstrap over participants and images; models: "
        f"Wilson's). Dashed: chance ({chance:.0f} %).",
    )
    numbers = pd.concat(
        list_figures({"who": [who] * len(figures), "label": list(labels.labels)}, figures)
        for who, _, _, figures in groups
    )
    return Chart("labels", title, caption, figure, numbers)


def _tell_extremes(by_label: Mapping[str, Figure], words: Words) -> str:
    """The easiest and the hardest emotion, if their intervals lie apart."""
    known = [(figure.value, name) for name, figure in by_label.items() if figure.value is not None]
    if not known:
        return words.say("감정별 답이 아직 없어요", "No answers by emotion yet")
    (low, hardest), (high, easiest) = min(known), max(known)
    bottom, top = by_label[easiest].low, by_label[hardest].high
    if bottom is None or top is None or bottom <= top:
        return words.say(
            "사람에게 더 쉽거나 어려운 표정은 뚜렷하지 않아요 "
            f"({hardest} {percent(low)}, {easiest} {percent(high)})",
            f"No emotion is clearly easier or harder for people ({hardest} {percent(low)}, "
            f"{easiest} {percent(high)})",
        )
    return words.say(
        f"사람에게 가장 쉬운 표정은 {easiest}({percent(high)}), 가장 어려운 표정은 "
        f"{attach(hardest, ('이에요', '예요'))}({percent(low)})",
        f"Easiest for people: {easiest} ({percent(high)}); hardest: {hardest} ({percent(low)})",
    )


def plot_visibility(summary: Summary, words: Words) -> Chart:
    """Slopes from public to private images."""
    places = [words.name_visibility(name) for name in ("public", "private")]
    figure = go.Figure()
    groups = [("people", words.people, PEOPLE, "circle", summary.people.by_visibility)]
    groups += [
        (
            model.name, model.title, MODEL_SHADES[at % len(MODEL_SHADES)],
            MODEL_SYMBOLS[at % len(MODEL_SYMBOLS)], model.by_visibility,
        )
        for at, model in enumerate(summary.models)
    ]  # fmt: skip
    for at, (_, name, color, symbol, by_visibility) in enumerate(groups):
        figures = list(by_visibility.values())
        aside = DODGE * (at - (len(groups) - 1) / 2)  # so that intervals stand beside each other
        figure.add_trace(
            go.Scatter(
                x=[aside, 1 + aside], y=to_percent(figures), error_y=draw_bars(figures), name=name,
                mode="lines+markers", line={"color": color, "width": 3},
                marker={"symbol": symbol, "size": 10},
                hovertemplate="%{y:.1f} %",
            )
        )  # fmt: skip
    lay_out(figure, "", words.say("맞힌 비율 (%)", "right answers (%)"))
    figure.update_yaxes(range=[0, 105])
    figure.update_xaxes(range=[-0.4, 1.4], tickvals=[0, 1], ticktext=places)
    title = _tell_gap(summary.people.gap, words)
    beyond = "; ".join(f"{model.title} {words.quote_points(model.gap)}" for model in summary.models)
    caption = words.say(
        f"참여자 {len(summary.people.scores)}명이 공개와 비공개 이미지에서 맞힌 비율과 95 % 구간. "
        f"모델의 차이에서 사람의 차이를 뺀 값: {beyond or '–'}. 0보다 크면 모델이 비공개 "
        "이미지에서 사람보다 더 많이 떨어진 거예요.",
        f"Share of right answers of {len(summary.people.scores)} participants on public and "
        "private images with 95 % intervals. The model's drop minus that of people: "
        f"{beyond or '–'}; above 0, the model loses more on private images than people do.",
    )
    numbers = pd.concat(
        list_figures(
            {"who": [who] * 2, "visibility": list(by_visibility)}, list(by_visibility.values())
        )
        for who, _, _, _, by_visibility in groups
    )
    return Chart("visibility", title, caption, figure, numbers)


def _tell_gap(gap: Figure, words: Words) -> str:
    """Which set was easier for people, if the interval says that one was."""
    if gap.value is None:
        return words.quote(gap)
    told = words.quote_points(gap)
    if gap.low is None or gap.high is None or gap.low <= 0 <= gap.high:
        return words.say(
            f"공개와 비공개 이미지의 차이는 뚜렷하지 않아요 ({told})",
            f"No clear difference between public and private images for people ({told})",
        )
    return words.say(
        "사람은 공개 이미지를 비공개 이미지보다 "
        f"{'더 많이' if gap.value > 0 else '더 적게'} 맞혔어요 ({told})",
        f"People did {'better' if gap.value > 0 else 'worse'} on public images ({told})",
    )


def plot_speed(summary: Summary, words: Words) -> Chart:
    """Accuracy by each person's own fifths of response time."""
    parts = summary.people.by_speed
    figures = [part.right for part in parts]
    medians = [part.median_ms / 1000 for part in parts]
    figure = go.Figure(
        go.Scatter(
            x=medians, y=to_percent(figures), error_y=draw_bars(figures), mode="lines+markers",
            line={"color": PEOPLE, "width": 3}, marker={"size": 9}, name=words.people,
        )
    )  # fmt: skip
    lay_out(
        figure,
        words.say("응답 시간의 중앙값 (초)", "median response time (s)"),
        words.say("맞힌 비율 (%)", "right answers (%)"),
    )
    figure.update_yaxes(range=[0, 105])
    title = words.say("응답 시간을 볼 답이 모자라요", "Too few answers to look at speed")
    if parts:
        first, last = figures[0], figures[-1]
        title = words.say(
            f"빠른 답은 {percent(first.value)}가, 느린 답은 {percent(last.value)}가 맞았어요",
            f"Quick answers were right in {percent(first.value)}, slow ones in "
            f"{percent(last.value)}",
        )
    relation = words.quote(summary.people.time_and_difficulty, as_percent=False)
    caption = words.say(
        f"참여자 {len(summary.people.scores)}명 각자의 응답 시간을 다섯으로 나눈 맞힌 비율과 95 % "
        f"구간(참여자 부트스트랩). 이미지별 응답 시간과 맞힌 비율의 Spearman 상관: {relation}.",
        "Share of right answers in the fifths of each participant's own response times (n = "
        f"{len(summary.people.scores)}), with 95 % intervals (bootstrap over participants). "
        f"Spearman's correlation over images of time and share right: {relation}.",
    )
    numbers = list_figures({"fifth": list(range(1, len(parts) + 1)), "median_s": medians}, figures)
    return Chart("speed", title, caption, figure, numbers)


def plot_crowds(summary: Summary, words: Words) -> Chart:
    """The majority of a crowd as one rater, by its size, beside models."""
    people = summary.people
    figure = go.Figure(
        go.Scatter(
            x=list(people.crowd_sizes), y=to_percent(people.crowds),
            error_y=draw_bars(people.crowds), mode="lines+markers",
            line={"color": PEOPLE, "width": 3}, marker={"size": 9},
            name=words.say("사람들의 다수", "majority of people"),
        )
    )  # fmt: skip
    for at, model in enumerate(summary.models):
        color = MODEL_SHADES[at % len(MODEL_SHADES)]
        figure.add_trace(
            go.Scatter(
                x=[people.crowd_sizes[0], people.crowd_sizes[-1]],
                y=to_percent([model.accuracy] * 2), mode="lines", name=model.title,
                line={"color": color, "width": 3},
            )
        )  # fmt: skip
    lay_out(
        figure,
        words.say("다수를 이루는 사람 수", "people in the crowd"),
        words.say("다수가 맞힌 비율 (%)", "majority right (%)"),
    )
    figure.update_xaxes(
        type="log",
        tickvals=list(people.crowd_sizes),
        ticktext=[str(size) for size in people.crowd_sizes],
    )
    figure.update_yaxes(range=[0, 105])
    alone, together = people.crowds[0], people.crowds[-1]
    title = words.say(
        f"혼자서는 {percent(alone.value)}를, {people.crowd_sizes[-1]}명의 다수는 "
        f"{percent(together.value)}를 맞혔어요",
        f"One person alone: {percent(alone.value)}; the majority of {people.crowd_sizes[-1]}: "
        f"{percent(together.value)}",
    )
    caption = words.say(
        f"참여자 {len(summary.people.scores)}명에서 무작위로 뽑은 사람들이 가장 많이 고른 답이 "
        "맞은 비율. 막대는 이 참여자들의 다른 무리가 다른 이미지에서 얻을 값의 95 %; "
        "동수면 무작위로 골랐을 때의 기댓값이에요.",
        f"How often the most frequent answer of a random crowd of the {len(summary.people.scores)} "
        "participants is right; bars hold 95 % of such crowds of these participants on other "
        "images; ties count as a random choice would on average.",
    )
    return Chart(
        "crowds",
        title,
        caption,
        figure,
        list_figures({"size": list(people.crowd_sizes)}, people.crowds),
    )


def plot_days(days: list[date], words: Words) -> Chart:
    """How many finished on which day, added up; ``days`` has one entry per participant."""
    counts = pd.Series(1, index=pd.to_datetime(sorted(days))).groupby(level=0).sum().cumsum()
    figure = go.Figure(
        go.Scatter(
            x=counts.index, y=counts.to_numpy(), mode="lines+markers",
            line={"color": PEOPLE, "width": 3, "shape": "hv"}, name=words.people,
        )
    )  # fmt: skip
    lay_out(figure, words.say("날짜 (UTC)", "day (UTC)"), words.say("끝낸 사람", "people finished"))
    figure.update_yaxes(rangemode="tozero", dtick=choose_step(int(counts.max())))
    figure.update_xaxes(
        tickformat="%Y-%m-%d", nticks=6, tickvals=None if len(counts) > 6 else counts.index
    )
    title = words.say(f"{len(days)}명이 끝까지 답했어요", f"{len(days)} people have finished")
    caption = words.say(
        "끝까지 답한 사람의 수, 날짜별 누적.", "Participants who finished, added up by day."
    )
    numbers = pd.DataFrame(
        {"day": pd.DatetimeIndex(counts.index).date, "finished": counts.to_numpy()}
    )
    return Chart("days", title, caption, figure, numbers)
