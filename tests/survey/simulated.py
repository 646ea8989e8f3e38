"""People of planted accuracy who take part in a study, answer by answer, as the page would."""

import random
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Engine

from survey import participation
from survey.participation import build_response
from tests.survey.conftest import NOW


def simulate(engine: Engine, study: str, accuracies: Sequence[float], seed: int = 0) -> list[int]:
    """How many of the main images each of them got right, in turn."""
    rng = random.Random(seed)
    scores = []
    for index, accuracy in enumerate(accuracies):
        now = NOW + timedelta(days=index // 6)
        code, step = participation.start(engine, study, True, "ko", {}, now)
        score = 0
        while step.trial is not None:
            trial, options = step.trial, step.participation.study.definition.options
            wrong = [option for option in options if option != trial.truth]
            hardness = random.Random(trial.image_id).uniform(-0.25, 0.25)
            hit = rng.random() < accuracy - hardness
            label = trial.truth if hit else rng.choice(wrong)
            score += hit and trial.phase == "main"
            spent = int(1000 * rng.lognormvariate(0.3 if hit else 0.6, 0.5))
            response = build_response(label, spent, {"device": "mouse"}, now)
            step = participation.answer(engine, code, trial.id, response)
        scores.append(score)
    return scores
