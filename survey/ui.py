"""The tabs to take part and to compare, and the public endpoints: all of the survey's gradio.

Each tab is one HTML component that a script in ``static`` brings to life; it calls the routes of
``survey.web`` and ``survey.dashboard_web``, which call the same functions as the endpoints here.
"""

import inspect
import logging
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any
from zlib import crc32

import gradio as gr

from kfer.errors import KferError
from kfer.labels import COLORS
from survey.arguments import check_arguments
from survey.comparison_texts import COMPARISON_TEXTS
from survey.dashboard import Dashboard
from survey.dashboard_web import PLOTLY_PATH
from survey.endpoints import STEPS, Endpoints
from survey.participation import CODE_LENGTH, CODE_LETTERS, MAX_RESPONSE_MS
from survey.texts import BACKGROUND, MEANINGS, TEXTS

STATIC = Path(__file__).parent / "static"
CSS = (STATIC / "survey.css", STATIC / "comparison.css")
SCRIPTS = ("pieces", "result", "survey")  # run in this order
COMPARISON_SCRIPTS = ("pieces", "charts", "comparison")
AT_ONCE = 16

_log = logging.getLogger(__name__)


def build_tab() -> None:
    """Lay out the tab; which study is on, it asks when it is opened."""
    gr.HTML(
        '<div class="kfer-survey"></div>',
        head=_load(SCRIPTS),
        js_on_load="kferMountSurvey(element, props.config)",
        config={
            "texts": TEXTS,
            "colors": COLORS,
            "meanings": MEANINGS,
            "maxResponseMs": MAX_RESPONSE_MS,
            "code": {"letters": CODE_LETTERS, "length": CODE_LENGTH},
            "background": {
                name: [[value, shown] for value, shown in choices.items()]
                for name, choices in BACKGROUND.items()
            },
        },
        apply_default_css=False,
        padding=False,
    )


def build_comparison_tab() -> None:
    """Lay out the tab; it asks for its content when it is first opened."""
    gr.HTML(
        '<div class="kfer-comparison"></div>',
        head=_load(COMPARISON_SCRIPTS),
        js_on_load="kferMountComparison(element, props.config)",
        config={"texts": COMPARISON_TEXTS, "plotly": PLOTLY_PATH},
        apply_default_css=False,
        padding=False,
    )


def _load(scripts: Sequence[str]) -> str:
    # With their checksums, so that no browser goes on with those of an older app.
    return "".join(
        f'<script src="survey/static/{name}.js?{crc32((STATIC / f"{name}.js").read_bytes()):x}">'
        "</script>"
        for name in scripts
    )


def register_api(endpoints: Endpoints, dashboard: Dashboard) -> None:
    """Offer ``/survey_...`` and ``/comparison`` to gradio_client and curl."""
    for step in STEPS:
        _offer(getattr(endpoints, step), f"survey_{step}")
    _offer(dashboard.describe, "comparison")


def _offer(function: Callable[..., dict[str, Any]], name: str) -> None:
    gr.api(_guard(function), api_name=name, concurrency_limit=AT_ONCE, concurrency_id="survey")


def _guard(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Faults of the input are said; those of the program are logged, not shown."""
    names = tuple(inspect.signature(function).parameters)

    @wraps(function)
    def guarded(*arguments: Any) -> dict[str, Any]:
        try:
            given = dict(zip(names, arguments, strict=False))
            return function(**check_arguments(function, given))
        except KferError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            _log.exception("%s failed", function.__name__)
            raise gr.Error("Something went wrong on the server; the fault is logged.") from None

    return guarded
