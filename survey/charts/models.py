"""Charts of how alike: confusions, shared errors, hard images, calibration."""

import re
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from survey.charts.look import (
    CHANCE,
    MODEL_SHADES,
    MODEL_SYMBOLS,
    Chart,
    Words,
    attach,
    draw_bars,
    fold,
    lay_out,
    list_figures,
    to_percent,
)
from survey.statistics.consistency import MOST_PEOPLE, build_matrix
from survey.statistics.summary import ModelSummary, Summary

# As dark as INK can still be read on at 4.5:1: plotly itself would write grey on blue.
BLUES = [[0, "#f7fbff"], [1, "#4a94d0"]]
DIVERGING = [[0, "#d98c4a"], [0.5, "#f7f7f7"], [1, "#4a94d0"]]  # people's side, the model's side
INK = {"color": "#1b1f24"}


def plot_confusion(summary: Summary, model: ModelSummary | None, words: Words) -> Chart:
    """What is taken for what: people, a model, and the difference."""
    labels = summary.table.labels
    rows, columns = words.name_labels(labels), words.name_labels(labels, cannot_tell=True)
    people = summary.people.confusion.shares
    panels = [(words.people, people, BLUES, 0.0)]
    if model is not None:
        own = model.confusion.shares
        difference = words.say("모델 − 사람", "model − people")
        panels += [
            (model.title, own, BLUES, 0.0),
            (difference, own - people, DIVERGING, -100.0),
        ]
    titles = [name for name, *_ in panels]
    # Labels between the panels would lie over the answers of the one before.
    figure = make_subplots(1, len(panels), shared_yaxes=True, subplot_titles=titles)
    for at, (_, shares, scale, lowest) in enumerate(panels, start=1):
        figure.add_trace(
            go.Heatmap(
                z=100 * shares, x=columns, y=rows, colorscale=scale, zmin=lowest, zmax=100,
                texttemplate="%{z:.0f}", textfont=INK, showscale=False, xgap=2, ygap=2,
                hovertemplate="%{y} → %{x}: %{z:.1f} %<extra></extra>",
            ),
            1,
            at,
        )  # fmt: skip
    lay_out(figure, words.say("답", "answer"), "", height=420)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(title={"text": words.say("정답", "truth")}, col=1)
    title, caption = _tell_confusion(summary, model, words)
    numbers = pd.DataFrame(
        [
            {"who": who, "truth": truth, "answer": answer, "share": shares[row, column]}
            for who, shares, *_ in panels
            for row, truth in enumerate(labels.labels)
            for column, answer in enumerate([*labels.labels, "cannot_tell"])
        ]
    )
    name = re.sub(r"[^\w.]+", "-", model.name if model else "people")
    return Chart(f"confusion-{name}", title, caption, figure, numbers)


def _tell_confusion(summary: Summary, model: ModelSummary | None, words: Words) -> tuple[str, str]:
    names = words.name_labels(summary.table.labels)
    found = _list_confusions(summary.people.confusion.shares, names)
    if not found:
        title = words.say("사람들은 아무것도 혼동하지 않았어요", "People confused nothing")
    else:
        truth, answer, share = found[0]
        shares = f"{100 * share:.0f} %"
        if len(found) > 1:
            shares = words.say(
                f"{shares}, 그다음은 {100 * found[1][2]:.0f} %",
                f"{shares}, the next {100 * found[1][2]:.0f} %",
            )
        title = words.say(
            f"사람들은 {attach(truth, ('을', '를'))} {attach(answer, ('으로', '로'))} 가장 자주 "
            f"혼동했어요 ({shares})",
            f"People most often took {truth} for {answer} ({shares})",
        )
    if model is not None:
        own = _list_confusions(model.confusion.shares, names)
        most = f"{own[0][0]} → {own[0][1]} ({100 * own[0][2]:.0f} %)" if own else "–"
        title = f"{title}. {model.title}: {most}"
    n = len(summary.people.scores)
    caption = words.say(
        f"각 줄은 그 감정의 이미지에 나온 답의 비율(%). 참여자 {n}명, 이미지 "
        f"{len(summary.table.images)}장{', 모델 ' + model.title if model else ''}.",
        f"Each row: answers to images of that emotion, in %. {n} participants, "
        f"{len(summary.table.images)} images{', model ' + model.title if model else ''}.",
    )
    return title, caption


