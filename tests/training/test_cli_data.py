"""The commands that make a manifest refuse what cannot be meant, and say what they leave out."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.commands import call
from tests.training.test_aihub import build_entry
from training.download import PARSE_LOG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures of as many people, their manifest, and a list of two of them."""
    (tmp_path / "photos").mkdir()
    rows = []
    for number in range(12):
        path = f"{number}.png"
        Image.new("RGB", (20, 20)).save(tmp_path / "photos" / path)
        box = {"left": 0, "top": 0, "right": 20, "bottom": 20}
        rows.append({"path": path, "label": "기쁨", "person": f"p{number}", **box})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "exclude.csv").write_text("file\n3.png\n4.png\n")
    (tmp_path / "other.csv").write_text("file\nnobody.png\n")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--by", "none"], "--by none: finds no faces; allowed are boxes, mtcnn, haar, yolo."),
        (["--by", "box"], "--by box: finds no faces; allowed are boxes, mtcnn, haar, yolo."),
        (["--margin", "20"], "--margin 20: must be above -1 and at most 3; 0.2 adds 20 %."),
        (["--margin", "nan"], "--margin nan: must be above -1 and at most 3"),
        (["--margin", "inf"], "--margin inf: must be above -1 and at most 3"),
        (["--margin", "-1"], "--margin -1: must be above -1 and at most 3"),
        (["--out", "photos/../photos"], "--out photos/../photos: is the image folder; name anot"),
        (["--images", "photo"], "--images photo: is no folder; name that of the manifest's pic"),
    ],
)
def test_crops_that_cannot_be_meant_are_refused(
    flags: list[str], message: str, folder: Path
) -> None:
    before = sorted(folder.rglob("*"))
    flags = ["--manifest", "labels.csv", "--images", "photos", "--out", "crops", *flags]
    done = call("training", "crop", *flags, cwd=folder)
    assert (done.returncode, message in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert sorted(folder.rglob("*")) == before


def test_what_is_left_out_is_counted(folder: Path) -> None:
    manifest = ("--manifest", "labels.csv")
    for command in (
        ("split", *manifest, "--out", "parts.csv"),
        ("crop", *manifest, "--images", "photos", "--out", "crops", "--workers", 1),
        ("review", *manifest, "--images", "photos", "--out", "review"),
    ):
        for name, count in (("exclude.csv", 2), ("other.csv", 0)):
            done = call("training", *command, "--exclude", name, cwd=folder)
            assert done.returncode == 0, done.stderr
            assert f"{count} pictures left out by --exclude {name}\n" in done.stderr
        assert "left out" not in call("training", *command, cwd=folder).stderr


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_no_generator_takes_are_refused(seed: int, folder: Path) -> None:
    flags = ("--manifest", "labels.csv", "--out", "parts.csv", "--seed")
    done = call("training", "split", *flags, seed, cwd=folder)
    assert (done.returncode, "'--seed': " in done.stderr) == (2, True), done.stderr
    assert call("training", "split", *flags, 2**32 - 1, cwd=folder).returncode == 0


def test_crops_that_are_nowhere_are_not_reviewed(folder: Path) -> None:
    flags = ("--manifest", "labels.csv", "--images", "crops", "--out", "review")
    done = call("training", "review", *flags, cwd=folder)
    assert (done.returncode, "--images crops: is no folder" in done.stderr) == (2, True)
    assert not (folder / "review").exists()


def test_the_log_of_votes_leaves_that_of_the_download_alone(tmp_path: Path) -> None:
    (tmp_path / PARSE_LOG).write_text("a.tsv:3: has 3 columns instead of 11\n")
    entries = [build_entry(f"{number}.jpg", "기쁨", "기쁨", "기쁨") for number in range(3)]
    for name, broken, logs in (
        ("good", [], {PARSE_LOG}),
        ("bad", [{}], {PARSE_LOG, "votes.error.log"}),
        ("good", [], {PARSE_LOG}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps([*entries, *broken]))
        flags = ("--layout", "json", "--input", f"{name}.json", "--out", "labels.csv")
        done = call("training", "votes", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in tmp_path.glob("*.log")} == logs
    assert (tmp_path / PARSE_LOG).read_text() == "a.tsv:3: has 3 columns instead of 11\n"
