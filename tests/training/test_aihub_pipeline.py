"""AI Hub played on the loopback: from a TSV, or JSON, of planted faults to a bundle in the app.

300 pictures of 24 invented people, rendered faces of the demo study on grey, under Korean names.
"""

import csv
import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kfer.bundle import CARD, load_bundle
from tests.commands import ROOT, call
from tests.training.file_server import run_server
from training.manifest import BOX, UNKNOWN, read_manifest, write_manifest
from training.sources.aihub import TSV_COLUMNS

pytestmark = pytest.mark.slow

DEMO = ROOT / "survey" / "demo"
PICTURES = 300
SIDE, FACE = 240, (70, 60, 170, 180)  # px: of the upright photo, and the box that all but one draw
LABELS = ("기쁨", "당황", "분노", "슬픔", "중립")
STORED = {
    1: None,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
RECIPE = """
architecture = "resnet18"
model_args = { in_chans = 1, num_classes = 5, layers = [1, 1, 1, 1], channels = [8, 8, 16, 16] }
heads = ["korean5:label"]
input_size = 32
batch_size = 32
epochs = 2
warmup_epochs = 1
"""


@dataclass(frozen=True)
class Planted:
    """What stands in the label files, and what must come of it."""

    rows: list[dict[str, Any]]
    bodies: dict[str, bytes]
    labels: dict[str, str]  # by name, of all that can be used or kept apart
    persons: dict[str, str]
    missing: set[str]
    truncated: set[str]


def build_photo(source: Path, shift: int, orientation: int) -> bytes:
    """The portrait's face lies in FACE, moved a little; stored so that EXIF turns it upright."""
    photo = Image.new("RGB", (SIDE, SIDE), (110 + shift, 120, 130))
    with Image.open(source) as portrait:
        photo.paste(portrait.convert("RGB").resize((200, 200)), (20 + shift, 20))
    turn = STORED[orientation]
    if turn is not None:
        photo = photo.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=88, exif=exif)
    return file.getvalue()


