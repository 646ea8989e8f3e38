"""Answers and their figures -> report.html (one file), report.md, report.json."""

import base64
import dataclasses
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kfer.bundle import Bundle
from kfer.version import __version__
from training.answers import Answers
from training.charts import FONT, draw_charts
from training.errors import ConfigError
from training.evaluate import Evaluation, HeadFigures
from training.files import check_folder, replace_text
from training.templating import ENVIRONMENT
from training.wording import (
    TRAINING_PART,
    Table,
    describe_calibration,
    describe_people,
    describe_robustness,
    describe_sureness,
    percent,
    tabulate_classes,
    tabulate_confusion,
    tabulate_robustness,
    tell_interval,
)

HTML, MARKDOWN, DATA = "report.html", "report.md", "report.json"
WORST = 24  # pictures shown of each head
THUMBNAIL = 128  # px


@dataclass(frozen=True)
class Section:
    """What one kind of report tells beyond the heads."""

    title: str
    text: str
    table: Table


@dataclass(frozen=True)
class Report:
    """``figures`` are all that was measured, for report.json; ``images`` is where paths lead.

    ``shared_where`` are the persons who make figures flatter.
    """

    title: str
    facts: list[str]
    command: str
    day: date
    heads: list[HeadFigures]
    answers: list[Answers]
    shared_where: str
    sections: list[Section]
    figures: Mapping[str, Any]
    images: Path


@dataclass(frozen=True)
class Mistake:
    path: str
    truth: str
    answer: str
    probability: float  # of the answer
    truth_probability: float


def check_report_folder(folder: Path, bundle: Path) -> None:
    """Raises ConfigError where pictures would come to lie in the bundle, which is handed on."""
    if folder.resolve().is_relative_to(bundle.resolve()):
        raise ConfigError(f"--report {folder}: is in the bundle; name a folder outside of it.")
    check_folder(folder, "--report")


def report_evaluation(
    bundle: Bundle,
    evaluation: Evaluation,
    answers: list[Answers],
    images: Path,
    day: date,
    command: str,
) -> Report:
    facts = [
        f"{bundle.identity}, measured on {evaluation.data}.",
        describe_calibration(evaluation.cross_fitted),
        describe_sureness(evaluation),
    ]
    worse = Section(
        "Worse pictures", describe_robustness(evaluation), tabulate_robustness(evaluation)
    )
    return Report(
        title=f"{bundle.name} on {evaluation.data}",
        facts=[fact for fact in facts if fact],
        command=command,
        day=day,
        heads=evaluation.heads,
        answers=answers,
        shared_where=TRAINING_PART,
        sections=[worse],
        figures=dataclasses.asdict(evaluation),
        images=images,
    )


def write_report(report: Report, folder: Path) -> None:
    """The three files, and the charts as SVG for the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    heads: list[dict[str, Any]] = []
    for head, answers in zip(report.heads, report.answers, strict=True):
        charts = draw_charts(head)
        for name, chart in charts.items():
            replace_text(folder / f"{head.taxonomy}-{name}.svg", chart)
        heads.append(
            {
                "name": head.taxonomy,
                "people": describe_people(head, report.shared_where),
                "numbers": _list_numbers(head),
                "charts": charts,
                "classes": tabulate_classes(head),
                "confusion": tabulate_confusion(head.taxonomy, head.confusion),
                "mistakes": find_worst(answers, WORST),
                "wrong": int((answers.predicted != answers.truth).sum()),
            }
        )
    paths = {mistake.path for head in heads for mistake in head["mistakes"]}
    told = {"report": report, "heads": heads, "version": __version__, "font": FONT}
    pictures = {path: _embed(report.images / path) for path in paths}
    page = ENVIRONMENT.get_template(HTML).render(**told, pictures=pictures)
    replace_text(folder / HTML, page + "\n")
    replace_text(folder / MARKDOWN, ENVIRONMENT.get_template(MARKDOWN).render(**told) + "\n")
    data = json.dumps(describe_data(report), ensure_ascii=False, allow_nan=False)
    replace_text(folder / DATA, data + "\n")


def find_worst(answers: Answers, most: int) -> list[Mistake]:
    """The wrong answers that were given with the highest probability, the highest first."""
    wrong = np.flatnonzero(answers.predicted != answers.truth)
    order = np.argsort(-answers.calibrated[wrong].max(axis=1), kind="stable")
    labels = answers.taxonomy.labels
    return [
        Mistake(
            answers.paths[row],
            labels[answers.truth[row]],
            labels[answers.predicted[row]],
            float(answers.calibrated[row, answers.predicted[row]]),
            float(answers.calibrated[row, answers.truth[row]]),
        )
        for row in wrong[order[:most]].tolist()
    ]


def describe_data(report: Report) -> dict[str, Any]:
    """Everything, so that comparisons can be computed anew: a row per picture and head."""
    return {
        "title": report.title,
        "facts": report.facts,
        "command": report.command,
        "day": report.day.isoformat(),
        "version": __version__,
        "figures": report.figures,
        "predictions": [
            {
                "taxonomy": answers.taxonomy.name,
                "labels": answers.taxonomy.labels,
                "pictures": _list_pictures(answers),
            }
            for answers in report.answers
        ],
    }


def _list_pictures(answers: Answers) -> list[dict[str, Any]]:
    labels = answers.taxonomy.labels
    rows = zip(
        answers.models, answers.paths, answers.persons, answers.truth, answers.predicted,
        answers.calibrated.round(7).tolist(), strict=True,
    )  # fmt: skip
    return [
        {
            "model": model,
            "path": path,
            "person": person,
            "truth": labels[truth],
            "answer": labels[answer],
            "probabilities": probabilities,
        }
        for model, path, person, truth, answer, probabilities in rows
    ]


def _list_numbers(head: HeadFigures) -> list[tuple[str, str, str]]:
    """What it is called, its value, what stands beside it."""
    low, high = head.macro_f1_interval
    return [
        ("accuracy", percent(head.accuracy.value), tell_interval(head.accuracy)),
        ("macro F1", f"{head.macro_f1:.3f}", f"{low:.3f} to {high:.3f}"),
        ("weighted F1", f"{head.weighted_f1:.3f}", ""),
        ("ECE", f"{head.ece_after:.3f}", f"{head.ece_before:.3f} without temperature"),
        ("Brier score", f"{head.brier:.3f}", ""),
        ("with the mirror image", percent(head.accuracy_mirrored.value), "accuracy"),
        ("pictures", f"{head.accuracy.n:,}", ""),
    ]


def _embed(path: Path) -> str:
    """A small copy as a data URL."""
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
