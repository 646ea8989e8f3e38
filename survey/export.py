"""Answers as a table for other programs: one row per response, or per frozen prediction.

The first eight columns are those of model-vs-human (Geirhos et al. 2021), so that its analyses
read them as they are.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from kfer.files import replacing
from survey.errors import StudyError
from survey.records import (
    CANNOT_TELL,
    Candidate,
    FlagRecord,
    ModelAnswer,
    ResponseRecord,
    StudyRecord,
    name_participant,
)

NOT_SAID = "na"  # model-vs-human's word for no answer
SUFFIXES = (".csv", ".parquet")
COLUMNS = {
    "subj": "participant, by a name made up for the export; the same one in every export",
    "session": "always 1: a participation is one session, however often it was interrupted",
    "trial": "place in the participant's order, from 1; practice is counted by itself",
    "rt": "seconds from the image's load to the first answer, as the browser saw them",
    "object_response": f"the answer, by its Korean name; {NOT_SAID}: cannot tell",
    "category": "the true label, by its Korean name",
    "condition": "public or private: the visibility of the image's set",
    "imagename": "the image, by a name that tells nothing",
    "study": "name of the study",
    "version": "version of the study",
    "phase": "main, practice, repeat (a main image again) or attention",
    "block": "block of trials between two rests, from 0",
    "correct": "whether object_response is category; not for cannot tell",
    "first_response": "what was answered before any revision",
    "revisions": "how often the answer was changed",
    "shown_at": "when the image was shown, by the participant's clock (UTC)",
    "answered_at": "when the answer, or its last revision, was stored, by the server's clock (UTC)",
    "device": "key, mouse, touch or pen, of the first answer",
    "blurred": "whether the page was left before the first answer",
    "image_set": "name of the image set",
    "person": "who is on the image, where the set says so",
    "language": "language of the consent that was given: `ko` or `en`",
    "background": "answers to the background questions, as JSON",
    "finished": "whether the participant answered all trials",
    "flags": "doubts about the participation, with semicolons between them",
}


def tabulate_responses(
    study: StudyRecord,
    responses: Iterable[ResponseRecord],
    flags: Mapping[int, Sequence[FlagRecord]],
) -> pd.DataFrame:
    """The columns of ``COLUMNS``; a row per response, in the given order."""
    rows = [
        {
            "subj": name_participant(response.participant_id),
            "session": 1,
            "trial": response.position,
            "rt": response.response_ms / 1000,
            "object_response": _name_answer(response.label),
            "category": response.truth,
            "condition": response.visibility,
            "imagename": name_image(response.image_id),
            "study": study.name,
            "version": study.version,
            "phase": response.phase,
            "block": response.block,
            "correct": response.correct,
            "first_response": _name_answer(response.first_label),
            "revisions": response.revisions,
            "shown_at": response.shown_at,
            "answered_at": response.answered_at,
            "device": response.device,
            "blurred": response.blurred,
            "image_set": response.image_set,
            "person": response.image_person,
            "language": response.language,
            "background": _mend(
                json.dumps(response.background, ensure_ascii=False, sort_keys=True)
            ),
            "finished": response.finished,
            "flags": ";".join(flag.rule for flag in flags.get(response.participation_id, ())),
        }
        for response in responses
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for column in ("shown_at", "answered_at"):
        table[column] = pd.to_datetime(table[column], utc=True)
    return table


def _mend(text: str) -> str:
    """Half a character, which an older version took for an answer, would stop the whole export."""
    return text.encode("utf-8", "replace").decode()


def tabulate_predictions(
    study: StudyRecord, answers: Sequence[ModelAnswer], images: Iterable[Candidate]
) -> pd.DataFrame:
    """A row per model and main image: model-vs-human's columns, and the probabilities.

    ``subj`` is the model's name and revision; ``rt`` is empty.
    """
    by_id = {image.id: image for image in images}
    trials: dict[str, int] = {}
    rows = []
    for answer in answers:
        image = by_id[answer.image_id]
        trials[answer.model] = trials.get(answer.model, 0) + 1
        rows.append(
            {
                "subj": answer.model,
                "session": 1,
                "trial": trials[answer.model],
                "rt": None,
                "object_response": answer.label,
                "category": image.label,
                "condition": image.visibility,
                "imagename": name_image(image.id),
                **{f"p_{label}": answer.probabilities[label] for label in _get_labels(study)},
            }
        )
    columns = [*list(COLUMNS)[:8], *(f"p_{label}" for label in _get_labels(study))]
    return pd.DataFrame(rows, columns=columns).astype({"rt": "float64"})


def encode_table(table: pd.DataFrame, suffix: str) -> bytes:
    """As a CSV or Parquet file.

    CSV opens in a spreadsheet: UTF-8 with its mark, and no cell that would be a formula.
    Raises StudyError for another kind of file.
    """
    if suffix not in SUFFIXES:
        raise StudyError(f"Unknown kind of file {suffix!r}; allowed are {' and '.join(SUFFIXES)}.")
    file = io.BytesIO()
    if suffix == ".csv":
        texts = table.select_dtypes(["object", "str"]).columns
        safe = table.assign(**{name: table[name].map(disarm) for name in texts})
        # RFC 4180's line ends: only what holds a character of them is put in quotes.
        safe.to_csv(file, index=False, encoding="utf-8-sig", lineterminator="\r\n")
    else:
        table.to_parquet(file, index=False)
    return file.getvalue()


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Raises StudyError where that cannot be done."""
    check_suffix(path)
    save_file(encode_table(table, path.suffix), path)


def save_file(data: bytes, path: Path) -> None:
    """Written beside, then put in its place. Raises StudyError where that cannot be done."""
    try:
        with replacing(path) as target:
            target.write_bytes(data)
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error.strerror}).") from None


def check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise StudyError(f"{path}: unknown kind of file; allowed are {' and '.join(SUFFIXES)}.")


def disarm(cell: object) -> object:
    """A text that a spreadsheet would run gets an apostrophe in front (OWASP, CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r\n")) else cell


def name_image(image_id: str) -> str:
    """With a letter in front: random ids may begin with a minus, which spreadsheets calculate."""
    return f"i{image_id}"


def read_image_name(name: str) -> str:
    """The id of the image that ``name_image`` named so."""
    return name[1:]


def _name_answer(label: str) -> str:
    return NOT_SAID if label == CANNOT_TELL else label


def _get_labels(study: StudyRecord) -> tuple[str, ...]:
    return study.definition.labels.labels
