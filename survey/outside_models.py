"""Models that KFER cannot load: a study's images go out, predictions come in as a CSV.

The CSV is that of ``export --predictions``: ``imagename``, and a column ``p_LABEL``
for each label of some taxonomy, in Korean or in English.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from kfer.errors import TaxonomyError
from kfer.labels import TAXONOMIES, Taxonomy, get_mapping
from survey import studies
from survey.database import transaction
from survey.errors import StudyError
from survey.export import name_image, read_image_name, save_table
from survey.records import ModelVersion, StudyRecord

NAME = "imagename"
MARK = "p_"
TOLERANCE = 0.01  # of a sum of probabilities, which may have been rounded


def read_predictions(
    path: Path, name: str | None, taxonomy: Taxonomy, images: Sequence[str]
) -> tuple[ModelVersion, dict[str, dict[str, float]]]:
    """Probabilities in ``taxonomy`` by image id; the revision is the file's hash.

    Raises StudyError, which names the row, for anything but one distribution for each image.
    """
    try:
        data = path.read_bytes()
        table = pd.read_csv(path, dtype={NAME: "str"}, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise StudyError(f"{path}: cannot be read as CSV ({error}).") from None
    source, columns = _find_columns(path, table)
    try:
        mapping = get_mapping(source, taxonomy)
    except TaxonomyError as error:
        raise StudyError(f"{path}: {error}") from None
    _check_names(path, table, images)
    shares = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    _check_shares(path, table, shares)
    shares = shares / shares.sum(axis=1, keepdims=True)
    answers = {
        read_image_name(image): dict(zip(taxonomy.labels, mapping.apply(row.tolist()), strict=True))
        for image, row in zip(table[NAME], shares, strict=True)
    }
    revision = hashlib.sha256(data).hexdigest()[:12]
    return ModelVersion(name or path.stem, revision, source.name), answers


def hand_out(engine: Engine, study: StudyRecord, folder: Path) -> int:
    """Write a study's main images and a CSV to fill in; how many.

    Raises StudyError where the folder exists or cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StudyError(f"{folder}: cannot be made ({error.strerror}).") from None
    with transaction(engine, writes=False) as session:
        images = [each.id for each in studies.list_study_images(session, study, "main")]
        for image in images:
            jpeg = studies.find_jpeg(session, image)
            (folder / f"{name_image(image)}.jpg").write_bytes(jpeg or b"")
    columns = {f"{MARK}{label}": "" for label in study.definition.labels.labels}
    table = pd.DataFrame({NAME: [name_image(image) for image in images], **columns})
    save_table(table, folder / "predictions.csv")
    return len(images)


def freeze_file(
    engine: Engine, path: Path, name: str | None, study: StudyRecord, now: datetime
) -> tuple[ModelVersion, int]:
    """Keep the file's predictions, all or none; whose they are, and how many were new.

    Raises StudyError; see ``read_predictions``.
    """
    labels = study.definition.labels
    with transaction(engine) as session:
        images = [each.id for each in studies.list_study_images(session, study, "main")]
        version, answers = read_predictions(path, name, labels, images)
        return version, studies.add_predictions(session, answers, version, labels.name, now)


def _find_columns(path: Path, table: pd.DataFrame) -> tuple[Taxonomy, list[str]]:
    """The taxonomy that the file answers in, and its columns in the taxonomy's order."""
    given = {column for column in table.columns if column.startswith(MARK)}
    for taxonomy in TAXONOMIES.values():
        for labels in (taxonomy.labels, taxonomy.english):
            columns = [f"{MARK}{label}" for label in labels]
            if given == set(columns):
                return taxonomy, columns
    listed = ", ".join(sorted(given)) or "no column of that kind"
    raise StudyError(
        f"{path}: needs {NAME} and a column {MARK}LABEL for every label of one taxonomy, but has "
        f"{listed}. Taxonomies: {', '.join(TAXONOMIES)}; the command images writes one to fill in."
    )


def _check_names(path: Path, table: pd.DataFrame, images: Sequence[str]) -> None:
    if NAME not in table.columns:
        raise StudyError(f"{path}: has no column {NAME}.")
    known = {name_image(image) for image in images}
    names = table[NAME].tolist()
    for row, image in enumerate(names, start=2):
        if image not in known:
            raise StudyError(f"{path}, line {row}: {image!r} is no main image of this study.")
    repeated = table[NAME][table[NAME].duplicated()]
    if len(repeated):
        raise StudyError(f"{path}, line {repeated.index[0] + 2}: {repeated.iloc[0]!r} again.")
    missing = sorted(known - set(names))
    if missing:
        raise StudyError(
            f"{path}: {len(missing)} of {len(known)} images are missing, {missing[0]!r} first; a "
            "model is compared on all of them."
        )


def _check_shares(path: Path, table: pd.DataFrame, shares: np.ndarray) -> None:
    inside = ((shares >= 0) & (shares <= 1)).all(axis=1)  # what is no number is not
    wrong = ~inside | (np.abs(shares.sum(axis=1) - 1) > TOLERANCE)
    if wrong.any():
        row = int(wrong.argmax())
        raise StudyError(
            f"{path}, line {row + 2} ({table[NAME].iloc[row]}): probabilities must be from 0 to 1 "
            f"and sum to 1, but are {', '.join(f'{share:g}' for share in shares[row])}."
        )
