"""What ``/comparison`` and its tab show of a study: computed once for all who look at it."""

import hmac
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Picture
from sqlalchemy import Engine

from survey import store, studies
from survey.charts.board import Chapter, draw_board
from survey.charts.look import Chart, Words
from survey.charts.people import say_headline
from survey.charts.references import plot_references
from survey.charts.tables import explain_raters, tabulate_images, tabulate_raters
from survey.comparison import (
    Comparison,
    StudyData,
    build_filters,
    compare_study,
    read_study,
)
from survey.database import transaction
from survey.errors import StudyError, TokenError
from survey.export import (
    encode_table,
    name_image,
    read_image_name,
    tabulate_responses,
)
from survey.records import StudyRecord, name_participant, pair_texts, title_models
from survey.shared_results import SharedResults
from survey.statistics.describe import describe_summary
from survey.statistics.quality import RULES

STUDIES_KEPT = 4
COMPARISONS_KEPT = 64
SHORTEST_TOKEN = 16
THUMBNAIL = 96  # px


class Dashboard:
    """Comparisons of the studies in one database.

    Studies are read again when something changed in them, and no comparison is computed twice.
    """

    def __init__(self, engine: Engine, admin_token: str | None = None) -> None:
        """Raises StudyError for a token that could be guessed, or that no header can carry."""
        if admin_token is not None and len(admin_token) < SHORTEST_TOKEN:
            raise StudyError(
                f"KFER_ADMIN_TOKEN must have at least {SHORTEST_TOKEN} characters, but has "
                f"{len(admin_token)}; make one with: openssl rand -hex 16"
            )
        if admin_token is not None and not (admin_token.isascii() and admin_token.isprintable()):
            raise StudyError(
                "KFER_ADMIN_TOKEN must be of ASCII letters, digits and signs; make one with: "
                "openssl rand -hex 16"
            )
        self._engine = engine
        self._admin_token = admin_token
        self._studies: SharedResults[StudyData] = SharedResults(STUDIES_KEPT)
        self._comparisons: SharedResults[Comparison] = SharedResults(COMPARISONS_KEPT)
        self._pages: SharedResults[dict[str, Any]] = SharedResults(COMPARISONS_KEPT)

    def may_see_all(self, token: str | None) -> bool:
        if not token or self._admin_token is None:
            return False
        return hmac.compare_digest(token.encode(), self._admin_token.encode())

    def list_studies(self) -> list[dict[str, Any]]:
        """The newest version of every study; those of researchers before the demo."""
        with transaction(self._engine, writes=False) as session:
            newest = {study.name: study for study in studies.list_studies(session)}
        ordered = sorted(newest.values(), key=lambda study: (study.definition.demo, -study.id))
        return [_describe_study(study) for study in ordered]

    def describe(self, study: str, filters: dict[str, Any] | None = None) -> dict[str, Any]:
        """How people and models did on a study, as far as it tells about no single person.

        All figures are {"value", "low", "high", "n", "undefined"}.
        """
        _, _, comparison = self._compare(study, filters, may_see_all=False)
        summary = comparison.summary
        none: dict[str, Any] = {"images": None, "people": None, "models": {}}
        return {
            "study": _describe_study(comparison.study),
            **_describe_counts(comparison),
            "headline": summary and say_headline(summary, Words("en")),
            **(none if summary is None else describe_summary(summary)),
        }

    def show(
        self,
        study: str,
        filters: Mapping[str, Any] | None = None,
        language: str = "ko",
        token: str | None = None,
    ) -> dict[str, Any]:
        """The tab's content in one language. Raises TokenError for a token that is wrong."""
        admin = self._check(token)
        key, data, comparison = self._compare(study, filters, may_see_all=admin)
        words = Words("en" if language == "en" else "ko")
        page = self._pages.get(
            (key, words), lambda: _build_page(data, comparison, words, admin=admin)
        )
        with transaction(self._engine, writes=False) as session:
            showable = studies.list_showable(session, data.study, while_open=admin)
        return {**page, "thumbnails": sorted(name_image(image) for image in showable)}

    def draw_thumbnail(self, study: str, image: str, token: str | None = None) -> bytes:
        """A small JPEG of an image by its exported name. Raises StudyError, TokenError."""
        admin = self._check(token)
        with transaction(self._engine, writes=False) as session:
            record = studies.get_study(session, study)
            showable = studies.list_showable(session, record, while_open=admin)
            image_id = read_image_name(image)
            jpeg = studies.find_jpeg(session, image_id) if image_id in showable else None
        if jpeg is None:
            raise StudyError(
                "This image is not shown here.", "여기서는 보여 드리지 않는 이미지예요."
            )
        file = io.BytesIO()
        with Picture.open(io.BytesIO(jpeg)) as picture:
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            picture.save(file, "JPEG", quality=80)
        return file.getvalue()

    def export(self, study: str, suffix: str, token: str | None) -> bytes:
        """Every response as a row, practice included. Raises StudyError, TokenError."""
        if not self._check(token):
            raise TokenError("The export needs the admin token.", "관리자 토큰이 필요해요.")
        with transaction(self._engine, writes=False) as session:
            record = studies.get_study(session, study)
            responses = store.list_responses(session, record)
            flags = store.list_flags(session, record)
        return encode_table(tabulate_responses(record, responses, flags), suffix)

    def _check(self, token: str | None) -> bool:
        """Whether all may be seen. A wrong token is none."""
        admin = self.may_see_all(token)
        if token and not admin:
            raise TokenError("This is not the admin token.", "관리자 토큰이 아니에요.")
        return admin

    def _read(self, study: str) -> tuple[tuple[Any, ...], StudyData]:
        with transaction(self._engine, writes=False) as session:
            record = studies.get_study(session, study)
            key = (record.id, store.stamp_study(session, record))
        return key, self._studies.get(
            key, lambda: read_study(self._engine, record.name, record.version)
        )

    def _compare(
        self, study: str, settings: Mapping[str, Any] | None, *, may_see_all: bool
    ) -> tuple[tuple[Any, ...], StudyData, Comparison]:
        stamp, data = self._read(study)
        filters = build_filters(settings, data)
        key = (stamp, filters, may_see_all)
        comparison = self._comparisons.get(
            key, lambda: compare_study(data, filters, may_see_all=may_see_all)
        )
        return key, data, comparison


