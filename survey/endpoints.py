"""The survey's named endpoints as plain functions: JSON in, JSON out. The page calls the same."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from survey import participation, studies
from survey.arguments import is_text
from survey.database import transaction
from survey.errors import ParticipationError
from survey.links import Signer
from survey.participation import Step, build_response, write_code
from survey.records import ParticipationRecord, StudyRecord, TrialRecord, pair_texts
from survey.texts import name_options

STEPS = ("start", "answer", "back", "resume", "result", "withdraw")  # of ``Endpoints``
MAX_BACKGROUND = 20  # questions
MAX_TEXT = 200  # characters of an answer to one


class Endpoints:
    """What ``/survey_...`` do, on one database. ``tell_time`` gives the present in UTC."""

    def __init__(self, engine: Engine, signer: Signer, tell_time: Callable[[], datetime]) -> None:
        self._engine = engine
        self._signer = signer
        self._tell_time = tell_time

    def study(self, name: str | None = None) -> dict[str, Any]:
        """What the page says before somebody starts: the named study, or the one that is on.

        A named one may be closed: whoever took part still has a result, and can withdraw.
        """
        with transaction(self._engine, writes=False) as session:
            if name:
                study = participation.get_named_study(session, name)
            else:
                study = studies.get_current_study(session)
        return describe_study(study)

    def start(
        self,
        study: str,
        consent: bool,
        language: str,
        background: dict[str, Any] | None = None,
        version: int | None = None,
        code: str | None = None,
    ) -> dict[str, Any]:
        """Take part in a study: the code that leads back, and the first trial.

        ``version`` and ``code``: see ``participation.start``.
        """
        answers = check_background(background)
        code, step = participation.start(
            self._engine, study, consent, language, answers, self._tell_time(), version, code
        )
        return {"code": code, **self._describe(step)}

    def answer(
        self,
        code: str,
        trial_id: str,
        label: str,
        response_ms: float,
        client: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Answer the current trial, or revise the last answer; the next trial comes back."""
        if client is not None and not isinstance(client, Mapping):
            raise ParticipationError("client must be an object, or be left out.")
        response = build_response(label, response_ms, client or {}, self._tell_time())
        step = participation.answer(self._engine, code, trial_id, response)
        described = self._describe(step)
        if step.answered is not None and step.answered.phase == "practice":
            truth = step.answered.truth
            described["feedback"] = {"correct": label == truth, "label": truth}
        if step.trial is None:
            described["result"] = self.result(code)
        return described

    def back(self, code: str) -> dict[str, Any]:
        """Open the last answered trial again."""
        return self._describe(participation.back(self._engine, code))

    def resume(self, code: str) -> dict[str, Any]:
        """The current trial, on whatever device, with fresh image links.

        And the study that the code is of, which need not be the one that the page has open.
        """
        step = participation.resume(self._engine, code, self._tell_time())
        return {
            **self._describe(step),
            "code": write_code(code),
            "last_seen_at": step.participation.last_seen_at.isoformat(),
            "study": describe_study(step.participation.study),
        }

    def result(self, code: str) -> dict[str, Any]:
        """The score, and those of models and people on the same images."""
        return participation.get_result(self._engine, code).to_json()

    def withdraw(self, code: str) -> dict[str, Any]:
        """Delete everything of this person."""
        return {"deleted": participation.withdraw(self._engine, code)}

    def _describe(self, step: Step) -> dict[str, Any]:
        trial = step.trial and self._describe_trial(step.participation, step.trial, step.upcoming)
        described: dict[str, Any] = {"trial": trial}
        if step.note:
            described["note"] = step.note
        return described

    def _describe_trial(
        self, taking_part: ParticipationRecord, trial: TrialRecord, upcoming: TrialRecord | None
    ) -> dict[str, Any]:
        definition = taking_part.study.definition
        practice = trial.phase == "practice"
        before = 0 if practice else taking_part.practice
        return {
            "id": trial.id,
            "phase": "practice" if practice else "main",  # what is hidden stays hidden
            "position": trial.position - before + 1,
            "total": taking_part.practice if practice else taking_part.total - before,
            "block": trial.block,
            "image_url": self._signer.build_link(trial.id),
            "next_image_url": upcoming and self._signer.build_link(upcoming.id),
            "options": list(definition.options),
            "labels": name_options(definition.labels, taking_part.language),
            "answer": trial.answer,
        }


def describe_study(study: StudyRecord) -> dict[str, Any]:
    """What the page says of it, and calls its answers."""
    definition = study.definition
    shown = [name_options(definition.labels, language) for language in ("ko", "en")]
    return {
        "name": study.name,
        "version": study.version,
        "title": pair_texts(definition.title),
        "consent": pair_texts(definition.consent),
        "languages": list(definition.languages),
        "demo": definition.demo,
        "closed": study.closed_at is not None,
        "labels": {label: [names[label] for names in shown] for label in definition.options},
    }


def check_background(background: Any) -> dict[str, str]:
    """Raises ParticipationError for anything but a few short texts."""
    if background is None:
        return {}
    if not isinstance(background, Mapping) or len(background) > MAX_BACKGROUND:
        raise ParticipationError(f"background must be an object of at most {MAX_BACKGROUND} texts.")
    for name, text in background.items():
        if not (is_text(name) and is_text(text)) or len(name + text) > MAX_TEXT:
            raise ParticipationError(
                f"background: every answer must be a text of at most {MAX_TEXT} characters."
            )
    return dict(background)
