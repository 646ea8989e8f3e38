"""A small FER2013 in the Kaggle layout, and what becomes of its copies and its votes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.main import get_command

from training.cli import app
from training.config import DEFAULT_HEADS, parse_heads
from training.crop_folder import load_pictures
from training.data_flags import DataFlags
from training.errors import ConfigError, DataError
from training.manifest import VOTE, read_manifest
from training.sources.fer2013 import CROP, FOLDERS, VOTE_COLUMNS, read_fer2013
from training.votes import FERPLUS_COLUMNS

PARTS = {"train": "Training", "test": "PublicTest"}
PER_FOLDER = 3
VOTES = [VOTE + FERPLUS_COLUMNS.get(column, column) for column in VOTE_COLUMNS]


def write_picture(path: Path, seed: int, size: tuple[int, int] = (48, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(path, "JPEG")


class Layout:
    """The folder, and the two tables beside it, to be damaged before they are read."""

    def __init__(self, root: Path) -> None:
        self.data = root / "fer2013"
        self.votes = root / "votes.csv"
        self.exclude = root / "exclude.csv"
        self.files: list[str] = []
        for part, prefix in PARTS.items():
            for folder in FOLDERS:
                for _ in range(PER_FOLDER):
                    self.add(f"{part}/{folder}/{prefix}_{100 + len(self.files)}.jpg")
        self.table = pd.DataFrame({"file": self.files, **dict.fromkeys(VOTE_COLUMNS, 0)})
        self.table["neutral"] = 10
        self.excluded: dict[str, str] = {}

    def add(self, file: str) -> str:
        write_picture(self.data / file, seed=len(self.files))
        self.files.append(file)
        return file

    def get(self, part: str, folder: str, index: int = 0) -> str:
        prefix = f"{part}/{folder}/"
        return [file for file in self.files if file.startswith(prefix)][index]

    def copy(self, source: str, target: str) -> None:
        (self.data / target).write_bytes((self.data / source).read_bytes())

    def read(self) -> pd.DataFrame:
        self.table.to_csv(self.votes, index=False)
        rows = list(self.excluded.items())
        pd.DataFrame(rows, columns=["file", "identical_to"]).to_csv(self.exclude, index=False)
        return read_fer2013(self.data, self.votes, self.exclude)

    def left_out(self, manifest: pd.DataFrame) -> set[str]:
        return set(self.files) - set(manifest["path"])


def call_votes(*arguments: object) -> None:
    get_command(app).main(["votes", *map(str, arguments)], standalone_mode=False)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_every_picture_becomes_a_row_with_its_part_label_and_votes(layout: Layout) -> None:
    layout.table["happiness"] = range(len(layout.files))
    manifest = layout.read()
    assert list(manifest.columns) == [
        *("path", "part", "label", "pixels"),
        *VOTES,
        *("twin_of_held_out", "margin", "align"),
    ]
    assert set(manifest["path"]) == set(layout.files)
    assert manifest["path"].is_unique
    for row in manifest.to_dict("records"):
        part, folder, _ = row["path"].split("/")
        assert row["part"] == {"train": "train", "test": "validation"}[part]
        assert row["label"] == FOLDERS[folder]
        assert row["vote_기쁨"] == layout.files.index(row["path"])
        assert row["vote_중립"] == 10
        assert not row["twin_of_held_out"]
        assert len(row["pixels"]) == 64
    assert all(manifest[column].dtype == np.int64 for column in VOTES)


def test_pictures_of_the_final_test_are_never_read(layout: Layout) -> None:
    before = layout.read()
    source = layout.data / layout.files[-1]
    final = source.with_name("PrivateTest_1.jpg")
    final.write_bytes(b"not even a picture")
    name = final.relative_to(layout.data).as_posix()
    layout.table = pd.concat([layout.table, layout.table.tail(1).assign(file=name)])
    layout.excluded[name] = "Training"
    pd.testing.assert_frame_equal(layout.read(), before)


def test_a_list_without_reasons_leaves_pictures_out_of_training_alone(layout: Layout) -> None:
    gone = [
        next(name for name in layout.files if name.startswith(part)) for part in ("train", "test")
    ]
    pd.DataFrame({"file": gone}).to_csv(layout.exclude, index=False)
    layout.table.to_csv(layout.votes, index=False)
    manifest = read_fer2013(layout.data, layout.votes, layout.exclude)
    assert layout.left_out(manifest) == {gone[0]}
    assert not manifest["twin_of_held_out"].any()


def test_the_same_folder_gives_the_same_manifest(layout: Layout) -> None:
    pd.testing.assert_frame_equal(layout.read(), layout.read())


def test_the_order_of_the_tables_rows_does_not_matter(layout: Layout) -> None:
    layout.table["anger"] = range(len(layout.files))
    before = layout.read()
    layout.table = layout.table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(layout.read(), before)


def test_columns_that_nobody_asked_for_are_ignored(layout: Layout) -> None:
    layout.table["usage"] = "Training"
    assert "usage" not in layout.read()


def test_of_identical_training_pictures_one_stays(layout: Layout) -> None:
    first, copy = layout.get("train", "happy"), layout.get("train", "happy", 2)
    layout.copy(first, copy)
    assert layout.left_out(layout.read()) == {copy}


def test_identical_training_pictures_with_contradicting_labels_all_go(layout: Layout) -> None:
    one, other = layout.get("train", "sad"), layout.get("train", "fear")
    same = layout.get("train", "fear", 1)
    layout.copy(one, other)
    layout.copy(one, same)
    assert layout.left_out(layout.read()) == {one, other, same}


def test_identical_pixels_in_other_bytes_count_as_identical(layout: Layout) -> None:
    first, copy = layout.get("train", "angry"), layout.get("train", "angry", 1)
    with Image.open(layout.data / first) as image:
        image.load()
        image.save(layout.data / copy, "PNG")  # still named .jpg; PNG keeps every pixel
    assert layout.left_out(layout.read()) == {copy}


def test_a_training_picture_that_stands_in_validation_goes(layout: Layout) -> None:
    seen = layout.get("train", "neutral")
    layout.copy(layout.get("test", "surprise"), seen)
    assert layout.left_out(layout.read()) == {seen}


def test_validation_keeps_its_copies_as_the_field_counts_them(layout: Layout) -> None:
    layout.copy(layout.get("test", "sad"), layout.get("test", "sad", 1))
    layout.copy(layout.get("test", "sad"), layout.get("test", "angry"))
    assert layout.left_out(layout.read()) == set()


def test_excluded_training_pictures_go_and_excluded_validation_pictures_are_marked(
    layout: Layout,
) -> None:
    twin, seen = layout.get("test", "happy"), layout.get("test", "happy", 1)
    gone, gone_too = layout.get("train", "happy"), layout.get("train", "disgust", 1)
    layout.excluded = {
        twin: "held-out split",
        seen: "PublicTest",
        layout.get("test", "happy", 2): "Training",
        gone: "PublicTest",
        gone_too: "held-out split",
    }
    manifest = layout.read()
    assert layout.left_out(manifest) == {gone, gone_too}
    assert list(manifest.loc[manifest["twin_of_held_out"], "path"]) == [twin]


def test_without_an_exclusion_list_nothing_is_excluded(layout: Layout) -> None:
    layout.read()
    manifest = read_fer2013(layout.data, layout.votes, None)
    assert layout.left_out(manifest) == set()
    assert not manifest["twin_of_held_out"].any()


def test_pixels_are_loaded_in_the_manifests_order(layout: Layout) -> None:
    manifest = layout.read().sample(frac=1, random_state=2)
    pixels = load_pictures([layout.data / path for path in manifest["path"]], 1)
    assert pixels.shape == (len(layout.files), 48, 48)
    assert pixels.dtype == np.uint8
    for face, path in zip(pixels, manifest["path"], strict=True):
        with Image.open(layout.data / path) as image:
            assert (face == np.asarray(image)).all()


def test_colour_pictures_are_read_as_grey(layout: Layout) -> None:
    file = layout.get("train", "sad")
    Image.new("RGB", (48, 48), (90, 90, 90)).save(layout.data / file, "JPEG")
    layout.read()
    (face,) = load_pictures([layout.data / file], 1)
    assert set(np.unique(face)) == {90}


def count_votes(layout: Layout) -> None:
    """Of ten raters one slips; every fourth picture is none to most of them, the next a tie."""
    for row, file in enumerate(layout.files):
        folder = file.split("/")[1]
        label = next(name for name, each in FERPLUS_COLUMNS.items() if each == FOLDERS[folder])
        layout.table.loc[row, VOTE_COLUMNS] = 0
        kind = row % 4
        layout.table.loc[row, [label, "contempt", "unknown"]] = (
            (3, 1, 6) if kind == 3 else (5, 5, 0) if kind == 2 else (7, 1, 2)
        )


def test_the_manifest_as_csv_is_learned_from_like_the_folder_itself(
    layout: Layout, tmp_path: Path
) -> None:
    count_votes(layout)
    layout.excluded = {layout.get("test", "happy"): "held-out split"}
    table, manifest = layout.read(), tmp_path / "labels.csv"
    command = ["--layout", "fer2013", "--input", layout.data, "--votes", layout.votes]
    call_votes(*command, "--exclude", layout.exclude, "--out", manifest)
    pd.testing.assert_frame_equal(read_manifest(manifest, "part"), table)
    heads, parts = parse_heads(DEFAULT_HEADS), ("train", "validation")
    direct = DataFlags(layout.data, layout.votes, None, None, layout.exclude)
    stored = DataFlags(None, None, manifest, layout.data, None)
    for ours, theirs in zip(
        direct.load(heads, 1, *parts), stored.load(heads, 1, *parts), strict=True
    ):
        assert ours.paths == theirs.paths
        assert ours.crop == theirs.crop == CROP
        assert (ours.pixels == theirs.pixels).all()
        assert ours.twin_of_held_out.tolist() == theirs.twin_of_held_out.tolist()
        for name in ("fer7", "ferplus8"):
            assert (ours.labels[name].targets == theirs.labels[name].targets).all()
            assert (ours.labels[name].truths == theirs.labels[name].truths).all()
    soft = direct.load(heads, 1, "train")[0].labels["ferplus8"]
    tied = [0.5 if label in ("분노", "경멸") else 0 for label in heads[1].taxonomy.labels]
    whole = [float(label == "분노") for label in heads[1].taxonomy.labels]
    assert soft.targets[:3].tolist() == [whole, whole, tied]  # train/angry, without the slips
    assert soft.truths[2] == -1
    assert soft.targets[3].tolist() == [0] * 8
    assert stored.load(heads, 1, "validation")[0].twin_of_held_out.sum() == 1


def test_pictures_framed_in_several_ways_are_not_mixed(layout: Layout, tmp_path: Path) -> None:
    table = layout.read()
    table.loc[3, "margin"] = 0.2
    table.to_csv(tmp_path / "labels.csv", index=False)
    flags = DataFlags(None, None, tmp_path / "labels.csv", layout.data, None)
    with pytest.raises(DataError, match=r"framed in 2 ways \(columns margin and align\); cut them"):
        flags.load(parse_heads(DEFAULT_HEADS), 1, "train")


def test_votes_and_layout_come_together(layout: Layout, tmp_path: Path) -> None:
    layout.read()
    for more in (("--layout", "fer2013"), ("--votes", layout.votes)):
        with pytest.raises(ConfigError, match="--votes: goes with --layout fer2013"):
            call_votes(*more, "--input", layout.data, "--out", tmp_path / "labels.csv")
    missing = tmp_path / "nowhere"
    with pytest.raises(DataError, match=r"--input .*nowhere: no \.jpg pictures in train/angry"):
        call_votes(
            "--layout", "fer2013", "--votes", layout.votes, "--input", missing,
            "--out", tmp_path / "labels.csv",
        )  # fmt: skip
