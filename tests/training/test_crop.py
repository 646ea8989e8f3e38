"""Photos become crops: turned, by boxes or detector, each once, and nothing is lost on the way."""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from kfer.bundle import hash_file
from kfer.errors import DetectorError
from kfer.faces import CropSpec
from training import crop as module
from training.cli import app
from training.crop import LOG, MANIFEST, NOTES, CropSettings, Outcome, crop_photos
from training.errors import ConfigError, DataError
from training.manifest import BOX, read_manifest, write_manifest

BY_BOXES = CropSettings("boxes", CropSpec(0.0, 40, grey=False, align=False))
EXAMPLES = Path("kfer/examples")
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
BOXES = {"red": (20, 30, 60, 70), "green": (100, 40, 140, 80), "blue": (60, 110, 100, 150)}


def draw_photo(
    path: Path, orientation: int = 1, background: tuple[int, int, int] = (128, 128, 128)
) -> None:
    """200 x 160 px, three coloured squares; stored turned, to be shown upright by its EXIF part."""
    image = Image.new("RGB", (200, 160), background)
    for name, box in BOXES.items():
        ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), COLOURS[name])
    if orientation == 6:  # to be turned right: stored turned left
        image = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=97, exif=exif)


def test_the_manifest_that_says_what_to_cut_is_not_written_over(tmp_path: Path) -> None:
    table = build_table(tmp_path / "images", red=1, green=1, blue=1)
    write_manifest(table, tmp_path / "work" / MANIFEST)
    before = (tmp_path / "work" / MANIFEST).read_bytes()
    for out in (tmp_path / "work", tmp_path / "images" / ".." / "work"):
        done = CliRunner().invoke(
            app, ["crop", "--manifest", str(tmp_path / "work" / MANIFEST), "--images",
                  str(tmp_path / "images"), "--out", str(out), "--by", "haar"],
        )  # fmt: skip
        assert isinstance(done.exception, ConfigError)
        assert "would be written over --manifest" in str(done.exception)
    assert (tmp_path / "work" / MANIFEST).read_bytes() == before


def build_table(images: Path, **orientations: int) -> pd.DataFrame:
    rows = []
    for (name, box), orientation in zip(BOXES.items(), orientations.values(), strict=True):
        path = f"기쁨/{name} 사진.jpg"
        draw_photo(images / path, orientation)
        rows.append(
            {"path": path, "label": "기쁨", "person": name, **dict(zip(BOX, box, strict=True))}
        )
    return pd.DataFrame(rows)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return build_table(tmp_path / "images", red=1, green=6, blue=1)


def crop(
    table: pd.DataFrame, folder: Path, *, settings: CropSettings = BY_BOXES, **more: Any
) -> pd.DataFrame:
    seen: list[Outcome] = []
    workers = more.get("workers", 1)
    result = crop_photos(table, folder / "images", folder / "crops", settings, workers, seen.append)
    result.attrs["seen"] = seen
    return result


def test_the_box_is_cut_from_the_upright_photo(table: pd.DataFrame, tmp_path: Path) -> None:
    crops = crop(table, tmp_path)
    for row in crops.to_dict("records"):
        with Image.open(tmp_path / "crops" / row["path"]) as image:
            assert image.size == (40, 40)
            inner = np.asarray(image)[4:-4, 4:-4].reshape(-1, 3).mean(axis=0)
            digest = hashlib.sha256(image.tobytes()).hexdigest()
        assert np.abs(inner - COLOURS[row["person"]]).max() < 12
        assert tuple(row[column] for column in BOX) == BOXES[row["person"]]
        assert (row["width"], row["height"], row["faces"], row["score"]) == (200, 160, 1, 1)
        assert row["pixels"] == digest
    written = read_manifest(tmp_path / "crops" / MANIFEST)
    assert written["path"].tolist() == crops["path"].tolist()
    assert written[["label", "person", "pixels"]].equals(crops[["label", "person", "pixels"]])


def test_a_wide_box_is_not_stretched(table: pd.DataFrame, tmp_path: Path) -> None:
    table.loc[0, BOX] = (0, 30, 80, 70)  # the red square and what lies left and right of it
    crops = crop(table.iloc[:1], tmp_path)
    with Image.open(tmp_path / "crops" / crops["path"][0]) as image:
        red = np.abs(np.asarray(image, dtype=float) - COLOURS["red"]).max(axis=2) < 60
    rows, columns = np.nonzero(red)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)
    assert np.ptp(rows) == pytest.approx(19, abs=2)  # 40 of 80 px, in 40


