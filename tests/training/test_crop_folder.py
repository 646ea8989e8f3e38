"""A manifest of crops becomes faces in memory, with what each head learns."""

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kfer.bundle import Bundle, load_bundle
from kfer.faces import CropSpec
from training.cli_options import warn_left_out
from training.config import parse_heads
from training.crop import SETTINGS, CropSettings
from training.crop_folder import CropFolder, count_left_out, load_faces
from training.data_flags import DataFlags
from training.errors import ConfigError, DataError
from training.manifest import UNKNOWN, read_manifest, write_manifest
from training.origin import describe_origin

AIHUB = ("기쁨", "당황", "분노", "불안", "상처", "슬픔", "중립")
SOFT = parse_heads(["aihub7:label", "korean5:votes"])


def build_table(folder: Path) -> pd.DataFrame:
    """Two train pictures of a label and one of validation; votes: two for it, one for 슬픔."""
    rows = []
    for index, label in enumerate([*AIHUB, UNKNOWN]):
        for number, part in enumerate(("train", "train", "validation")):
            path = f"{label}/{number}.png"
            (folder / label).mkdir(parents=True, exist_ok=True)
            level = 10 * index + 80 * number  # another one in grey, too
            colour = (level, level, 200)
            Image.new("RGB", (24, 24), colour).save(folder / path)
            votes = {f"vote_{each}": 2 * (each == label) + (each == "슬픔") for each in AIHUB}
            known = label != UNKNOWN
            rows.append({"path": path, "label": label, "part": part if known else "", **votes})
    return pd.DataFrame(rows)


def test_every_head_gets_its_targets_and_truths(tmp_path: Path) -> None:
    faces = load_faces(build_table(tmp_path), CropFolder(tmp_path, None), "train", SOFT, 1)
    assert len(faces) == 14
    assert faces.pixels.shape == (14, 24, 24)
    hard, soft = faces.labels["aihub7"], faces.labels["korean5"]
    assert hard.truths.tolist() == [index for index in range(7) for _ in range(2)]
    assert (hard.targets == np.eye(7)[hard.truths]).all()
    # 기쁨 당황 분노 슬픔 중립: of 불안 and 상처 only one vote, for 슬픔, is left, and it has lost.
    assert soft.targets[0] == pytest.approx([2 / 3, 0, 0, 1 / 3, 0])
    assert soft.targets[6].tolist() == [0, 0, 0, 0, 0]
    assert soft.truths.tolist() == [0, 0, 1, 1, 2, 2, -1, -1, -1, -1, 3, 3, 4, 4]


def test_the_same_picture_in_two_parts_is_refused_whatever_the_manifest_knows(
    tmp_path: Path,
) -> None:
    table = build_table(tmp_path)
    write_manifest(table, tmp_path / "parts.csv")
    flags = DataFlags(None, None, tmp_path / "parts.csv", tmp_path, None)
    assert [len(part) for part in flags.load(SOFT, 1, "train", "validation")] == [14, 7]
    shutil.copy(tmp_path / "기쁨" / "0.png", tmp_path / "분노" / "2.png")
    flags = DataFlags(None, None, tmp_path / "parts.csv", tmp_path, None)
    with pytest.raises(
        DataError, match=r"기쁨/0\.png and 분노/2\.png are the same picture in different parts"
    ):
        flags.load(SOFT, 1, "train", "validation")
    with pytest.raises(DataError, match="are the same picture in different parts"):
        flags.load(SOFT, 1, "validation")  # as `evaluate` does, of a part alone


def test_pictures_that_no_head_learns_of_are_counted_by_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = build_table(tmp_path), CropFolder(tmp_path, None)
    heads = parse_heads(["korean5:label"])
    assert len(load_faces(table, folder, "train", heads, 1)) == 10
    counts = count_left_out(table, ["train", "validation"], heads)
    assert counts == {"불안": 3, "상처": 3}
    write_manifest(table, tmp_path / "parts.csv")
    flags = DataFlags(None, None, tmp_path / "parts.csv", tmp_path, None)
    assert flags.count_left_out(heads, "validation") == {"불안": 1, "상처": 1}
    assert flags.count_left_out(SOFT, "validation") == {}
    warn_left_out({})
    assert capsys.readouterr().err == ""
    warn_left_out(counts)
    assert "left out, for no head has their labels or votes: 3 불안, 3 상처" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("column", "cell", "allowed"),
    [
        ("vote_기쁨", "", "whole numbers from 0 on"),
        ("vote_기쁨", "1.5", "whole numbers from 0 on"),
        ("vote_기쁨", "-1", "whole numbers from 0 on"),
        ("vote_기쁨", "many", "whole numbers from 0 on"),
        ("twin_of_held_out", "maybe", "True, False and nothing"),
        ("label", "기뿜", "기쁨, 당황, .*경멸, UNKNOWN"),
        ("label", "joy", "기쁨, 당황, "),
        ("label", "", "기쁨, 당황, "),
        ("left", "10px", "numbers and nothing"),
        ("part", "val", "train, validation, test and nothing"),
        ("part", "Test", "train, validation, test and nothing"),
    ],
)
def test_cells_that_make_no_sense_are_named(
    column: str, cell: str, allowed: str, tmp_path: Path
) -> None:
    table = build_table(tmp_path).assign(twin_of_held_out=False, left=0.5)
    table = table.astype({column: "object"})
    table.loc[4, column] = cell
    write_manifest(table, tmp_path / "parts.csv")
    row = table["path"][4]
    with pytest.raises(DataError, match=f"{column} of {row} is {cell!r}; allowed are {allowed}"):
        read_manifest(tmp_path / "parts.csv", "part")