def plant() -> Planted:
    rng = np.random.default_rng(82)
    with (DEMO / "manifest.csv").open(encoding="utf-8", newline="") as file:
        sources = list(csv.DictReader(file))
    planted = Planted([], {}, {}, {}, set(), set())
    for number in range(PICTURES):
        source = sources[number % len(sources)]
        label, person = source["label"], hashlib.sha256(source["person"].encode()).hexdigest()[:40]
        kind = {7: "missing", 17: "truncated", 27: "copied"}.get(number % 60, "")
        name = f"{person}_{label}_실내 사진 ({number}).jpg"
        orientation = (1, 1, 6, 8, 3)[number % 5]
        body = build_photo(DEMO / source["filename"], number // len(sources) * 3, orientation)
        if kind == "truncated":
            body = body[: len(body) // 2]
        if kind == "copied":  # another name, the same pixels: the last picture once more
            previous = planted.rows[-1]
            body, label = planted.bodies[previous["name"]], planted.labels[previous["name"]]
            person = planted.persons[previous["name"]]
            name = f"{person}_{label}_다시 올림 ({number}).jpg"
        disagree = number % 15 == 4 and not kind
        emotions = ["불안", "상처", label] if disagree else [label, label, str(rng.choice(LABELS))]
        left, top = (float(value) for value in rng.integers(0, 60, 2))
        boxes = [FACE, (FACE[0] + 2, FACE[1], FACE[2] + 2, FACE[3]), (left, top, 200, 220)]
        planted.rows.append({"name": name, "emotions": emotions, "boxes": boxes})
        planted.bodies[name] = body
        planted.labels[name] = UNKNOWN if disagree else label
        planted.persons[name] = person
        if kind in ("missing", "truncated"):
            getattr(planted, kind).add(name)
    return planted


def draw(box: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(("minX", "minY", "maxX", "maxY"), map(float, box), strict=True))


def write_tsv(planted: Planted, url: str, path: Path) -> None:
    lines = ["\t".join(TSV_COLUMNS)]
    for number, row in enumerate(planted.rows):
        cells = [json.dumps({"boxes": [draw(box)]}) for box in row["boxes"]]
        cells = ['"' + cell.replace('"', '""') + '"' for cell in cells]
        name = row["name"]
        fault = "missing" if name in planted.missing else "reset" if number % 50 == 3 else "well"
        columns = [name, f"{url}/{fault}_{name}", *row["emotions"], *["실내"] * 3, *cells]
        lines.append("\t".join(columns))
        if number in (10, 20):  # cut short in the middle
            lines.append("\t".join(["잘린 행.jpg", f"{url}/잘린 행.jpg", "기쁨"]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_json(planted: Planted, folder: Path) -> list[Path]:
    """One array per emotion of the name, as the public release has it, in CP949."""
    folder.mkdir()
    paths = []
    for label in LABELS:
        entries = [
            {
                "filename": row["name"],
                "faceExp_uploader": label,
                **{
                    f"annot_{each}": {"boxes": draw(box), "faceExp": emotion, "bg": "실내"}
                    for each, box, emotion in zip("ABC", row["boxes"], row["emotions"], strict=True)
                },
            }
            for row in planted.rows
            if f"_{label}_" in row["name"]
        ]
        paths.append(folder / f"{label}.json")
        paths[-1].write_text(json.dumps(entries, ensure_ascii=False), encoding="cp949")
    return paths


def run(package: str, *arguments: object, status: int = 0) -> CompletedProcess[str]:
    result = call(package, *arguments)
    assert result.returncode == status, result.stderr
    return result


@dataclass(frozen=True)
class Work:
    """A folder in which the data stages have run, and what was planted."""

    folder: Path
    planted: Planted


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("aihub") / "한국인 감정 인식"
    folder.mkdir()
    planted = plant()
    with run_server(planted.bodies) as server:
        write_tsv(planted, server.url, folder / "emotions.tsv")
        result = run(
            "training", "download", "--input", folder / "emotions.tsv", "--out", folder / "photos",
            status=1,
        )  # fmt: skip
    assert "295 fetched, 0 there before, 5 failed, 2 malformed rows" in result.stdout
    run("training", "votes", "--input", folder / "emotions.tsv", "--out", folder / "labels.csv")
    result = run(
        "training", "crop", "--manifest", folder / "labels.csv", "--images", folder / "photos",
        "--out", folder / "crops", "--size", 48, "--grey", "--margin", "0.1",
    )  # fmt: skip
    assert "290 crops in" in result.stdout
    run(
        "training", "split", "--manifest", folder / "crops" / "manifest.csv", "--out",
        folder / "parts.csv", "--ratios", "70/15/15",
    )  # fmt: skip
    return Work(folder, planted)


def test_what_was_planted_comes_back_exactly(work: Work) -> None:
    planted = work.planted
    assert (len(planted.missing), len(planted.truncated)) == (5, 5)
    with (work.folder / "photos" / "download.error.log").open(encoding="utf-8", newline="") as file:
        assert {row["name"] for row in csv.DictReader(file, delimiter="\t")} == planted.missing
    assert (work.folder / "votes.error.log").read_text("utf-8").splitlines() == [
        "emotions.tsv:13: has 3 columns instead of 11",
        "emotions.tsv:24: has 3 columns instead of 11",
    ]
    labels = read_manifest(work.folder / "labels.csv")
    names = labels["path"].str.split("/").str[-1]
    assert dict(zip(names, labels["label"], strict=True)) == planted.labels
    assert dict(zip(names, labels["person"], strict=True)) == planted.persons
    assert labels[BOX].drop_duplicates().to_numpy().tolist() == [[71, 60, 171, 180]]
    log = (work.folder / "crops" / "crop.error.log").read_text("utf-8").splitlines()
    assert {line.split("\t")[0].split("/")[-1] for line in log} == (
        planted.missing | planted.truncated
    )


def test_crops_are_upright_whichever_way_they_were_stored(work: Work) -> None:
    """The same portrait, stored in four ways, gives the same crop."""
    crops = read_manifest(work.folder / "crops" / "manifest.csv")
    by_number = {int(path.rsplit("(", 1)[1].split(")")[0]): path for path in crops["path"]}
    compared = 0
    for number in range(105):  # one portrait each; 105 later it is shown again, 3 px further
        first, again = by_number.get(number), by_number.get(number + 105)
        if first and again and number % 60 != 27 and (number + 105) % 60 != 27:
            one, other = (
                np.asarray(Image.open(work.folder / "crops" / path), dtype=float)
                for path in (first, again)
            )
            # Moved by 3 of 132 px: a pixel in the crop.
            assert np.corrcoef(one[:, :-1].ravel(), other[:, 1:].ravel())[0, 1] > 0.9, number
            compared += 1
    assert compared > 80


def test_parts_share_no_person_and_no_picture_and_leave_unknown_out(work: Work) -> None:
    parts = read_manifest(work.folder / "parts.csv")
    assert (parts["part"] == "").equals(parts["label"] == UNKNOWN)
    unknown = sum(label == UNKNOWN for label in work.planted.labels.values())
    assert (parts["label"] == UNKNOWN).sum() == unknown
    known = parts[parts["part"] != ""]
    assert set(known["part"]) == {"train", "validation", "test"}
    for column in ("person", "pixels"):
        assert known.groupby(column)["part"].nunique().max() == 1
    assert known["pixels"].duplicated().sum() >= 4  # the copies
    shares = known["part"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.7, abs=0.08)


def test_every_stage_again_changes_nothing(work: Work) -> None:
    files = {
        path: path.read_bytes()
        for path in work.folder.rglob("*")
        if path.is_file() and "photos" not in path.parts
    }
    folder = work.folder
    run("training", "votes", "--input", folder / "emotions.tsv", "--out", folder / "labels.csv")
    run(
        "training", "crop", "--manifest", folder / "labels.csv", "--images", folder / "photos",
        "--out", folder / "crops", "--size", 48, "--grey", "--margin", "0.1",
    )  # fmt: skip
    run(
        "training", "split", "--manifest", folder / "crops" / "manifest.csv", "--out",
        folder / "parts.csv", "--ratios", "70/15/15",
    )  # fmt: skip
    assert {path: path.read_bytes() for path in files} == files


def test_the_json_layout_gives_the_same_labels(work: Work, tmp_path: Path) -> None:
    inputs = [
        flag for path in write_json(work.planted, tmp_path / "json") for flag in ("--input", path)
    ]
    run("training", "votes", "--layout", "json", *inputs, "--out", tmp_path / "labels.csv")
    ours = read_manifest(tmp_path / "labels.csv").sort_values("path", ignore_index=True)
    theirs = read_manifest(work.folder / "labels.csv").sort_values("path", ignore_index=True)
    pd.testing.assert_frame_equal(ours.drop(columns="url"), theirs.drop(columns="url"))
    whole = ("--input", tmp_path / "json", "--out", tmp_path / "whole.csv")
    run("training", "votes", "--layout", "json", *whole)
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "labels.csv").read_bytes()


def test_the_pipeline_ends_in_a_bundle_that_reads_photos(work: Work, tmp_path: Path) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    data = ["--manifest", work.folder / "parts.csv", "--images", work.folder / "crops"]
    out = tmp_path / "run"
    result = run("training", "train", "--recipe", recipe, *data, "--out", out, "--device", "cpu")
    assert "warning" not in result.stderr
    parts = read_manifest(work.folder / "parts.csv")["part"]
    counts = Counter(parts)
    assert f"{counts['train']} training and {counts['validation']} validation" in result.stdout
    bundle = load_bundle(out / "bundle")
    assert [head.taxonomy.name for head in bundle.heads] == ["korean5"]
    assert (bundle.crop.margin, bundle.crop.size, bundle.crop.grey) == (0.1, 48, True)

    run("training", "evaluate", "--bundle", out / "bundle", *data)
    card = (out / "bundle" / CARD).read_text("utf-8")
    assert "| part test of parts.csv, single crop |" in card
    assert f"| {counts['test']} |" in card
    assert "--manifest MANIFEST --images IMAGES --part test`" in card
    assert "None of them stands in the training part." in " ".join(card.split())
    table = read_manifest(work.folder / "parts.csv")
    table.loc[parts[parts == "test"].index[0], "label"] = "불안"
    write_manifest(table, tmp_path / "parts.csv")
    data[1] = tmp_path / "parts.csv"
    result = run("training", "evaluate", "--bundle", out / "bundle", *data)
    assert "left out, for no head has their labels or votes: 1 불안" in result.stderr

    photo = next(path for path in (work.folder / "photos" / "기쁨").glob("*.jpg"))
    result = run("kfer", "predict", photo, "--model", out / "bundle")
    reading = json.loads(result.stdout)
    assert reading["taxonomy"] == "korean5"
    assert set(reading["faces"][0]["probs"]) == set(LABELS)
