"""Every fault that FER2013's folder, its votes and the list of what to leave out can have."""

import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.training.test_fer2013 import Layout, write_picture
from training.errors import DataError
from training.sources.fer2013 import FOLDERS, read_fer2013


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.mark.parametrize("folder", ["train/disgust", "test/neutral"])
@pytest.mark.parametrize("emptied", [True, False])
def test_a_class_folder_that_is_missing_or_empty_is_named(
    emptied: bool, folder: str, layout: Layout
) -> None:
    for file in (layout.data / folder).iterdir():
        file.unlink()
    if not emptied:
        (layout.data / folder).rmdir()
    with pytest.raises(
        DataError, match=rf"--data .*: no \.jpg pictures in {folder}; expected .*angry, disgust"
    ):
        layout.read()


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data .*nowhere: no \.jpg pictures in train/angry"):
        read_fer2013(tmp_path / "nowhere", tmp_path / "votes.csv", None)


def build_damaged_png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (48, 48)).save(file, "PNG")
    length = file.getvalue().index(b"IDAT") - 4
    return file.getvalue()[:length] + b"\0\0\0\4" + file.getvalue()[length + 4 :]


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", b"\xff\xd8\xff\xe0\x00\x10JFIF", build_damaged_png()]
)
def test_a_picture_that_cannot_be_read_is_named(data: bytes, layout: Layout) -> None:
    file = layout.get("train", "fear", 1)
    (layout.data / file).write_bytes(data)
    with pytest.raises(DataError, match=rf"{file}: cannot be read as a picture"):
        layout.read()


def test_all_pictures_that_cannot_be_used_are_counted(layout: Layout) -> None:
    files = [layout.get("train", folder) for folder in FOLDERS]
    for file in files:
        (layout.data / file).write_bytes(b"")
    with pytest.raises(
        DataError,
        match=rf"--data .*: 7 pictures cannot be used, the first: {files[0]}.*; {files[1]}.*"
        rf"; {files[2]}.*Replace them, or list those of train in --exclude",
    ) as caught:
        layout.read()
    assert files[3] not in str(caught.value)


def test_a_picture_that_is_cut_short_is_named(layout: Layout) -> None:
    file = layout.get("test", "fear", 1)
    data = (layout.data / file).read_bytes()
    (layout.data / file).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=rf"{file}: cannot be read as a picture"):
        layout.read()


def test_a_picture_of_another_size_is_named_with_its_size(layout: Layout) -> None:
    file = layout.get("train", "surprise")
    write_picture(layout.data / file, 1, size=(64, 32))
    with pytest.raises(DataError, match=rf"{file}: is 64x32 px; FER2013 pictures are 48x48"):
        layout.read()


def test_a_picture_without_votes_is_named(layout: Layout) -> None:
    file = layout.get("test", "happy", 2)
    layout.table = layout.table[layout.table["file"] != file]
    with pytest.raises(DataError, match=rf"--votes .*: no votes for {file}; every picture needs"):
        layout.read()


def test_a_row_with_an_empty_vote_is_named(layout: Layout) -> None:
    file = layout.get("train", "happy")
    layout.table["fear"] = layout.table["fear"].astype(object)
    layout.table.loc[layout.table["file"] == file, "fear"] = None
    with pytest.raises(DataError, match=rf"no votes for {file}"):
        layout.read()


@pytest.mark.parametrize("vote", ["many", "-1", "2.5", "inf"])
def test_votes_that_are_no_counts_are_refused(vote: str, layout: Layout) -> None:
    file = layout.get("train", "happy")
    layout.table["fear"] = layout.table["fear"].astype(object)
    layout.table.loc[layout.table["file"] == file, "fear"] = vote
    with pytest.raises(
        DataError,
        match=rf"--votes .*: fear of {file} is '{vote}'; allowed are whole numbers from 0",
    ):
        layout.read()


def test_a_pictures_votes_may_stand_twice_but_not_differ(layout: Layout) -> None:
    before, file = layout.read(), layout.get("train", "happy")
    row = layout.table[layout.table["file"] == file]
    layout.table = pd.concat([layout.table, row])
    pd.testing.assert_frame_equal(layout.read(), before)
    layout.table = pd.concat([layout.table, row.assign(neutral=3)])
    with pytest.raises(DataError, match=rf"--votes .*: {file} has rows that differ; keep one"):
        layout.read()


def test_votes_for_pictures_that_are_not_there_are_counted(layout: Layout) -> None:
    unknown = ["train/sad/Training_901.jpg", "train/sad/Training_902.jpg"]
    layout.table = pd.concat(
        [layout.table, layout.table.head(2).assign(file=unknown)], ignore_index=True
    )
    with pytest.raises(
        DataError,
        match=rf"--votes .*names 2 pictures that are not in the data.*{', '.join(unknown)}\. Bring "
        "them back, or take their rows out",
    ):
        layout.read()


def test_exclusions_that_are_not_there_are_refused(layout: Layout) -> None:
    layout.excluded = {"train/sad/Training_903.jpg": "PublicTest"}
    with pytest.raises(DataError, match=r"--exclude .*names 1 pictures that are not in the data"):
        layout.read()


def test_a_part_that_holds_no_copies_is_refused(layout: Layout) -> None:
    file = layout.get("train", "sad")
    layout.excluded = {layout.get("train", "happy"): "", file: "held-out-split"}
    with pytest.raises(
        DataError,
        match=rf"--exclude .*identical_to of {file} is 'held-out-split'; allowed are Training, "
        "PublicTest, PrivateTest, held-out split and nothing",
    ):
        layout.read()


def test_excluded_training_pictures_may_be_damaged_or_gone(layout: Layout) -> None:
    damaged, gone = layout.get("train", "fear", 1), layout.get("train", "angry")
    seen = layout.get("test", "fear", 1)
    (layout.data / damaged).write_bytes(b"not a picture")
    (layout.data / gone).unlink()
    layout.excluded = {damaged: "", gone: ""}
    assert layout.left_out(layout.read()) == {damaged, gone}
    layout.excluded[seen] = ""
    (layout.data / seen).unlink()  # validation keeps every picture
    with pytest.raises(DataError, match=rf"--votes .*names 1 pictures that are not.*{seen}"):
        layout.read()


@pytest.mark.parametrize("column", ["file", "contempt", "NF"])
def test_a_missing_column_of_the_votes_is_named(column: str, layout: Layout) -> None:
    layout.table = layout.table.drop(columns=column)
    with pytest.raises(
        DataError, match=rf"--votes .*: has no column {column}; it has [a-zN,F ]+\."
    ):
        layout.read()


TABLES: Mapping[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "ragged": b"file,a\n1\n2,3,4,5\n",
    "not text": b"\xff\xfe\x00\x81file\n",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("flag", ["--votes", "--exclude"])
def test_a_table_that_cannot_be_read_is_named(
    flag: str, text: bytes | None, layout: Layout
) -> None:
    layout.read()
    path = {"--votes": layout.votes, "--exclude": layout.exclude}[flag]
    path.unlink()
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(DataError, match=rf"{flag} .*\.csv: cannot be read as CSV"):
        read_fer2013(layout.data, layout.votes, layout.exclude)
