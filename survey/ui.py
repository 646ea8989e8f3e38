"""The tab to take part in, and the public endpoints: the survey's one module that knows gradio.

The tab is one HTML component that ``static/survey.js`` brings to life; it calls the routes of
``survey.web``, which call the same functions as the endpoints here.
"""

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from kfer.errors import KferError
from kfer.labels import COLORS
from survey.endpoints import Endpoints
from survey.texts import BACKGROUND, MEANINGS, TEXTS

CSS = Path(__file__).parent / "static" / "survey.css"
SCRIPTS = ("pieces", "result", "survey")  # run in this order
AT_ONCE = 16

_log = logging.getLogger(__name__)


def build_tab() -> None:
    """Lay out the tab; which study is on, it asks when it is opened."""
    gr.HTML(
        '<div class="kfer-survey"></div>',
        head="".join(f'<script src="survey/static/{name}.js"></script>' for name in SCRIPTS),
        js_on_load="kferMountSurvey(element, props.config)",
        config={
            "texts": TEXTS,
            "colors": COLORS,
            "meanings": MEANINGS,
            "background": {
                name: [[value, shown] for value, shown in choices.items()]
                for name, choices in BACKGROUND.items()
            },
        },
        apply_default_css=False,
        padding=False,
    )


def register_api(endpoints: Endpoints) -> None:
    """Offer ``/survey_...`` to gradio_client and curl."""

    def survey_start(
        study: str, consent: bool, language: str, background: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Take part in a study: the code that leads back, and the first trial."""
        return endpoints.start(study, consent, language, background)

    def survey_answer(
        code: str,
        trial_id: str,
        label: str,
        response_ms: float,
        client: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Answer the current trial, or revise the last answer; the next trial or the result."""
        return endpoints.answer(code, trial_id, label, response_ms, client)

    def survey_back(code: str) -> dict[str, Any]:
        """Open the last answered trial again."""
        return endpoints.back(code)

    def survey_resume(code: str) -> dict[str, Any]:
        """The current trial, with fresh image links."""
        return endpoints.resume(code)

    def survey_result(code: str) -> dict[str, Any]:
        """The score, and those of models and people on the same images."""
        return endpoints.result(code)

    def survey_withdraw(code: str) -> dict[str, Any]:
        """Delete everything of this person."""
        return endpoints.withdraw(code)

    for function in (
        survey_start,
        survey_answer,
        survey_back,
        survey_resume,
        survey_result,
        survey_withdraw,
    ):
        gr.api(
            _guard(function),
            api_name=function.__name__,
            concurrency_limit=AT_ONCE,
            concurrency_id="survey",
        )


def _guard(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Faults of the input are said; those of the program are logged, not shown."""

    @wraps(function)
    def guarded(*arguments: Any) -> dict[str, Any]:
        try:
            return function(*arguments)
        except KferError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            _log.exception("%s failed", function.__name__)
            raise gr.Error("Something went wrong on the server; the fault is logged.") from None

    return guarded
