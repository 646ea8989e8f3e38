"""A report of invented answers to drawn faces, one of which has the worst of names."""

import dataclasses
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from kfer.labels import get_taxonomy
from tests.training.synthetic import draw_face
from training.answers import Answers
from training.evaluate import measure_head
from training.report import Report, Section
from training.wording import Table

FER7 = get_taxonomy("fer7")
EVIL = "폴더/<script>alert(1)<\\script> | `a` *b* _c_ [d](e) &amp; $f$.png"
FACES = 120


def build_answers(paths: Sequence[str], seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    truth = rng.integers(7, size=len(paths))
    logits = rng.normal(0, 1, (len(paths), 7)) + 2.0 * np.eye(7)[truth]
    raw = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sharper = raw**2 / (raw**2).sum(axis=1, keepdims=True)
    persons = [f"p{index % 10}" for index in range(len(paths))]
    twins = np.zeros(len(paths), dtype=bool)
    return Answers(FER7, ["m@1"] * len(paths), [*paths], persons, truth, raw, sharper, raw, twins)


def build_report(images: Path) -> Report:
    paths = [f"폴더/{index}.png" for index in range(FACES - 1)] + [EVIL]
    answers = build_answers(paths)
    # The evil one is the surest mistake of all.
    answers.calibrated[-1] = np.eye(7)[0] * 0.999 + 0.001 / 7
    answers.raw[-1], answers.truth[-1] = answers.calibrated[-1], 3
    rng = np.random.default_rng(1)
    for path, truth in zip(paths, answers.truth, strict=True):
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_face(truth, rng)).save(images / path)
    head = measure_head(answers, 0.5)
    return Report(
        title="m on <b>part</b> test of a_b_c.csv",
        facts=["m@1, measured on <i>it</i>."],
        command="python -m training evaluate",
        day=date(2026, 11, 21),
        heads=[head],
        answers=[answers],
        shared_where="the training part",
        sections=[
            Section("Worse pictures", "Lost points.", Table(("", "fer7"), [("fog | <u>", "3")]))
        ],
        figures={"heads": [dataclasses.asdict(head)]},
        images=images,
    )
