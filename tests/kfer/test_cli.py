"""``python -m kfer``: the contract of its outputs, messages and exit statuses."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from kfer.cli import Format, _print_objects, app
from kfer.labels import TAXONOMIES
from kfer.recognizer import locate_bundle
from tests.kfer.photo_samples import TEXT, cut_short, encode
from tests.processes import keep_environment

ROOT = Path(__file__).parents[2]
GROUP = ROOT / "kfer" / "examples" / "group.webp"
KEYS = ["file", "width", "height", "model", "taxonomy", "approximate", "faces", "note"]
FACE_KEYS = ["rect", "detection_score", "label", "label_en", "unsure", "probs"]
NO_FACE = "no face found; the whole photo was read as one face"
NOT_LOOKED_FOR = "no face was looked for; the whole photo was read as one face"


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out, newline="")))


def run(arguments: Sequence[str | Path], cwd: Path = ROOT) -> Result:
    """As a user does, in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name != "KFER_MODEL"}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "kfer", *map(str, arguments)],
        cwd=cwd, env=env, capture_output=True, encoding="utf-8", check=False, timeout=240,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


def run_here(arguments: Sequence[str | Path]) -> Result:
    """In this process, which pays for torch only once."""
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"KFER_MODEL": None})
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return Result(done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, face_paths: list[Path]) -> Path:
    """Photos, good and broken, with names that are hard to print."""
    folder = tmp_path_factory.mktemp("photos")
    shutil.copy(GROUP, folder / "휴가 사진.webp")
    shutil.copy(face_paths[0], folder / "=1+2.webp")
    face = Image.open(face_paths[1]).convert("RGB")
    (folder / "cut.jpg").write_bytes(cut_short(encode(face, "JPEG")))
    (folder / "notes.jpg").write_bytes(TEXT)
    Image.new("RGB", (64, 48), "green").save(folder / "meadow.png")
    return folder


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def several(folder: Path) -> Result:
    return run(["predict", "휴가 사진.webp", "cut.jpg", "missing.jpg", "meadow.png"], folder)


@pytest.mark.slow
def test_each_photo_gives_an_object_on_a_line_of_its_own_in_order(several: Result) -> None:
    names = [described["file"] for described in several.objects]
    assert names == ["휴가 사진.webp", "cut.jpg", "missing.jpg", "meadow.png"]
    assert "휴가 사진.webp" in several.out  # letters, not \\u escapes


@pytest.mark.slow
def test_the_object_has_the_contracts_keys_and_values(several: Result) -> None:
    described = several.objects[0]
    assert list(described) == KEYS
    assert (described["width"], described["height"]) == (1280, 470)
    assert re.fullmatch(r"kfer-default@[0-9a-f]{12}", described["model"])
    assert described["taxonomy"] == "ferplus8"
    assert described["approximate"] is False
    assert described["note"] is None
    assert len(described["faces"]) == 3
    for face in described["faces"]:
        assert list(face) == FACE_KEYS
        assert face["probs"].keys() == set(TAXONOMIES["ferplus8"].labels)
        assert sum(face["probs"].values()) == pytest.approx(1, abs=1e-9)
        assert face["label"] == max(face["probs"], key=face["probs"].get)
        assert face["label_en"] == TAXONOMIES["ferplus8"].to_english(face["label"])
        x, y, w, h = face["rect"]
        assert 0 <= x < x + w <= 1280
        assert 0 <= y < y + h <= 470
        assert 0.9 < face["detection_score"] <= 1
        assert face["unsure"] == (face["probs"][face["label"]] < locate_bundle(None).unsure_below)


@pytest.mark.slow
def test_a_broken_photo_is_told_and_the_others_are_still_read(several: Result) -> None:
    assert several.status == 1
    cut, missing, meadow = several.objects[1:]
    assert set(cut) == set(missing) == {"file", "error"}
    assert "damaged or cut short" in cut["error"]
    assert "cannot be opened: No such file" in missing["error"]
    assert several.err.splitlines() == [
        f"cut.jpg: {cut['error']}",
        f"missing.jpg: {missing['error']}",
    ]
    assert list(meadow) == KEYS


@pytest.mark.slow
def test_a_photo_without_a_face_is_read_whole_and_says_so(several: Result) -> None:
    meadow = several.objects[3]
    assert meadow["note"] == NO_FACE
    assert [face["rect"] for face in meadow["faces"]] == [[0, 0, 64, 48]]


