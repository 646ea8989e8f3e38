"""What is known of how people do: published figures, or counted in published votes."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from survey.charts.look import MODEL, PEOPLE, Chart, Words, lay_out


@dataclass(frozen=True)
class PublishedStudy:
    """Shares of right answers (0-1) of ``people`` participants and of the study's own model."""

    people: int
    images: int
    mean: float
    lowest: float
    highest: float
    model: float


FACEREVIEW = PublishedStudy(42, 100, mean=0.7879, lowest=0.56, highest=0.86, model=0.78)
# One FER+ rater against the plurality of the other nine, counted in the published votes (Barsoum et
# al. 2016) of 3,573 pictures of PrivateTest.
FERPLUS_RATER = 0.701
REFERENCE_DASHES = ("dash", "dot")


def plot_references(words: Words) -> Chart:
    """What is known before a study has answers of its own."""
    rows = [
        (words.say("FaceReview 2023: 사람", "FaceReview 2023: people"), FACEREVIEW.mean, PEOPLE),
        (words.say("FaceReview 2023: 모델", "FaceReview 2023: model"), FACEREVIEW.model, MODEL),
        (words.say("FER+: 한 사람", "FER+: one rater"), FERPLUS_RATER, PEOPLE),
    ]
    figure = go.Figure()
    for name, value, color in rows:
        bars = None
        if value == FACEREVIEW.mean:  # the range of its people, not an interval
            above, below = FACEREVIEW.highest - value, value - FACEREVIEW.lowest
            bars = {"array": [100 * above], "arrayminus": [100 * below], "symmetric": False}
        figure.add_trace(
            go.Scatter(
                x=[100 * value], y=[name], error_x=bars, mode="markers", showlegend=False,
                marker={"color": color, "size": 12}, hovertemplate="%{x:.1f} %<extra></extra>",
            )
        )  # fmt: skip
    lay_out(figure, words.say("맞힌 비율 (%)", "right answers (%)"), "", height=260)
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(autorange="reversed")
    caption = words.say(
        f"FaceReview 2023은 발표된 값 그대로예요: {FACEREVIEW.people}명이 이미지 "
        f"{FACEREVIEW.images}장에서 맞힌 비율의 평균과 범위, 그리고 그 모델. FER+는 공개된 투표로 "
        "계산한 값이에요: 한 사람의 답이 나머지 아홉 사람의 다수와 같았던 비율(PrivateTest "
        "3,573장; 투표는 Barsoum 외 2016).",
        f"FaceReview 2023 as published: mean and range of {FACEREVIEW.people} people on "
        f"{FACEREVIEW.images} images, and its model. FER+, counted in its published votes: "
        "how often one rater agrees with the plurality of the other nine (3,573 pictures of "
        "PrivateTest; votes: Barsoum et al. 2016).",
    )
    numbers = pd.DataFrame(
        {
            "study": [name for name, *_ in rows],
            "accuracy": [value for _, value, _ in rows],
            "lowest": [FACEREVIEW.lowest, None, None],
            "highest": [FACEREVIEW.highest, None, None],
        }
    )
    title = words.say(
        "지금까지의 연구에서 사람은 열에 일고여덟을 맞혔어요",
        "In studies so far, people were right in seven or eight of ten",
    )
    return Chart("references", title, caption, figure, numbers)
