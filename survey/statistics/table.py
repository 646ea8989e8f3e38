"""Answers as one table of small integers, participants by images; everything else starts here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kfer.labels import Taxonomy
from survey.records import VISIBILITIES, Candidate, ModelAnswer, title_models

MISSING = -1


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """Main answers of one study: P participants, I images, K labels.

    ``answers`` (P, I) holds label indices, K for "cannot tell" and MISSING where somebody has not
    answered; ``again`` (P, I) likewise what was answered when an image came a second time.
    ``response_ms`` (P, I) is NaN where there is no answer. ``truth`` (I,) holds label indices,
    ``private`` (I,) whether the image's set is private.
    """

    labels: Taxonomy
    participants: tuple[int, ...]
    images: tuple[str, ...]
    truth: NDArray[np.int16]
    private: NDArray[np.bool_]
    answers: NDArray[np.int16]
    response_ms: NDArray[np.float32]
    again: NDArray[np.int16]

    @property
    def cannot_tell(self) -> int:
        return len(self.labels.labels)

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """(P, I)"""
        return np.asarray(self.answers != MISSING)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(P, I); "cannot tell" is wrong, and so is what is missing: see ``answered``."""
        return np.asarray(self.answers == self.truth)

    @cached_property
    def median_ms(self) -> NDArray[np.float64]:
        """(I,) the median response time to each image; NaN without answers."""
        return pd.DataFrame(self.response_ms).median().to_numpy(dtype=np.float64)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(I, K + 1) how many people answered what; the last column is "cannot tell"."""
        width = self.cannot_tell + 1
        # One count over all cells: the missing ones fall into a column that is cut off.
        cells = np.where(self.answered, self.answers, width) + np.arange(len(self.images)) * (
            width + 1
        )
        flat = np.bincount(cells.ravel(), minlength=len(self.images) * (width + 1))
        return flat.reshape(len(self.images), width + 1)[:, :width]

    def select(
        self,
        participants: NDArray[np.bool_] | None = None,
        images: NDArray[np.bool_] | None = None,
    ) -> "AnswerTable":
        """The part of the table where the masks, (P,) and (I,), are true."""
        rows = slice(None) if participants is None else participants
        columns = slice(None) if images is None else images
        return AnswerTable(
            self.labels,
            tuple(np.asarray(self.participants, dtype=np.int64)[rows].tolist()),
            tuple(np.asarray(self.images, dtype=object)[columns].tolist()),
            self.truth[columns],
            self.private[columns],
            self.answers[rows][:, columns],
            self.response_ms[rows][:, columns],
            self.again[rows][:, columns],
        )

    def without_cannot_tell(self) -> "AnswerTable":
        """As if those answers had not been given."""
        told = self.answers != self.cannot_tell
        return replace(
            self,
            answers=np.where(told, self.answers, MISSING),
            response_ms=np.where(told, self.response_ms, np.nan),
            again=np.where(self.again != self.cannot_tell, self.again, MISSING),
        )


@dataclass(frozen=True, eq=False)
class ModelColumn:
    """One model's probabilities (I, K) for the images of a table, in its order.

    ``title`` is how people read its ``name``; ``source`` is the taxonomy the model answers in by
    itself, where that is known.
    """

    name: str
    title: str
    probabilities: NDArray[np.float64]
    source: str | None = None

    @cached_property
    def answers(self) -> NDArray[np.int16]:
        """(I,) the most probable label; of equals the first."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int16)


def build_table(
    answers: pd.DataFrame, images: Sequence[Candidate], labels: Taxonomy
) -> AnswerTable:
    """A table of ``answers``: columns participation_id, image_id, phase, label, response_ms.

    One row per participant, image and phase (main or repeat) at most; images without answers stay
    in the table.
    """
    ordered = sorted(images, key=lambda image: image.id)
    ids = [image.id for image in ordered]
    codes, participants = pd.factorize(answers["participation_id"], sort=True)
    places = pd.Index(ids).get_indexer(pd.Index(answers["image_id"]))
    # What is none of the labels is "cannot tell", the only other answer that is ever stored.
    said = pd.Index(labels.labels).get_indexer(pd.Index(answers["label"])).astype(np.int16)
    said[said == -1] = len(labels.labels)
    main = (answers["phase"] == "main").to_numpy()
    shape = (len(participants), len(ids))
    matrix, again = (np.full(shape, MISSING, dtype=np.int16) for _ in range(2))
    matrix[codes[main], places[main]] = said[main]
    again[codes[~main], places[~main]] = said[~main]
    times = np.full(shape, np.nan, dtype=np.float32)
    times[codes[main], places[main]] = answers["response_ms"].to_numpy()[main]
    index = {label: at for at, label in enumerate(labels.labels)}
    return AnswerTable(
        labels,
        tuple(int(participant) for participant in participants),
        tuple(ids),
        np.array([index[image.label] for image in ordered], dtype=np.int16),
        np.array([image.visibility == VISIBILITIES[1] for image in ordered], dtype=np.bool_),
        matrix,
        times,
        again,
    )


def align_models(table: AnswerTable, answers: Iterable[ModelAnswer]) -> list[ModelColumn]:
    """Every model that has answered all images of the table, by name; the others are left out."""
    said: dict[str, dict[str, Mapping[str, float]]] = {}
    sources: dict[str, str | None] = {}
    for answer in answers:
        said.setdefault(answer.model, {})[answer.image_id] = answer.probabilities
        sources[answer.model] = answer.source
    titles = title_models(said)
    return [
        ModelColumn(
            model,
            titles[model],
            np.array(
                [
                    [by_image[image][label] for label in table.labels.labels]
                    for image in table.images
                ],
                dtype=np.float64,
            ).reshape(len(table.images), len(table.labels.labels)),
            sources[model],
        )
        for model, by_image in sorted(said.items())
        if set(table.images) <= set(by_image)
    ]
