"""One person's result: their score beside the models' and everybody's on the same images. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from survey.records import (
    ENOUGH_PEOPLE,
    VISIBILITIES,
    ModelAnswer,
    ResponseRecord,
    StudyDefinition,
    title_models,
)


@dataclass(frozen=True)
class Part:
    """Right answers of one person, and of each model, to the images of one kind."""

    score: int
    total: int
    models: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return {"score": self.score, "total": self.total, "models": self.models}


@dataclass(frozen=True)
class Result:
    """``below`` and ``equal``: how many of the others, in percent, did worse or just as well.

    They and ``mean`` are None with too few others, and ``people`` is, too, in a study that does not
    tell before it is closed. ``titles``: how people read a model's name.
    """

    whole: Part
    people: int | None
    mean: float | None
    below: float | None
    equal: float | None
    by_label: dict[str, Part]
    by_visibility: dict[str, Part]
    titles: dict[str, str]
    completion: str

    def to_json(self) -> dict[str, Any]:
        return {
            **self.whole.to_json(),
            "people": self.people
            and {
                "n": self.people,
                "mean": self.mean,
                "below": self.below,
                "equal": self.equal,
            },
            "by_label": {name: part.to_json() for name, part in self.by_label.items()},
            "by_visibility": {name: part.to_json() for name, part in self.by_visibility.items()},
            "titles": self.titles,
            "completion": self.completion,
        }


def build_result(
    definition: StudyDefinition,
    answers: Sequence[ResponseRecord],
    model_answers: Iterable[ModelAnswer],
    scores: Sequence[int],
    *,
    closed: bool = False,
) -> Result:
    """``answers`` are those to main trials.

    ``scores`` are those of everybody who finished, this person's among them; ``closed`` the study.

    A model counts where it has answered every one of the images.
    """
    said: dict[str, dict[str, str]] = {}
    for answer in model_answers:
        said.setdefault(answer.model, {})[answer.image_id] = answer.label
    whole = {image.image_id for image in answers}
    complete = {model: labels for model, labels in said.items() if whole <= set(labels)}

    def build_part(part: Sequence[ResponseRecord]) -> Part:
        return Part(
            score=sum(answer.correct for answer in part),
            total=len(part),
            models={
                model: sum(labels[answer.image_id] == answer.truth for answer in part)
                for model, labels in complete.items()
            },
        )

    own = build_part(answers)
    below = sum(score < own.score for score in scores)
    equal = sum(score == own.score for score in scores) - 1
    others = len(scores) - 1
    shown = definition.shown_while_open or closed
    enough = shown and others >= ENOUGH_PEOPLE  # one's own is known: the mean would tell theirs
    return Result(
        whole=own,
        people=len(scores) if shown else None,
        mean=sum(scores) / len(scores) if enough else None,
        below=100 * below / others if enough else None,
        equal=100 * equal / others if enough else None,
        by_label={
            label: build_part([answer for answer in answers if answer.truth == label])
            for label in definition.labels.labels
        },
        by_visibility={
            visibility: build_part(
                [answer for answer in answers if answer.visibility == visibility]
            )
            for visibility in VISIBILITIES
        },
        titles=title_models(complete),
        completion=definition.completion,
    )