def test_labels_are_known_however_they_are_written(tmp_path: Path) -> None:
    table = build_table(tmp_path)
    written = [f" {unicodedata.normalize('NFD', label)} " for label in table["label"]]
    write_manifest(table.assign(label=written), tmp_path / "parts.csv")
    found = read_manifest(tmp_path / "parts.csv")
    pd.testing.assert_series_equal(found["label"], table["label"].astype("str"))


def test_boxes_are_numbers_where_there_are_some(tmp_path: Path) -> None:
    table = build_table(tmp_path).assign(left=" 1.5", top=0)
    table.loc[0, "left"] = ""
    write_manifest(table, tmp_path / "parts.csv")
    found = read_manifest(tmp_path / "parts.csv")
    assert np.isnan(found["left"][0])
    assert (found["left"][1:] == 1.5).all()


def test_a_blank_says_that_a_picture_has_no_twin(tmp_path: Path) -> None:
    table = build_table(tmp_path).assign(twin_of_held_out="False")
    table.loc[[0, 1], "twin_of_held_out"] = ["True", ""]
    write_manifest(table, tmp_path / "parts.csv")
    found = read_manifest(tmp_path / "parts.csv")["twin_of_held_out"]
    assert (found[0], found[1:].any()) == (True, False)


def test_pictures_that_teach_no_head_are_left_out(tmp_path: Path) -> None:
    five = parse_heads(["korean5:label"])
    faces = load_faces(build_table(tmp_path), CropFolder(tmp_path, None), "validation", five, 3)
    assert [path.split("/")[0] for path in faces.paths] == ["기쁨", "당황", "분노", "슬픔", "중립"]
    assert faces.pixels.shape == (5, 24, 24, 3)
    assert faces.pixels[1, 0, 0].tolist() == [170, 170, 200]


def test_the_crop_is_the_one_that_was_cut(tmp_path: Path) -> None:
    table = build_table(tmp_path)
    unknown = load_faces(table, CropFolder.read(tmp_path), "train", SOFT, 1)
    assert unknown.crop == CropSpec(margin=0.0, size=24, grey=True, align=False)
    spec = CropSpec(margin=0.2, size=24, grey=False, align=True)
    (tmp_path / SETTINGS).write_text(CropSettings("mtcnn", spec).describe())
    assert load_faces(table, CropFolder.read(tmp_path), "train", SOFT, 3).crop == spec
    grey = CropSpec(margin=0.2, size=24, grey=True, align=True)
    (tmp_path / SETTINGS).write_text(CropSettings("mtcnn", grey).describe())
    with pytest.raises(DataError, match="its crops are grey; set in_chans = 1"):
        load_faces(table, CropFolder.read(tmp_path), "train", SOFT, 3)
    (tmp_path / SETTINGS).write_text("{}")
    with pytest.raises(DataError, match=r"crop\.json cannot be read"):
        CropFolder.read(tmp_path)


@pytest.mark.parametrize(
    ("margin", "align"), [("", ""), ("0.2", ""), ("", "True"), ("inf", "True"), ("0.2", "yes")]
)
def test_a_framing_that_is_not_said_is_refused(margin: str, align: str, tmp_path: Path) -> None:
    table = build_table(tmp_path).assign(margin=margin, align=align)
    write_manifest(table, tmp_path / "parts.csv")
    folder = CropFolder(tmp_path, None)
    message = f"have margin '{margin}' and align '{align}'; allowed are a number, and True or False"
    with pytest.raises(DataError, match=message):
        load_faces(read_manifest(tmp_path / "parts.csv", "part"), folder, "train", SOFT, 1)
    table = table.assign(margin=table["part"].map({"train": "0.2"}).fillna(""), align="False")
    table.loc[table["part"] == "", "align"] = ""
    write_manifest(table, tmp_path / "parts.csv")
    table = read_manifest(tmp_path / "parts.csv", "part")
    crop = load_faces(table, folder, "train", SOFT, 1).crop
    assert (crop.margin, crop.align) == (0.2, False)  # which stood there as text