def test_photos_without_a_crop_are_listed_and_kept(table: pd.DataFrame, tmp_path: Path) -> None:
    images = tmp_path / "images"
    draw_photo(images / "outside.jpg")
    data = (images / table["path"][0]).read_bytes()
    (images / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (images / "text.jpg").write_text("no photo")
    more = pd.DataFrame(
        {
            "path": [
                "outside.jpg",
                "truncated.jpg",
                "text.jpg",
                "missing.jpg",
                "boxless.jpg",
                "absurd.jpg",
                "turned.jpg",
                "flat.jpg",
                "endless.jpg",
            ],
            "label": "기쁨",
            **dict(zip(BOX, (500, 500, 600, 600), strict=True)),
        }
    )
    draw_photo(images / "boxless.jpg")
    more.loc[4, BOX] = np.nan
    draw_photo(images / "absurd.jpg")
    more.loc[5, BOX] = (0, 0, 60_000, 60_000)
    for row, box in ((6, (80, 30, 20, 70)), (7, (20, 30, 20, 70)), (8, (20, 30, np.inf, 70))):
        draw_photo(images / more["path"][row])
        more.loc[row, BOX] = box
    before = {path: path.read_bytes() for path in images.rglob("*.jpg")}
    crops = crop(pd.concat([table, more], ignore_index=True), tmp_path)
    assert len(crops) == 3
    log = dict(
        line.split("\t") for line in (tmp_path / "crops" / LOG).read_text("utf-8").splitlines()
    )
    assert list(log) == more["path"].tolist()
    assert "does not fit the upright photo's 200 x 160 px" in log["outside.jpg"]
    assert "damaged or cut short" in log["truncated.jpg"]
    assert "not a photo that can be read" in log["text.jpg"]
    assert "cannot be opened" in log["missing.jpg"]
    assert log["boxless.jpg"] == "no face was found"
    assert "60000, 60000 does not fit" in log["absurd.jpg"]
    assert "the box 80, 30, 20, 70 does not fit" in log["turned.jpg"]
    assert "the box 20, 30, 20, 70 does not fit" in log["flat.jpg"]
    assert "the box 20, 30, inf, 70 does not fit" in log["endless.jpg"]
    assert {path: path.read_bytes() for path in images.rglob("*.jpg")} == before


def test_what_is_done_is_not_done_again_and_what_failed_is(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    photo = tmp_path / "images" / table["path"][1]
    away = photo.rename(tmp_path / "away.jpg")
    first = crop(table, tmp_path)
    assert (len(first), len(first.attrs["seen"])) == (2, 3)
    shutil.move(away, photo)
    second = crop(table, tmp_path)
    assert [outcome.path for outcome in second.attrs["seen"]] == [table["path"][1]]
    assert not (tmp_path / "crops" / LOG).exists()
    third = crop(table, tmp_path)
    assert third.attrs["seen"] == []
    pd.testing.assert_frame_equal(third, second)


def test_a_run_that_was_killed_in_the_middle_ends_as_an_uninterrupted_one(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    whole = crop(table, tmp_path)
    files = {path: path.read_bytes() for path in (tmp_path / "crops").rglob("*") if path.is_file()}
    notes = (tmp_path / "crops" / NOTES).read_bytes().splitlines(keepends=True)
    first, second, *_ = (note for note in notes if note.strip())
    inside = next(at for at, byte in enumerate(second) if byte > 127) + 1  # a Korean character
    # Killed after the first note, in the middle of the second.
    (tmp_path / "crops" / MANIFEST).unlink()
    (tmp_path / "crops" / NOTES).write_bytes(first + second[:inside])
    (tmp_path / "crops" / whole["path"][1]).unlink()
    again = crop(table, tmp_path)
    pd.testing.assert_frame_equal(again, whole)
    after = {path: path.read_bytes() for path in files if path.name != NOTES}
    assert after == {path: data for path, data in files.items() if path.name != NOTES}
    assert crop(table, tmp_path).attrs["seen"] == again.attrs["seen"][:0]


def list_crops(folder: Path) -> dict[str, bytes]:
    """Everything but the notes, whose order is that of the work."""
    out = folder / "crops"
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != NOTES
    }


def change(table: pd.DataFrame, images: Path) -> pd.DataFrame:
    """Another box for the first photo, other pixels in the second's file."""
    draw_photo(images / table["path"][1], orientation=1, background=(120, 128, 128))
    return table.assign(left=[18, *table["left"][1:]])


def test_changed_photos_and_boxes_are_cut_anew_and_nothing_else(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    crop(table, tmp_path)
    photo = tmp_path / "images" / table["path"][2]
    os.utime(photo, (0, 0))  # another time is no other photo
    changed = change(table, tmp_path / "images")
    again = crop(changed, tmp_path)
    assert [each.path for each in again.attrs["seen"]] == table["path"].tolist()[:2]
    fresh = crop(changed, shutil.copytree(tmp_path / "images", tmp_path / "2" / "images").parent)
    pd.testing.assert_frame_equal(again, fresh)
    assert list_crops(tmp_path) == list_crops(tmp_path / "2")
    photo.unlink()
    third = crop(changed, tmp_path)  # what was cut of a photo that is gone since stays
    assert third.attrs["seen"] == []
    pd.testing.assert_frame_equal(third, again)


def test_photos_that_were_not_touched_are_not_read_again(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop(table, tmp_path)
    read: list[str] = []

    def remember(path: Path) -> str:
        read.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(module, "hash_file", remember)
    photo = tmp_path / "images" / table["path"][2]
    os.utime(photo, (0, 0))
    assert crop(table, tmp_path).attrs["seen"] == []
    assert read == [photo.name]


def test_other_settings_cut_all_anew(table: pd.DataFrame, tmp_path: Path) -> None:
    crop(table, tmp_path)
    wider = CropSettings("boxes", CropSpec(0.3, 40, grey=False, align=False))
    again = crop(table, tmp_path, settings=wider)
    assert len(again.attrs["seen"]) == 3
    fresh = crop(
        table,
        shutil.copytree(tmp_path / "images", tmp_path / "2" / "images").parent,
        settings=wider,
    )
    pd.testing.assert_frame_equal(again, fresh)
    assert list_crops(tmp_path) == list_crops(tmp_path / "2")


def test_weights_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    described = set()
    for content in (b"one", b"other"):
        (tmp_path / "face.pt").write_bytes(content)
        settings = CropSettings("yolo", BY_BOXES.spec, tmp_path / "face.pt")
        described.add(settings.describe())
    assert len(described) == 2


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("step", ["_forget", "_save", "_note", "write_manifest"])
@pytest.mark.parametrize("calls", [0, 1, 2])
@pytest.mark.parametrize("late", [False, True])
def test_a_run_killed_while_it_cuts_anew_leaves_nothing_of_the_older_one(
    step: str, calls: int, late: bool, back: bool,
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Killed before or after a step; then it goes on, or everything is as it was before."""
    crop(table, tmp_path)
    first, before = list_crops(tmp_path), shutil.copytree(tmp_path / "images", tmp_path / "before")
    changed = change(table, tmp_path / "images")
    real, count = getattr(module, step), iter(range(100))

    def kill(*arguments: Any) -> None:
        last = next(count) == calls
        if not last or late:
            real(*arguments)
        if last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(module, step, kill)
        crop(changed, tmp_path)
    if back:
        shutil.copytree(before, tmp_path / "images", dirs_exist_ok=True)
        crop(table, tmp_path)
        assert list_crops(tmp_path) == first
    else:
        crop(changed, tmp_path)
        crop(changed, shutil.copytree(tmp_path / "images", tmp_path / "2" / "images").parent)
        assert list_crops(tmp_path) == list_crops(tmp_path / "2")


def test_the_same_photo_is_known_whatever_is_cut_of_it(table: pd.DataFrame, tmp_path: Path) -> None:
    images = tmp_path / "images"
    draw_photo(images / table["path"][1], background=(120, 128, 128))
    table = table.iloc[:2]
    with Image.open(images / table["path"][0]) as image:
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(images / "turned.png", exif=exif)
        image.resize((190, 152)).save(images / "smaller.png")
    copies = table.iloc[[1, 1]].assign(path=["turned.png", "smaller.png"])
    crops = crop(pd.concat([table, copies], ignore_index=True), tmp_path)
    known = crops.set_index("path")
    red, green = known.loc[f"{table['path'][0]}.jpg"], known.loc["turned.png.jpg"]
    assert red["photo"] == green["photo"]
    assert red["pixels"] != green["pixels"]
    assert (len(crops), crops["photo"].nunique()) == (4, 3)
    assert read_manifest(tmp_path / "crops" / MANIFEST)["photo"].tolist() == list(crops["photo"])


def test_what_is_missing_is_said_before_any_work(table: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no boxes; name a detector by --by mtcnn"):
        crop(table.drop(columns=BOX), tmp_path)
    with pytest.raises(DetectorError, match="There is no detector 'dlib'"):
        crop(table, tmp_path, settings=CropSettings("dlib", BY_BOXES.spec))
    yolo = CropSettings("yolo", BY_BOXES.spec, tmp_path / "yolo.pt")
    with pytest.raises(DetectorError, match="needs a weights file"):
        crop_photos(table, tmp_path, tmp_path / "other", yolo, 1, lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["mtcnn", "haar"])
def test_detectors_cut_the_largest_face_in_any_number_of_processes(by: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(EXAMPLES, images)
    Image.new("RGB", (300, 300), "white").save(images / "nobody.webp")
    names = sorted(path.name for path in images.iterdir())
    table = pd.DataFrame({"path": names, "label": "기쁨"})
    settings = CropSettings(by, CropSpec(0.1, 64, grey=True, align=by == "mtcnn"))
    alone = crop_photos(table, images, tmp_path / "one", settings, 1, lambda _: None)
    together = crop_photos(table, images, tmp_path / "two", settings, 2, lambda _: None)
    pd.testing.assert_frame_equal(alone, together)
    assert "nobody.webp.jpg" not in set(alone["path"])
    assert "nobody.webp\tno face was found" in (tmp_path / "one" / LOG).read_text("utf-8")
    group = alone.set_index("path").loc["group.webp.jpg"]
    assert group["faces"] >= 3
    for row in alone.to_dict("records"):
        one, two = (tmp_path / each / row["path"] for each in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
        with Image.open(one) as image:
            assert (image.size, image.mode) == ((64, 64), "L")
        assert 0 <= row["left"] < row["right"] <= row["width"]


def test_a_full_disk_stops_the_work_and_names_the_crop(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_save", fill)
    with pytest.raises(DataError, match=r"red 사진\.jpg\.jpg: cannot be written \(No space left"):
        crop(table, tmp_path)