def _list_confusions(
    shares: NDArray[np.float64], names: Sequence[str]
) -> list[tuple[str, str, float]]:
    """Wrong emotions that were answered, the most frequent first: truth, answer, share."""
    wrong = [
        (truth, answer, float(shares[row, column]))
        for row, truth in enumerate(names)
        for column, answer in enumerate(names)
        if row != column and shares[row, column] > 0
    ]
    return sorted(wrong, key=lambda each: -each[2])


def plot_consistency(summary: Summary, words: Words) -> Chart:
    """Error consistency of people with people and with each model, and of models with another."""
    models = summary.models
    names = [words.people, *(model.title for model in models)]
    shown = [fold(name) for name in names]
    matrix = np.full((len(names), len(names)), np.nan)
    if models:
        right = np.array([model.answers == summary.table.truth for model in models])
        matrix[1:, 1:] = build_matrix(right, np.ones_like(right))
    figures = [summary.people.consistency.kappa, *(model.consistency.kappa for model in models)]
    for at, kappa in enumerate(figures):
        matrix[0, at] = matrix[at, 0] = np.nan if kappa.value is None else kappa.value
    figure = go.Figure(
        go.Heatmap(
            z=matrix, x=shown, y=shown, colorscale=BLUES, zmin=0, zmax=1, showscale=False,
            texttemplate="%{z:.2f}", textfont=INK, xgap=2, ygap=2,
        )
    )  # fmt: skip
    lay_out(figure, "", "", height=380)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False)
    people = summary.people.consistency
    listed = "; ".join(
        f"{words.people}–{name} {words.quote(kappa, as_percent=False)}"
        for name, kappa in zip(names, figures, strict=True)
    )
    told = words.quote(people.kappa, as_percent=False)
    title = words.say(
        f"사람들끼리 같은 이미지에서 틀리는 정도: κ = {told}",
        f"People fail on the same images as each other with κ = {told}",
    )
    if people.kappa.value is None:
        title = told
    bounds = (
        f"{people.lowest:.2f}, {people.highest:.2f}"
        if people.lowest is not None and people.highest is not None
        else "–"
    )
    drawn = ("", "")
    if len(summary.people.scores) > MOST_PEOPLE:
        drawn = (
            f" 사람은 무작위로 뽑은 {MOST_PEOPLE}명이에요.",
            f" People: {MOST_PEOPLE} of them, drawn at random.",
        )
    caption = words.say(
        f"이미지 {len(summary.table.images)}장의 오류 일관성 κ(Geirhos 2020)와 이미지 부트스트랩 "
        f"95 % 구간(Klein 2025): {listed}. 정확도가 허락하는 범위는 사람끼리 [{bounds}]. 한 "
        f"사람의 이미지 100장으로는 κ가 ±0.2쯤 흔들려요.{drawn[0]}",
        f"Error consistency κ (Geirhos 2020) on {len(summary.table.images)} images with 95 % "
        f"bootstrap intervals over images (Klein 2025): {listed}. Accuracies allow [{bounds}] "
        "among people. A single kappa on 100 images is uncertain by about 0.2 either "
        f"way.{drawn[1]}",
    )
    who = ["people", *(model.name for model in models)]
    return Chart("consistency", title, caption, figure, list_figures({"who": who}, figures))


