"""Frozen predictions: what a model says of every survey image, stored once per revision of it."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from PIL import Image as Picture
from sqlalchemy import Engine

from kfer.labels import Taxonomy
from survey import studies
from survey.database import transaction
from survey.records import ModelVersion, StudyRecord

BATCH = 16
# Pictures -> probabilities by canonical label, in the taxonomy asked for.
Predict = Callable[[Sequence[Picture.Image], Taxonomy], Sequence[Mapping[str, float]]]


def freeze(
    engine: Engine,
    predict: Predict,
    model: ModelVersion,
    taxonomy: Taxonomy,
    now: datetime,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
    study: StudyRecord | None = None,
) -> int:
    """Predict every image of the taxonomy, or of a study, that the model has none of; how many.

    Stored batch by batch: what is interrupted goes on where it was.
    """
    with transaction(engine, writes=False) as session:
        missing = studies.list_unpredicted(session, taxonomy.name, model, study)
    for start in progress(range(0, len(missing), BATCH)):
        ids = missing[start : start + BATCH]
        with transaction(engine, writes=False) as session:
            pictures = [_open(studies.find_jpeg(session, image_id)) for image_id in ids]
        answers = predict(pictures, taxonomy)
        with transaction(engine) as session:
            studies.add_predictions(
                session, dict(zip(ids, answers, strict=True)), model, taxonomy.name, now
            )
    return len(missing)


def _open(jpeg: bytes | None) -> Picture.Image:
    return Picture.open(io.BytesIO(jpeg or b"")).convert("RGB")