def damage_png(path: Path) -> bytes:
    """With a length that leads into the middle of the next chunk: a SyntaxError of Pillow's."""
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT")
    data[at - 4 : at] = (4).to_bytes(4, "big")
    return bytes(data)


def test_a_picture_of_too_many_pixels_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 24 // 3)
    with pytest.raises(DataError, match=r"0\.png: cannot be read as a picture .*exceeds limit"):
        load_faces(build_table(tmp_path), CropFolder(tmp_path, None), "train", SOFT, 1)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    table, folder = build_table(tmp_path), CropFolder(tmp_path, None)
    with pytest.raises(
        DataError, match="part test has a label in aihub7, korean5; run `python -m tr"
    ):
        load_faces(table, folder, "test", SOFT, 1)
    with pytest.raises(DataError, match=r"has no column .*vote_놀람.*head fer7:votes needs it"):
        load_faces(table, folder, "train", parse_heads(["fer7:votes"]), 1)
    Image.new("RGB", (30, 24)).save(tmp_path / "당황/1.png")
    with pytest.raises(DataError, match=r"당황/1\.png: is 30x24 px, others are 24x24"):
        load_faces(table, folder, "train", SOFT, 1)
    for data in (b"no picture", damage_png(tmp_path / "당황/0.png")):
        (tmp_path / "당황/1.png").write_bytes(data)
        with pytest.raises(
            DataError, match=r"당황/1\.png: cannot be read as a picture.*in --exclude"
        ):
            load_faces(table, folder, "train", SOFT, 1)
    Image.new("RGB", (30, 24)).save(tmp_path / "기쁨/0.png")
    with pytest.raises(DataError, match=r"기쁨/0\.png: is no square; cut faces out by"):
        load_faces(table, folder, "train", SOFT, 1)


def test_flags_name_one_kind_of_data(tmp_path: Path) -> None:
    path = tmp_path
    for flags in (
        DataFlags(None, None, None, None, None),
        DataFlags(path, None, None, None, None),
        DataFlags(path, path, path, path, None),
        DataFlags(None, path, path, path, None),
        DataFlags(None, None, path, None, None),
    ):
        with pytest.raises(ConfigError, match="Give FER2013 by --data and --votes, or a manifest"):
            flags.check()
    DataFlags(path, path, None, None, path).check()
    DataFlags(None, None, path, path, None).check()


def learn(bundle: Bundle, folder: Path, trained_on: str | None, **training: object) -> Bundle:
    """The bundle, as if it had been trained on that."""
    shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
    config = folder / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["kfer"]["training"] |= {"trained_on": trained_on, **training}
    config.write_text(json.dumps(settings), encoding="utf-8")
    return load_bundle(folder)


def test_identical_pictures_in_two_parts_are_refused_and_people_are_told_of(
    bundle: Bundle, tmp_path: Path
) -> None:
    table = build_table(tmp_path).assign(person="somebody")
    table["pixels"] = [str(index) for index in range(len(table))]
    manifest = tmp_path / "parts.csv"
    flags = DataFlags(None, None, manifest, tmp_path, None)
    write_manifest(table, manifest)
    assert [len(faces) for faces in flags.load(SOFT, 1, "train", "validation")] == [14, 7]
    warning = flags.find_shared_persons()
    assert warning is not None
    assert "1 values of person stand in several of part" in warning
    assert "will flatter" in warning
    learner = learn(bundle, tmp_path / "one", flags.hash_training())
    assert flags.list_trained_persons(learner) == {"somebody"}
    assert flags.load(SOFT, 1, "validation")[0].persons == ["somebody"] * 7
    apart = table.assign(person=table["part"].where(table["path"] != "기쁨/0.png", ""))
    write_manifest(apart, manifest)
    others = DataFlags(None, None, manifest, tmp_path, None)
    # Another division of the same pictures says nothing of what was learned.
    assert others.list_trained_persons(learner) is None
    assert others.list_trained_persons(learn(bundle, tmp_path / "two", None)) is None
    trained = learn(bundle, tmp_path / "three", others.hash_training())
    assert others.list_trained_persons(trained) == {"train"}
    assert others.load(SOFT, 1, "train")[0].persons == ["", *["train"] * 13]
    # What a teacher has learned counts too.
    for parent, persons in ((trained, {"train"}), (learner, None)):
        student = learn(
            bundle, tmp_path / f"of {parent.name}", others.hash_training(),
            origin=describe_origin([parent], None),
        )  # fmt: skip
        assert others.list_trained_persons(student) == persons
    table.loc[[0, 2], "pixels"] = "same"
    write_manifest(table, manifest)
    with pytest.raises(DataError, match="1 values of pixels stand in several of part"):
        DataFlags(None, None, manifest, tmp_path, None).load(SOFT, 1, "train")
