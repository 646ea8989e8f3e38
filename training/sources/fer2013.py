"""FER2013 in the Kaggle folder layout, with FER+ votes -> one manifest.

``part`` is FER2013's own division, train or validation (PublicTest), and ``label`` its label; the
votes are those of FER+'s raters, who may also say ``vote_unknown`` and ``vote_NF`` (no face).
"""

import hashlib
from collections.abc import Iterable, Set
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
SECRET = ("PrivateTest", "held-out split")  # where a copy is a twin, as ``identical_to`` has it
COPIED_IN = ("Training", "PublicTest", *SECRET)
SHOWN = 3  # pictures that an error names, of however many


def read_fer2013(
    data: Path, votes: Path, exclude: Path | None, flag: str = "--data"
) -> pd.DataFrame:
    """The manifest of FER2013 plus FER+; ``flag`` is the one that named the folder.

    Left out, unseen: pictures of the final test (PrivateTest), which the common download keeps in
    the same folder as PublicTest, and training pictures named in ``exclude``, which may be damaged
    or gone. Left out too: training pictures that stand in validation, surplus pixel-identical
    copies, and groups of copies whose labels contradict each other.
    Validation keeps every picture, as the field counts them.

    Raises:
        DataError: a folder is missing or empty, pictures cannot be read, or a file names pictures
            that are not in the folder.
    """
    pictures = _list_pictures(data, flag)
    counts = _read_votes(votes)
    excluded = _read_exclusions(exclude) if exclude else {}
    known = {*pictures.index, *_list_final_test(data)}
    spared = {path for path in excluded if path.startswith("train/")}  # whether there or gone
    _reject_unknown(counts.index, f"--votes {votes}", known | spared)
    _reject_unknown(excluded, f"--exclude {exclude}", known | set(counts.index))
    left_out = (pictures["part"] == TRAIN) & pictures.index.isin(list(excluded))
    manifest = pictures[~left_out]
    manifest = manifest.assign(pixels=_hash_pictures(data, manifest.index, flag))
    manifest = manifest.join(counts, how="left")
    if manifest[VOTE_COLUMNS].isna().any(axis=None):
        first = manifest.index[manifest[VOTE_COLUMNS].isna().any(axis=1)][0]
        raise DataError(f"--votes {votes}: no votes for {first}; every picture needs a row.")
    manifest[VOTE_COLUMNS] = manifest[VOTE_COLUMNS].astype("int64")
    manifest[TWIN] = manifest.index.isin(
        [path for path, twin in excluded.items() if twin in SECRET]
    )
    manifest["margin"], manifest["align"] = CROP.margin, CROP.align
    names = {column: VOTE + FERPLUS_COLUMNS.get(column, column) for column in VOTE_COLUMNS}
    return _drop_copies(manifest).rename(columns=names).reset_index(names="path")


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
            paths = [file.relative_to(data).as_posix() for file in files]
            rows += [{"path": path, "part": part, "label": label} for path in paths]
    return pd.DataFrame(rows).set_index("path")


def _list_final_test(data: Path) -> list[str]:
    return [file.relative_to(data).as_posix() for file in data.glob(f"*/*/{FINAL_TEST}*.jpg")]


def _hash_pictures(data: Path, paths: Iterable[str], flag: str) -> list[str]:
    """Of their pixels. Raises DataError, which counts all pictures that cannot be used."""
    digests, problems = [], []
    for path in paths:
        try:
            digests.append(hashlib.sha256(_read_pixels(data / path).tobytes()).hexdigest())
        except UNREADABLE as error:
            problems.append(f"{path}: cannot be read as a picture ({error})")
        except DataError as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise DataError(
            f"{flag} {data}: {len(problems)} pictures cannot be used, the first: "
            f"{'; '.join(problems[:SHOWN])}. Replace them, or list those of train in --exclude."
        )
    return digests


def _read_pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("L"))
    if pixels.shape != (48, 48):
        height, width = pixels.shape
        raise DataError(f"is {width}x{height} px; FER2013 pictures are 48x48")
    return pixels


def _read_table(file: Path, flag: str, columns: list[str]) -> pd.DataFrame:
    """As text."""
    table = read_csv(file, flag, dtype="str")
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(
            f"{flag} {file}: has no column {', '.join(missing)}; it has {', '.join(table.columns)}."
        )
    return table


def _reject_unknown(names: Iterable[str], source: str, known: Set[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(
            f"{source}: names {len(unknown)} pictures that are not in the data set's folder, such "
            f"as {', '.join(map(str, unknown[:SHOWN]))}. Bring them back, or take their rows out."
        )


def _read_votes(file: Path) -> pd.DataFrame:
    table = _read_table(file, "--votes", ["file", *VOTE_COLUMNS])
    votes = table.drop_duplicates(["file", *VOTE_COLUMNS]).set_index("file")[VOTE_COLUMNS]
    twice = votes.index[votes.index.duplicated()]
    if len(twice):
        raise DataError(f"--votes {file}: {twice[0]} has rows that differ; keep one of them.")
    numbers: pd.DataFrame = votes.apply(pd.to_numeric, errors="coerce")
    wrong = votes.notna() & ~((numbers >= 0) & (numbers % 1 == 0))
    if wrong.any(axis=None):
        first = votes.index[wrong.any(axis=1)][0]
        column = wrong.columns[wrong.loc[first]][0]
        raise DataError(
            f"--votes {file}: {column} of {first} is {votes.loc[first, column]!r:.40}; allowed are "
            "whole numbers from 0 on."
        )
    return numbers


def _read_exclusions(file: Path) -> dict[str, str]:
    """What each listed picture is a copy of: a part of the data set, or "" where it is not said."""
    table = _read_table(file, "--exclude", ["file"]).fillna("")
    if "identical_to" not in table:
        return dict.fromkeys(table["file"], "")
    foreign = table[~table["identical_to"].isin([*COPIED_IN, ""])]
    if len(foreign):
        name, twin = foreign[["file", "identical_to"]].iloc[0]
        raise DataError(
            f"--exclude {file}: identical_to of {name} is {twin!r:.40}; allowed are "
            f"{', '.join(COPIED_IN)} and nothing."
        )
    return dict(zip(table["file"], table["identical_to"], strict=True))


def _drop_copies(manifest: pd.DataFrame) -> pd.DataFrame:
    validation = manifest[manifest["part"] == VALIDATION]
    train = manifest[manifest["part"] == TRAIN]
    train = train[~train["pixels"].isin(validation["pixels"])]
    labels_of_group = train.groupby("pixels")["label"].transform("nunique")
    train = train[labels_of_group == 1].drop_duplicates("pixels")
    return pd.concat([train, validation])