@pytest.mark.slow
@pytest.mark.usefixtures("inside")
def test_csv_has_a_row_per_face_and_defuses_file_names() -> None:
    result = run_here(["predict", "=1+2.webp", "notes.jpg", "휴가 사진.webp", "--format", "csv"])
    assert result.status == 1
    names = [row["file"] for row in result.rows]
    assert names == ["'=1+2.webp", "notes.jpg", *["휴가 사진.webp"] * 3]
    assert [row["face"] for row in result.rows] == ["1", "", "1", "2", "3"]
    assert "not a photo" in result.rows[1]["error"]
    assert "not a photo" in result.err
    for row in result.rows[2:]:
        probabilities = [float(row[label]) for label in TAXONOMIES["ferplus8"].labels]
        assert sum(probabilities) == pytest.approx(1)
        assert float(row[row["label"]]) == max(probabilities)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["table", "json", "csv"])
@pytest.mark.usefixtures("inside")
def test_a_file_gets_what_the_shell_would(output: str) -> None:
    command = ["predict", "휴가 사진.webp", "--detector", "none", "--format", output]
    shell = run_here(command)
    assert run_here([*command, "--out", "readings"]).out == ""
    written = Path("readings").read_bytes()
    assert written.startswith(b"\xef\xbb\xbf") is (output == "csv")  # as spreadsheets want it
    assert written.decode("utf-8-sig") == shell.out


def test_a_file_is_replaced_by_a_whole_one_alone(tmp_path: Path) -> None:
    out = tmp_path / "readings.csv"
    out.write_text("of last week")
    result = run_here(["predict", "a.jpg", "--model", "typo", "--format", "csv", "--out", str(out)])
    assert result.status == 1
    assert out.read_text() == "of last week"
    taken = run_here(["predict", str(out), "--out", str(out)])
    assert taken.status == 2
    assert "is one of the photos" in taken.err
    assert [path.name for path in tmp_path.iterdir()] == ["readings.csv"]


