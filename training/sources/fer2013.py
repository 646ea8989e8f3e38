"""FER2013 in the Kaggle folder layout, with FER+ votes -> one manifest.

``part`` is FER2013's own division, train or validation (PublicTest), and ``label`` its label; the
votes are those of FER+'s raters, who may also say ``vote_unknown`` and ``vote_NF`` (no face).
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from kfer.faces import CropSpec
from training.errors import DataError
from training.files import UNREADABLE, read_csv
from training.manifest import TRAIN, TWIN, VALIDATION, VOTE
from training.votes import FERPLUS_COLUMNS, NO_EMOTION_COLUMNS

FOLDERS = {
    "angry": "분노",
    "disgust": "혐오",
    "fear": "공포",
    "happy": "기쁨",
    "sad": "슬픔",
    "surprise": "놀람",
    "neutral": "중립",
}
# FER2013's pictures are all that is known of its crop. MTCNN's box on 350 of them, enlarged, has a
# median height of 50.5 of their 48 px and sits at their centre: hence the negative margin.
CROP = CropSpec(margin=-0.05, size=48, grey=True, align=True)
FER2013 = "FER2013 training part with FER+ votes"  # as bundles call it that learned from it
FINAL_TEST = "PrivateTest_"  # how its files' names begin
PARTS = {"train": TRAIN, "test": VALIDATION}
VOTE_COLUMNS = [*FERPLUS_COLUMNS, *NO_EMOTION_COLUMNS]


def read_fer2013(
    data: Path, votes: Path, exclude: Path | None, flag: str = "--data"
) -> pd.DataFrame:
    """The manifest of FER2013 plus FER+; ``flag`` is the one that named the folder.

    Left out, unseen: pictures of the final test (PrivateTest), which the common download keeps in
    the same folder as PublicTest. Left out too: training pictures named in ``exclude``, training
    pictures that stand in validation, surplus pixel-identical copies, and groups of copies whose
    labels contradict each other.
    Validation keeps every picture, as the field counts them.

    Raises:
        DataError: a folder is missing or empty, a picture cannot be read, or a file names pictures
            that are not in the folder.
    """
    manifest = _list_pictures(data, flag)
    known = {*manifest.index, *_list_final_test(data)}
    manifest = manifest.join(_read_votes(votes, known), how="left")
    if manifest[VOTE_COLUMNS].isna().any(axis=None):
        first = manifest.index[manifest[VOTE_COLUMNS].isna().any(axis=1)][0]
        raise DataError(f"--votes {votes}: no votes for {first}; every picture needs a row.")
    manifest[VOTE_COLUMNS] = manifest[VOTE_COLUMNS].astype("int64")
    excluded = _read_exclusions(exclude, known) if exclude else {}
    manifest[TWIN] = manifest.index.isin(
        [path for path, twin in excluded.items() if twin not in ("", "PublicTest")]
    )
    manifest["margin"], manifest["align"] = CROP.margin, CROP.align
    names = {column: VOTE + FERPLUS_COLUMNS.get(column, column) for column in VOTE_COLUMNS}
    used = _drop_copies(manifest, set(excluded))
    return used.rename(columns=names).reset_index(names="path")


def _list_pictures(data: Path, flag: str) -> pd.DataFrame:
    rows = []
    for folder, part in PARTS.items():
        for name, label in FOLDERS.items():
            pictures = (data / folder / name).glob("*.jpg")
            files = sorted(file for file in pictures if not file.name.startswith(FINAL_TEST))
            if not files:
                raise DataError(
                    f"{flag} {data}: no .jpg pictures in {folder}/{name}; expected FER2013 in the "
                    f"Kaggle layout: {', '.join(PARTS)}, each with {', '.join(FOLDERS)}."
                )
            for file in files:
                digest = hashlib.sha256(_read_pixels(file).tobytes()).hexdigest()
                path = file.relative_to(data).as_posix()
                rows.append({"path": path, "part": part, "label": label, "pixels": digest})
    return pd.DataFrame(rows).set_index("path")


def _list_final_test(data: Path) -> list[str]:
    return [file.relative_to(data).as_posix() for file in data.glob(f"*/*/{FINAL_TEST}*.jpg")]


def _read_pixels(file: Path) -> np.ndarray:
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("L"))
    except UNREADABLE as error:
        raise DataError(f"{file}: cannot be read as a picture ({error}).") from None
    if pixels.shape != (48, 48):
        height, width = pixels.shape
        raise DataError(f"{file}: is {width}x{height} px; FER2013 pictures are 48x48.")
    return pixels


def _read_table(file: Path, flag: str, columns: list[str]) -> pd.DataFrame:
    table = read_csv(file, flag)
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(f"{flag} {file}: missing column {', '.join(missing)}.")
    return table


def _reject_unknown(table: pd.DataFrame, flag: str, file: Path, known: set[str]) -> None:
    unknown = [name for name in table["file"] if name not in known]
    if unknown:
        raise DataError(
            f"{flag} {file}: names {len(unknown)} pictures that are not in the data set's folder, "
            f"the first is {unknown[0]}."
        )


def _read_votes(file: Path, known: set[str]) -> pd.DataFrame:
    table = _read_table(file, "--votes", ["file", *VOTE_COLUMNS])
    _reject_unknown(table, "--votes", file, known)
    votes = table.drop_duplicates("file").set_index("file")[VOTE_COLUMNS]
    numbers: pd.DataFrame = votes.apply(pd.to_numeric, errors="coerce")
    wrong = votes.notna() & ~((numbers >= 0) & (numbers % 1 == 0))
    if wrong.any(axis=None):
        first = votes.index[wrong.any(axis=1)][0]
        raise DataError(f"--votes {file}: the votes for {first} are not all counts from 0 on.")
    return numbers


def _read_exclusions(file: Path, known: set[str]) -> dict[str, str]:
    """What each listed picture is a copy of: a part of the data set, or "" where it is not said."""
    table = _read_table(file, "--exclude", ["file"])
    _reject_unknown(table, "--exclude", file, known)
    twins = table["identical_to"].fillna("") if "identical_to" in table else [""] * len(table)
    return dict(zip(table["file"], twins, strict=True))


def _drop_copies(manifest: pd.DataFrame, excluded: set[str]) -> pd.DataFrame:
    validation = manifest[manifest["part"] == VALIDATION]
    train = manifest[(manifest["part"] == TRAIN) & ~manifest.index.isin(list(excluded))]
    train = train[~train["pixels"].isin(validation["pixels"])]
    labels_of_group = train.groupby("pixels")["label"].transform("nunique")
    train = train[labels_of_group == 1].drop_duplicates("pixels")
    return pd.concat([train, validation])