def plot_difficulty(summary: Summary, words: Words) -> Chart:
    """A mark per image: the share of people who are right, the model's probability of the truth."""
    difficulties = 100 * summary.people.difficulties
    figure = go.Figure(
        [
            go.Scatter(
                x=difficulties, y=100 * model.of_truth, mode="markers", name=model.title,
                marker={
                    "color": MODEL_SHADES[at % len(MODEL_SHADES)], "opacity": 0.7, "size": 9,
                    "symbol": MODEL_SYMBOLS[at % len(MODEL_SYMBOLS)],
                },
                text=summary.table.images,
            )
            for at, model in enumerate(summary.models)
        ]
    )  # fmt: skip
    lay_out(
        figure,
        words.say("맞힌 사람 (%)", "people who are right (%)"),
        words.say("모델이 정답에 준 확률 (%)", "model's probability of the truth (%)"),
        height=440,
    )
    figure.update_xaxes(range=[-3, 103])
    figure.update_yaxes(range=[-3, 103])
    relations = "; ".join(
        f"{model.title} ρ = {words.quote(model.softness.difficulty, as_percent=False)}"
        for model in summary.models
    )
    title = words.say(
        f"사람에게 어려운 이미지가 모델에게도 어려운가요? {relations or '모델이 없어요'}",
        f"Are images that are hard for people hard for models? {relations or 'no model'}",
    )
    divergences = "; ".join(
        f"{model.title} {words.quote(model.softness.divergence, as_percent=False)}"
        for model in summary.models
    )
    caption = words.say(
        f"점 하나가 이미지 한 장(n = {len(summary.table.images)}). ρ는 Spearman 상관과 95 % 구간. "
        "사람의 답 분포와 모델 확률의 차이(KL, 비트; 답이 적어서 커지는 만큼은 잭나이프로 "
        f"뺐어요, Zahl 1977): {divergences or '–'}.",
        f"One mark per image (n = {len(summary.table.images)}). ρ: Spearman's correlation with 95 "
        "% interval. Divergence of the model's probabilities from people's answers (KL, bits, "
        f"less the bias of few answers by the jackknife, Zahl 1977): {divergences or '–'}.",
    )
    numbers = pd.DataFrame(
        {
            "image": [f"i{image}" for image in summary.table.images],
            "people_right": summary.people.difficulties,
            "entropy_bits": summary.people.entropies,
            **{model.name: model.of_truth for model in summary.models},
        }
    )
    return Chart("difficulty", title, caption, figure, numbers)


def plot_reliability(summary: Summary, words: Words) -> Chart:
    """Confidence against accuracy, by model."""
    figure = go.Figure(
        go.Scatter(
            x=[0, 100], y=[0, 100], mode="lines", line={"color": CHANCE, "dash": "dash"},
            name=words.say("완벽한 보정", "perfectly calibrated"),
        )
    )  # fmt: skip
    tables = []
    for at, model in enumerate(summary.models):
        bins = model.calibration.bins
        figures = [each.right for each in bins]
        color = MODEL_SHADES[at % len(MODEL_SHADES)]
        figure.add_trace(
            go.Scatter(
                x=[100 * each.confidence for each in bins], y=to_percent(figures),
                error_y=draw_bars(figures), mode="lines+markers", name=model.title,
                line={"color": color, "width": 2},
                marker={"symbol": MODEL_SYMBOLS[at % len(MODEL_SYMBOLS)], "size": 9},
            )
        )  # fmt: skip
        names: dict[str, Sequence[object]] = {
            "model": [model.name] * len(bins),
            "confidence": [each.confidence for each in bins],
        }
        tables.append(list_figures(names, figures))
    lay_out(
        figure,
        words.say("모델의 확률 (%)", "model's probability (%)"),
        words.say("맞힌 비율 (%)", "right answers (%)"),
        height=440,
    )
    figure.update_xaxes(range=[0, 103])
    figure.update_yaxes(range=[0, 105])
    quote_error = partial(words.quote, as_percent=False, digits=3)
    errors = "; ".join(
        f"{model.title} ECE {quote_error(model.calibration.ece)}, "
        f"Brier {quote_error(model.calibration.brier)}"
        for model in summary.models
    )
    title = words.say(
        f"모델의 확률은 얼마나 믿을 만한가요? {errors or '모델이 없어요'}",
        f"How far can the probabilities be trusted? {errors or 'no model'}",
    )
    caption = words.say(
        "가장 높은 확률의 구간마다 맞힌 비율과 Wilson 95 % 구간(이미지 "
        f"{len(summary.table.images)}장). 이미지가 "
        "적으면 ECE는 실제보다 크게 나와요.",
        f"Share right by bins of the highest probability, with Wilson's 95 % intervals "
        f"({len(summary.table.images)} images). With few images ECE comes out too high.",
    )
    numbers = pd.concat(tables) if tables else list_figures({"model": [], "confidence": []}, [])
    return Chart("reliability", title, caption, figure, numbers)