def test_a_file_that_cannot_be_written_is_said_before_any_photo_is_read(tmp_path: Path) -> None:
    result = run_here(["predict", "no such photo.jpg", "--out", str(tmp_path / "no" / "readings")])
    assert result.status == 1
    assert result.err.endswith("readings cannot be written (No such file or directory).\n")


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_any_file_name_can_be_printed(output: str, tmp_path: Path) -> None:
    """What looks like markup, and what is not UTF-8."""
    names = ["notes[/b].jpg", "photo[edited].jpg", "\udcc7\udcd1.jpg"]
    for name in names:
        photo = tmp_path / name
        photo.parent.mkdir(exist_ok=True)
        photo.write_bytes(b"no photo")
    done = subprocess.run(
        [sys.executable, "-m", "kfer", "predict", *names, "--format", output],
        cwd=tmp_path,
        env={**keep_environment(), "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    printed = done.stdout.decode()
    for name in names:
        assert os.fsencode(name).decode("utf-8", "replace") in printed
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("inside")
def test_the_table_names_every_face_in_both_languages() -> None:
    result = run_here(["predict", "휴가 사진.webp", "notes.jpg", "--format", "table"])
    assert result.status == 1
    lines = [line for line in result.out.splitlines() if "휴가 사진.webp" in line]
    assert len(lines) == 3
    for line in lines:
        korean, english = re.search(r"([가-힣]+) ([a-z]+)\?? +│ +\d+ ", line).groups()  # type: ignore[union-attr]
        assert TAXONOMIES["ferplus8"].to_english(korean) == english
    assert "notes.jpg" in result.out
    assert "not a photo" in result.out


@pytest.mark.parametrize(
    ("marks", "answer", "share"),
    [
        ({"unsure": True, "approximate": True}, "기쁨 joy?", "≈51"),
        ({"unsure": False, "approximate": False}, "기쁨 joy", "51"),
        ({"unsure": None, "approximate": False}, "기쁨 joy", "51"),
    ],
)
def test_the_table_marks_unsure_and_approximate_answers(
    marks: dict[str, Any], answer: str, share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    face = {"rect": [1, 2, 3, 4], "detection_score": 0.9, "label": "기쁨", "label_en": "joy",
            "unsure": marks["unsure"], "probs": {"기쁨": 0.51, "슬픔": 0.49}}  # fmt: skip
    described = {"file": "a.jpg", **marks, "faces": [face], "note": None}
    assert _print_objects(iter([described]), Format.table, sys.stdout) is False
    assert re.search(rf" {re.escape(answer)} +│ +{share} +│", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.usefixtures("inside")
def test_another_taxonomy_sums_the_models_own(several: Result) -> None:
    result = run_here(["predict", "휴가 사진.webp", "--taxonomy", "korean5"])
    assert result.status == 0
    assert "approximation" in result.err
    (described,) = result.objects
    assert described["taxonomy"] == "korean5"
    assert described["approximate"] is True
    sums = {"기쁨": ["기쁨"], "당황": ["놀람", "공포"], "분노": ["분노", "혐오", "경멸"],
            "슬픔": ["슬픔"], "중립": ["중립"]}  # fmt: skip
    for face, own in zip(described["faces"], several.objects[0]["faces"], strict=True):
        assert face["rect"] == own["rect"]
        expected = {
            label: sum(own["probs"][part] for part in parts) for label, parts in sums.items()
        }
        assert face["probs"] == pytest.approx(expected)
        assert list(face["probs"]) == list(TAXONOMIES["korean5"].labels)


@pytest.mark.slow
@pytest.mark.usefixtures("inside")
def test_without_a_detector_the_whole_photo_is_one_face() -> None:
    result = run_here(["predict", "휴가 사진.webp", "--detector", "none"])
    assert result.status == 0
    (described,) = result.objects
    assert described["note"] == NOT_LOOKED_FOR
    assert [face["rect"] for face in described["faces"]] == [[0, 0, 1280, 470]]
    assert described["faces"][0]["detection_score"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("inside")
def test_yolo_without_its_weights_says_what_to_do() -> None:
    result = run_here(["predict", "meadow.png", "--detector", "yolo"])
    assert (result.status, result.out) == (1, "")
    assert "YOLO-face needs a weights file; there is none at yolo-face.pt" in result.err
    assert "--detector-weights" in result.err


@pytest.mark.slow
def test_a_model_folder_is_used(tiny_bundle: Path) -> None:
    result = run_here(["predict", GROUP, "--model", tiny_bundle, "--detector", "none"])
    assert result.status == 0
    assert result.objects[0]["model"].startswith("tiny@")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "it has no config.json"),
        ({"config.json": b'{"architecture": "resnet18"}', "model.safetensors": b""}, "no 'kfer'"),
        ({"config.json": b'{"architecture": "resnet18"}', "pytorch_model.bin": b""}, "pickled"),
    ],
    ids=["missing config", "foreign config", "pickle only"],
)
def test_a_model_that_is_none_is_refused_with_a_reason(
    files: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    result = run_here(["predict", GROUP, "--model", tmp_path])
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert message in result.err


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["predict", GROUP, "--taxonomy", "moods"], ["'moods'", "korean5", "ferplus8"]),
        (["predict", GROUP, "--detector", "eyes"], ["'eyes'", "mtcnn", "haar", "yolo", "none"]),
        (["predict", GROUP, "--format", "xml"], ["'xml'", "json", "csv", "table"]),
        (["predict", GROUP, "--colour"], ["No such option", "--colour"]),
        (["predict"], ["Missing argument", "PHOTO"]),
        (["guess", GROUP], ["No such command", "guess"]),
    ],
    ids=["taxonomy", "detector", "format", "option", "no photo", "command"],
)
def test_wrong_usage_is_status_2_and_names_what_is_allowed(
    arguments: list[str], messages: list[str]
) -> None:
    result = run(arguments)
    assert (result.status, result.out) == (2, "")
    for message in messages:
        assert message in result.err


def test_help_names_every_command_and_option() -> None:
    top = run(["--help"])
    assert top.status == 0
    assert "predict" in top.out
    result = run(["predict", "--help"])
    assert result.status == 0
    assert "hub:owner/name[@revision]" in result.out
    for word in ["PHOTO", "--model", "--detector", "--taxonomy", "--format", *TAXONOMIES]:
        assert word in result.out
    assert "KFER_MODEL" in result.out
    assert "Exit status: 0 all read" in result.out
