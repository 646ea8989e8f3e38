"""The whole comparison as one page that needs no server and no network, and as PDF."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from plotly.offline import get_plotlyjs

from kfer.version import __version__
from survey.charts.board import draw_board
from survey.charts.look import FONT, Words
from survey.charts.people import say_headline
from survey.charts.tables import (
    COVERAGE,
    explain_raters,
    tabulate_images,
    tabulate_raters,
)
from survey.comparison import Comparison, Filters
from survey.comparison_texts import COMPARISON_TEXTS
from survey.errors import StudyError
from survey.export import name_image, save_file
from survey.records import ENOUGH_PEOPLE
from survey.statistics.summary import Summary

TEMPLATES = Path(__file__).parent / "templates"
LIBRARIES = ("numpy", "scipy", "pandas", "scikit-learn", "statsmodels", "plotly")
CHROMIUMS = (
    "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome",
)  # fmt: skip
PATIENCE_SECONDS = 120


def build_report(comparison: Comparison, words: Words, now: datetime) -> str:
    """HTML. Raises StudyError where there is nothing to report."""
    summary = comparison.summary
    if summary is None:
        raise StudyError(f"{comparison.study.name}: nothing to report. {comparison.withheld}")
    chapters = draw_board(summary, comparison.days, words)
    charts = [chart for chapter in chapters for chart in chapter.charts]
    figures = {chart.key: json.loads(chart.figure.to_json()) for chart in charts}
    definition = comparison.study.definition
    title = definition.title.get(words.language) or next(iter(definition.title.values()))
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    return environment.get_template("report.html").render(
        language=words.language,
        title=title,
        font=FONT,
        plotly=get_plotlyjs(),
        facts=_tell_facts(comparison, summary, words, now),
        notes=_list_notes(comparison, words),
        headline=say_headline(summary, words),
        chapters=chapters,
        figures=figures,
        raters=_to_html(tabulate_raters(summary, words)),
        raters_caption=explain_raters(summary, words),
        images=_to_html(_name_columns(summary, words)),
        words={
            "raters": words.say("한눈에 보기", "At a glance"),
            "images": words.say("이미지마다, 어려운 것부터", "Image by image, the hardest first"),
            "methods": words.say("방법", "Methods"),
        },
        methods=list_methods(words),
        versions=_tell_versions(),
    )


def _tell_facts(comparison: Comparison, summary: Summary, words: Words, now: datetime) -> str:
    study, days = comparison.study, comparison.days
    period = f"{min(days)} – {max(days)}"
    return words.say(
        f"설문 {study.name}, 버전 {study.version} · 마친 사람 {comparison.finished}명, 마치지 않은 "
        f"사람 {comparison.unfinished}명 · 이미지 {len(summary.table.images)}장 · 모은 날 "
        f"{period} · 만든 날 {now:%Y-%m-%d %H:%M} UTC",
        f"Study {study.name}, version {study.version} · {comparison.finished} finished, "
        f"{comparison.unfinished} not · {len(summary.table.images)} images · collected {period} · "
        f"made {now:%Y-%m-%d %H:%M} UTC",
    )


def _list_notes(comparison: Comparison, words: Words) -> list[str]:
    notes = []
    if comparison.study.definition.demo:
        notes.append(
            words.say(
                "체험용 설문의 답이에요. 연구 결과로 쓰지 마세요.",
                "Answers to the demonstration: do not use them as research results.",
            )
        )
    if comparison.filters != Filters():
        notes.append(_tell_filters(comparison, words))
    if (comparison.people or 0) < ENOUGH_PEOPLE:
        notes.append(
            words.say(
                f"{ENOUGH_PEOPLE}명보다 적은 사람의 답이라 한 사람 한 사람이 드러날 수 있어요. "
                "밖으로 내보내지 마세요.",
                f"Fewer than {ENOUGH_PEOPLE} people: figures may tell about single persons. Do not "
                "pass this report on.",
            )
        )
    return notes


def _tell_filters(comparison: Comparison, words: Words) -> str:
    """What of the study the report is about, and how many people are not in it."""

    def say(name: str, **values: object) -> str:
        return words.say(*COMPARISON_TEXTS[name]).format(**values)

    filters, labels = comparison.filters, comparison.study.definition.labels
    names = dict(zip(labels.labels, words.name_labels(labels), strict=True))
    parts = {
        "visibility": filters.visibility and words.name_visibility(filters.visibility),
        "labels": ", ".join(names[label] for label in filters.labels or ()),
        "models": filters.models is not None and (", ".join(filters.models) or say("none")),
        "leave_out": ", ".join(say(f"rule_{rule}") for rule in filters.leave_out),
        "since": filters.since,
        "until": filters.until,
    }
    counts = [say("of_people", finished=comparison.finished, n=comparison.people)]
    if filters.leave_out:
        counts.append(say("left_out", flagged=comparison.flagged))
    if filters.since or filters.until:
        counts.append(say("outside", outside=comparison.outside))
    told = [f"{say(name)}: {value}" for name, value in parts.items() if value]
    return f"{say('filters')}: {'; '.join(told)}. {', '.join(counts)}."


def list_methods(words: Words) -> list[str]:
    """How every figure came about, to be quoted."""
    return [
        words.say(
            "맞힌 비율: “모르겠어요”는 틀린 답. 사람 평균의 95 % 구간은 참여자와 이미지를 함께 "
            "다시 뽑은 부트스트랩(Owen 2007), 모델과 한 사람의 구간은 Wilson(1927).",
            "Accuracy: “cannot tell” counts as wrong. The 95 % interval of people's mean is a "
            "bootstrap over participants and images (Owen 2007); of a model or one person, "
            "Wilson's (1927).",
        ),
        words.say(
            "모델과 사람: 같은 이미지에서의 차이와 참여자·이미지 부트스트랩의 구간과 p. 이미지에 "
            "대한 순열 검정과, 사람들의 다수에 대한 정확 McNemar 검정은 이 참여자들에 대해서만 "
            "말해요. p값은 여러 비교에 맞춰 고치지 않았어요.",
            "Model against people: difference on the same images with interval and p of the "
            "bootstrap over participants and images. The permutation test over images and exact "
            "McNemar against the people's majority speak of these participants only. p values are "
            "not corrected for several comparisons.",
        ),
        words.say(
            "오류 일관성 κ(Geirhos 외 2020)와 이미지 부트스트랩 구간(Klein 외 2025); "
            "Krippendorff의 α, Fleiss의 κ; 반복 이미지에서 자신과의 Cohen κ.",
            "Error consistency κ (Geirhos et al. 2020) with a bootstrap over images (Klein et al. "
            "2025); Krippendorff's α, Fleiss' κ; Cohen's κ with oneself on repeats.",
        ),
        words.say(
            "공개와 비공개: 차이의 차이와 참여자·이미지 부트스트랩 구간.",
            "Public against private: difference of differences, bootstrap over participants and "
            "images.",
        ),
        words.say(
            "모델의 확률: 구간 10개의 ECE, Brier 점수, 사람의 답 분포와의 KL(비트, 잭나이프 "
            "보정, Zahl 1977)과 Spearman 상관.",
            "A model's probabilities: ECE over 10 bins, Brier score, divergence from people's "
            "answers (KL, bits, jackknifed, Zahl 1977) and Spearman's correlation.",
        ),
        words.say(
            "정확도의 표준편차가 7점쯤인 사람들이 이미지 100장을 본 모의 연구 1,000번에서 전체 "
            "이미지의 맞힌 비율과 그 차이의 95 % 구간이 참값을 담은 비율: "
            f"{_list_coverage('{}명 {}–{} %')}. κ와 α의 구간은 같은 사람들이 다른 이미지를 봤을 "
            "때의 것이에요.",
            "In 1,000 simulated studies of 100 images, with people whose accuracies differ by 7 "
            "points (standard deviation), the 95 % intervals of shares of all images and of their "
            f"differences held the true value for {_list_coverage('n = {} in {} to {} %')} of "
            "cases. Those of κ and α are for the same people on other images.",
        ),
        words.say(
            "의심스러운 참여(너무 빠름, 한 답만 고름 등)는 표시해요. 위에 적지 않았으면 아무도 "
            "빼지 않았어요.",
            "Doubtful participations (too fast, one answer only, ...) are flagged; none is left "
            "out unless it says so above.",
        ),
    ]


def _list_coverage(pattern: str) -> str:
    return ", ".join(pattern.format(people, *ends) for people, ends in COVERAGE.items())


def _tell_versions() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"KFER {__version__}; {libraries}."


def _name_columns(summary: Summary, words: Words) -> pd.DataFrame:
    """The table of images with headings in words and values short enough to print."""
    names = {
        "image": words.say("이미지", "image"),
        "label": words.say("정답", "truth"),
        "visibility": words.say("모음", "set"),
        "answers": words.say("답", "answers"),
        "people_right": words.say("맞힌 사람", "people right"),
        "entropy_bits": words.say("엇갈림 (비트)", "entropy (bits)"),
    }
    for model in summary.models:
        names[f"{model.name} answer"] = f"{model.title}: {words.say('답', 'answer')}"
        names[f"{model.name} p(truth)"] = f"{model.title}: {words.say('p(정답)', 'p(truth)')}"
    images = tabulate_images(summary, words)
    short = images.assign(
        image=[name_image(image) for image in images["image"]],
        visibility=[words.name_visibility(each) for each in images["visibility"]],
    )
    return short.round(2).rename(columns=names)


def _to_html(table: pd.DataFrame) -> str:
    """Escaped."""
    return str(table.to_html(index=False, border=0, na_rep="–"))


def print_pdf(html: str, path: Path, programs: Sequence[str] = CHROMIUMS) -> None:
    """Raises StudyError without a Chromium, or when it fails."""
    program = next(filter(None, map(shutil.which, programs)), None)
    if program is None:
        raise StudyError(
            f"--format pdf needs an installed Chromium (looked for {', '.join(programs)}); install "
            "one, or make HTML and print it from a browser."
        )
    with tempfile.TemporaryDirectory() as folder:
        page, made = Path(folder) / "report.html", Path(folder) / "report.pdf"
        page.write_text(html, encoding="utf-8")
        command = [
            program, "--headless", "--disable-gpu", "--no-pdf-header-footer",
            f"--user-data-dir={folder}/profile", f"--print-to-pdf={made}",
            "--virtual-time-budget=20000", page.as_uri(),
        ]  # fmt: skip
        if os.geteuid() == 0:  # Chromium's sandbox refuses to run as root
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=PATIENCE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise StudyError(f"{program} has not ended after {PATIENCE_SECONDS} s.") from None
        if not made.exists():
            raise StudyError(
                f"{program} made no PDF (status {done.returncode}): "
                f"{done.stderr.decode(errors='replace')[-300:]}"
            )
        save_file(made.read_bytes(), path)