def _describe_study(study: StudyRecord) -> dict[str, Any]:
    return {
        "name": study.name,
        "version": study.version,
        "title": pair_texts(study.definition.title),
        "demo": study.definition.demo,
        "closed": study.closed_at is not None,
    }


def _describe_counts(comparison: Comparison) -> dict[str, Any]:
    return {
        "n": comparison.people,
        "finished": comparison.finished,
        "unfinished": comparison.unfinished,
        "flagged": comparison.flagged,
        "outside": comparison.outside,
        "withheld": comparison.withheld,
    }


def _build_page(
    data: StudyData, comparison: Comparison, words: Words, *, admin: bool
) -> dict[str, Any]:
    labels = data.study.definition.labels
    page: dict[str, Any] = {
        "study": _describe_study(data.study),
        "counts": _describe_counts(comparison),
        "withheld": comparison.withheld and comparison.withheld.name,
        "choices": {
            "labels": dict(zip(labels.labels, words.name_labels(labels), strict=True)),
            "models": title_models(data.model_names),
            "rules": count_flagged(data) if admin else dict.fromkeys(RULES),
        },
        "admin": admin,
    }
    if comparison.summary is None:
        return {**page, "references": _describe_chart(plot_references(words))}
    summary = comparison.summary
    raters = tabulate_raters(summary, words)
    images = tabulate_images(summary, words)
    images["image"] = [name_image(image) for image in images["image"]]
    return {
        **page,
        "headline": say_headline(summary, words),
        "models": {model.name: model.title for model in summary.models},
        "raters": {
            "caption": explain_raters(summary, words),
            "columns": list(raters.columns),
            "rows": raters.to_numpy().tolist(),
            "csv": write_csv(raters),
        },
        "chapters": [
            _describe_chapter(chapter) for chapter in draw_board(summary, comparison.days, words)
        ],
        "images": {"rows": to_records(images), "csv": write_csv(images)},
        "participants": to_records(list_people(data)) if admin else None,
    }


def count_flagged(data: StudyData) -> dict[str, int]:
    """By rule, how many of those who finished it doubts."""
    return {rule: sum(data.mark_flagged(rule)) for rule in RULES}


def list_people(data: StudyData) -> pd.DataFrame:
    """Everybody who finished, a row each, named as in the export; for the researcher alone."""
    table = data.table
    seen = np.maximum(table.answered.sum(axis=1), 1)
    return pd.DataFrame(
        {
            "subj": [
                name_participant(data.people[each].participant_id) for each in table.participants
            ],
            "answers": table.answered.sum(axis=1),
            "right": table.correct.sum(axis=1) / seen,
            "median_seconds": np.nanmedian(table.response_ms, axis=1) / 1000,
            "day": [day.isoformat() for day in data.days],
            "flags": [
                [asdict(flag) for flag in data.flags.get(each, ())] for each in table.participants
            ],
        }
    )


def _describe_chapter(chapter: Chapter) -> dict[str, Any]:
    return {
        "key": chapter.key,
        "title": chapter.title,
        "charts": [_describe_chart(chart) for chart in chapter.charts],
    }


def _describe_chart(chart: Chart) -> dict[str, Any]:
    return {
        "key": chart.key,
        "title": chart.title,
        "caption": chart.caption,
        "figure": json.loads(chart.figure.to_json()),
        "csv": write_csv(chart.numbers),
    }


def write_csv(table: pd.DataFrame) -> str:
    return encode_table(table, ".csv").decode("utf-8-sig")


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects; what is undefined is null."""
    records: list[dict[str, Any]] = json.loads(table.to_json(orient="records", force_ascii=False))
    return records
