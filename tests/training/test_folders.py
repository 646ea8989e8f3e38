"""Class folders in the layouts of this field become a manifest."""

from pathlib import Path

import pytest

from kfer.labels import get_taxonomy
from training.errors import DataError
from training.manifest import UNKNOWN
from training.sources.folders import read_folders

FER7, KOREAN5 = get_taxonomy("fer7"), get_taxonomy("korean5")


def write(root: Path, *places: str) -> None:
    for place in places:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(b"")  # only names are read


def test_the_nearest_folder_that_names_a_class_is_the_label(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train/기쁨/하나.jpg",
        "train/Embarrassed/actors/2.PNG",
        "val/angry/3.jpeg",
        "testing/sadness/기쁨이 아님.webp",
        "neutral/5.jpg",
        "unknown/6.jpg",
        "neutral/notes.txt",
    )
    table = read_folders(tmp_path, KOREAN5)
    found = {row.path: (row.label, row.part) for row in table.itertuples()}
    assert found == {
        "train/기쁨/하나.jpg": ("기쁨", "train"),
        "train/Embarrassed/actors/2.PNG": ("당황", "train"),
        "val/angry/3.jpeg": ("분노", "validation"),
        "testing/sadness/기쁨이 아님.webp": ("슬픔", "test"),
        "neutral/5.jpg": ("중립", ""),
        "unknown/6.jpg": (UNKNOWN, ""),
    }
    assert (table["person"] == "").all()


def test_fer2013s_own_layout_is_one_of_them(tmp_path: Path) -> None:
    names = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    write(tmp_path, *(f"{part}/{name}/1.jpg" for part in ("train", "test") for name in names))
    table = read_folders(tmp_path, FER7)
    assert table["part"].value_counts().to_dict() == {"train": 7, "test": 7}
    assert sorted(set(table["label"])) == sorted(FER7.labels)


def test_persons_are_found_in_file_names(tmp_path: Path) -> None:
    write(tmp_path, *(f"{label}/P0{i}-{label}.jpg" for i, label in enumerate(KOREAN5.labels)))
    write(tmp_path, "기쁨/nobody.jpg")
    table = read_folders(tmp_path, KOREAN5, r"^(P\d+)-").set_index("path")
    assert table["person"]["기쁨/P00-기쁨.jpg"] == "P00"
    assert table["person"]["기쁨/nobody.jpg"] == ""


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no picture \(.*\.jpg"):
        read_folders(tmp_path, KOREAN5)
    write(tmp_path, *(f"{label}/1.jpg" for label in KOREAN5.labels[1:]))
    with pytest.raises(DataError, match="has no picture of 기쁨; korean5 needs all of 기쁨, 당황"):
        read_folders(tmp_path, KOREAN5)
    write(tmp_path, "surprise/1.jpg")
    with pytest.raises(DataError, match=r"surprise/1\.jpg lies below no folder that names a class"):
        read_folders(tmp_path, KOREAN5)
