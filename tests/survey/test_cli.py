"""The commands as a researcher types them, in a process where that matters, else in this one."""

import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from survey import demo_study, participation, studies
from survey.cli import app
from survey.database import open_database, transaction
from survey.models import FrozenPrediction
from survey.participation import build_response
from tests.processes import keep_environment
from tests.survey.conftest import NOW
from tests.survey.samples import LABELS, add_study
from tests.survey.simulated import simulate
from tests.survey.test_image_sets import draw, write

DEFINITION = """
size = 10
practice = 2
[title]
ko = "작은 설문"
[consent]
ko = "동의해요."
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KFER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("KFER_DATABASE_URL", raising=False)
    monkeypatch.delenv("KFER_MODEL", raising=False)
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_pictures(folder: Path, per_label: int, seed: int) -> Path:
    return write(
        folder,
        {
            f"{label}/{index}.png": draw(seed + 100 * at + index)
            for at, label in enumerate(LABELS)
            for index in range(per_label)
        },
    )


def import_all(data: Path) -> None:
    for name, visibility, seed in (("open", "public", 0), ("team", "private", 1000)):
        result = call(
            "import", name, write_pictures(data / name, 1, seed), "--visibility", visibility
        )
        assert result.exit_code == 0, result.output
    practice = write_pictures(data / "practice", 1, 2000)
    assert call("import", "warm-up", practice, "--visibility", "public").exit_code == 0
    (data / "study.toml").write_text(DEFINITION, encoding="utf-8")


def test_from_folders_to_a_study_that_can_be_taken_part_in_and_closed(data: Path) -> None:
    import_all(data)
    # As the app does at its first start: of these faces none gets into another study by itself.
    engine = open_database(f"sqlite:///{data / 'data' / 'kfer.sqlite'}")
    demo_study.ensure_demo_study(engine, NOW)
    engine.dispose()
    create = ("studies", "create", "mine", "--definition", data / "study.toml")
    created = call(*create, "--practice", "warm-up")
    assert created.output == "mine: version 1 is open, 10 images.\n"
    assert "mine: version 2" in call(*create, "--practice", "warm-up").output
    engine = open_database(f"sqlite:///{data / 'data' / 'kfer.sqlite'}")
    code, step = participation.start(engine, "mine", True, "ko", {}, NOW)
    assert (step.participation.study.version, step.participation.total) == (2, 12)
    with transaction(engine, writes=False) as session:
        study = studies.find_study(session, "mine")
        assert study is not None
        main = studies.list_study_images(session, study, "main")
    with transaction(engine, writes=False) as session:
        demo = studies.get_study(session, "demo")
        shown = {image.id for image in studies.list_study_images(session, demo, "main")}
        assert shown.isdisjoint(image.id for image in main)
        assert shown.isdisjoint(image.id for image in studies.list_candidates(session, "korean5"))
        chosen = studies.list_candidates(session, "korean5", ["demo main public"])
        assert shown.issuperset(image.id for image in chosen)
        assert len(chosen) == 50
    assert {image.stratum for image in main} == {
        (visibility, label) for visibility in ("public", "private") for label in LABELS
    }
    closed = call("studies", "close", "mine").output
    assert closed == "mine: version 1 is closed.\nmine: version 2 is closed.\n"
    listed = call("studies", "list").output.splitlines()
    for version, line in enumerate((each for each in listed if each[:4] == "mine"), start=1):
        pattern = rf"mine\tversion {version}\tkorean5\t10 images\tclosed [-\d]{{10}}\t0 finished"
        assert re.fullmatch(pattern, line)
    again = call("studies", "close", "mine")
    assert (again.exit_code, "was closed on" in again.output) == (1, True)
    assert call("withdraw", code).output == "14 rows deleted.\n"
    assert call("withdraw", code).exit_code == 1
    participation.start(engine, "demo", True, "ko", {}, datetime.now(UTC) - timedelta(days=2))
    assert call("studies", "tidy", "demo").output == "1 participations without an answer deleted.\n"
    engine.dispose()


def test_the_report_comes_before_anything_is_written(data: Path) -> None:
    source = write_pictures(data / "set", 2, 0)
    write(source, {"기쁨/copy.png": draw(0), "불안/x.png": draw(9), "슬픔/bad.png": b"x"})
    (data / "unfit.txt").write_text("# judged by eye\n중립/1.png\n", encoding="utf-8")
    private = ("import", "a", source, "--visibility", "private")
    result = call(*private, "--exclude", data / "unfit.txt", "--dry-run")
    assert result.exit_code == 0
    for line in (
        "9 pictures can be imported.",
        "  중립\t1",
        "4 stay out:",
        "  불안/x.png: unknown label '불안'",
        "  중립/1.png: excluded",
        "A balanced study of 100 still lacks: 10 기쁨 (public), 10 당황 (public)",
        "8 기쁨 (private)",
        "Nothing was written (--dry-run).",
    ):
        assert line in result.output
    assert "There is no study" in call("studies", "close", "a").stderr
    assert call(*private).exit_code == 0


def answer_study(engine: Engine, name: str, n: int) -> None:
    participation.start(engine, name, True, "ko", {}, NOW)  # goes no further
    code, step = participation.start(engine, name, True, "ko", {"age": "=1"}, NOW)
    for _ in range(n):
        assert step.trial is not None
        response = build_response(step.trial.truth, 200, {}, NOW)
        step = participation.answer(engine, code, step.trial.id, response)


def test_an_export_is_the_main_answers_of_the_newest_version_unless_more_is_asked_for(
    data: Path,
) -> None:
    import_all(data)
    # As the app does at its first start: of these faces none gets into another study by itself.
    engine = open_database(f"sqlite:///{data / 'data' / 'kfer.sqlite'}")
    demo_study.ensure_demo_study(engine, NOW)
    engine.dispose()
    create = ("studies", "create", "mine", "--definition", data / "study.toml")
    for version in (1, 2):
        assert call(*create, "--practice", "warm-up").exit_code == 0, version
        engine = open_database(f"sqlite:///{data / 'data' / 'kfer.sqlite'}")
        answer_study(engine, "mine", n=12 if version == 1 else 5)
        engine.dispose()
    out, models = data / "answers.csv", data / "models.csv"
    result = call("export", "mine", "--out", out, "--predictions", models)
    assert result.output == (
        f"mine, version 2: 3 responses of 1 participants, 0 of them flagged, in {out}.\n"
        f"0 frozen predictions in {models}.\n"
    )
    assert set(pd.read_csv(out)["phase"]) == {"main"}
    assert list(pd.read_csv(models).columns[:3]) == ["subj", "session", "trial"]
    (somebody,) = set(pd.read_csv(out)["subj"])
    everything = call("export", "mine", "--out", out, "--version", 1, "--all")
    assert "version 1: 12 responses of 1 participants, 1 of them flagged" in everything.output
    table = pd.read_csv(out)
    assert Counter(table["phase"]) == {"practice": 2, "main": 10}
    assert set(table["flags"]) == {"too_fast"}
    assert table["correct"].all()
    assert call("withdraw", somebody).output == "19 rows deleted.\n"
    assert f"calls anybody {somebody}" in call("withdraw", somebody).stderr
    call("export", "mine", "--out", out, "--version", 1, "--all")
    assert len(pd.read_csv(out)) == 12  # those of another
    assert "There is no study mine, version 3" in call(
        "export", "mine", "--out", out, "--version", 3
    ).stderr  # fmt: skip


def test_a_report_is_of_what_was_asked_for(data: Path) -> None:
    (data / "data").mkdir()
    engine = open_database(f"sqlite:///{data / 'data' / 'kfer.sqlite'}")
    add_study(engine)
    simulate(engine, "small", [0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
    engine.dispose()
    out = data / "report.html"
    report = ("report", "small", "--output", out, "--language", "en")
    assert call(*report).output == f"small: 6 participants, in {out}.\n"
    whole = out.read_text(encoding="utf-8")
    filters = '{"visibility": "private"}'
    assert call(*report, "--filters", filters).exit_code == 0
    assert "Images: private images. 6 of 6 people." in out.read_text(encoding="utf-8")
    assert "Images: private images" not in whole
    for wrong, said in (("private", "--filters is not JSON (Expecting value"), ("[]", "an object")):
        assert said in call(*report, "--filters", wrong).stderr


@pytest.mark.slow
def test_predictions_of_the_bundled_model_are_frozen_once(data: Path) -> None:
    import_all(data)
    first = call("freeze")
    assert first.exit_code == 0, first.output
    assert re.search(r"kfer-default@[0-9a-f]{12}: 15 predictions frozen\.", first.output)
    assert ": 0 predictions frozen." in call("freeze").output
    engine = open_database(f"sqlite:///{data / 'data' / 'kfer.sqlite'}")
    with transaction(engine, writes=False) as session:
        for row in session.query(FrozenPrediction):
            assert list(row.probabilities) == list(LABELS)
            assert sum(row.probabilities.values()) == pytest.approx(1, abs=1e-6)
    engine.dispose()


@pytest.mark.slow
def test_faces_can_be_cut_out_at_the_import(data: Path) -> None:
    faces = [demo_study.FOLDER / f"s{number:03}.webp" for number in (1, 2, 3)]
    source = write(data / "faces", {f"joy/{face.name}": face.read_bytes() for face in faces})
    write(source, {"joy/nobody.png": draw(1)})
    result = call("import", "a", source, "--visibility", "public", "--face", "--grey", "--size", 96)
    assert result.exit_code == 0, result.output
    assert "Imported 3 pictures" in result.output
    assert "joy/nobody.png: no face found" in result.output


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("import", "a", "nowhere", "--visibility", "public"), 1, "There is no folder or zip"),
        (("import", "a", "nowhere", "--visibility", "secret"), 2, "Invalid value"),
        (("import", "a", "nowhere"), 2, "Missing option"),
        (("import", "a", ".", "--visibility", "public", "--size", "5"), 1, "size must be from 32"),
        (("import", "a", ".", "--visibility", "public", "--exclude", "no"), 1, "--exclude no:"),
        (("studies", "create", "a", "--definition", "no.toml"), 1, "cannot be read as TOML"),
        (("studies", "close", "a"), 1, "There is no study a; see: python -m survey studies"),
        (("freeze", "--model", "nowhere"), 1, "There is no model folder 'nowhere'"),
        (("freeze", "--name", "mine"), 2, "--name is for a .csv; a model has its own name"),
        (("export", "a", "--out", "a.csv"), 1, "There is no study a; see: python -m survey"),
        (("export", "a", "--out", "a.xlsx"), 1, "a.xlsx: unknown kind of file; allowed are .csv"),
        (("withdraw", "0000-0000-0000"), 1, "This code is not known"),
    ],
)
@pytest.mark.usefixtures("data")
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: tuple[str, ...], status: int, message: str
) -> None:
    result = call(*arguments)
    assert result.exit_code == status
    assert message in re.sub(r"\s+", " ", result.stderr)
    assert "Traceback" not in result.output


def test_a_study_needs_the_images_that_it_asks_for(data: Path) -> None:
    import_all(data)
    create = ("studies", "create", "mine", "--definition", data / "study.toml")
    assert "--practice names the set" in call(*create).stderr
    assert "there is no image set 'no'" in call(*create, "--practice", "no").stderr
    few = call(*create, "--practice", "warm-up", "--set", "team")
    assert few.exit_code == 1
    assert "missing 1 기쁨 (public), 1 당황 (public)" in few.stderr
    (data / "study.toml").write_text(DEFINITION.replace("10", "11", 1) + "\n[extra]\n")
    assert "study.toml: unknown setting extra" in call(*create, "--practice", "warm-up").stderr
    assert "There is no study yet" in call("studies", "list").output


def test_sets_that_look_different_make_no_study(data: Path) -> None:
    import_all(data)
    grey = ("import", "grey", write_pictures(data / "grey", 1, 3000), "--visibility", "private")
    assert call(*grey, "--grey", "--size", 96).exit_code == 0
    create = ("studies", "create", "mine", "--definition", data / "study.toml", "--set", "open")
    refused = call(*create, "--set", "grey", "--practice", "warm-up")
    assert refused.exit_code == 1
    assert (
        "(face False, grey False, size 384: open; face False, grey True, size 96: grey)"
        in refused.stderr
    )
    # Practice is by itself and may look as it will.
    assert call(*create, "--set", "team", "--practice", "grey").exit_code == 0


def test_no_picture_is_shown_twice_and_no_set_of_other_labels_is_taken(data: Path) -> None:
    import_all(data)
    create = ("studies", "create", "mine", "--definition", data / "study.toml")
    again = ("import", "again", data / "open", "--visibility", "private")
    assert call(*again).exit_code == 0
    copies = call(*create, "--practice", "warm-up")
    assert copies.exit_code == 1
    assert "5 pictures stand in several of the image sets to draw from" in copies.stderr
    # What is practised is not asked, be it in another set.
    aside = call(*create, "--practice", "again", "--set", "open", "--set", "team")
    assert "missing 1 기쁨 (public)" in " ".join(aside.stderr.split())
    other = call(
        "import", "other", write_pictures(data / "other", 1, 3000), "--visibility", "public",
        "--taxonomy", "aihub7",
    )  # fmt: skip
    assert other.exit_code == 0
    for flag in ("--attention", "--set"):
        refused = call(*create, "--practice", "warm-up", flag, "other")
        assert refused.exit_code == 2
        told = " ".join(refused.stderr.replace("│", " ").split())
        assert "image set 'other' has labels of aihub7" in told
    # Practice would tell what the attention check asks.
    told_before = call(
        *create, "--practice", "again", "--attention", "open", "--set", "team", "--set", "warm-up"
    )
    assert told_before.exit_code == 1
    assert "practice" in told_before.stderr
    same = call(*create, "--practice", "warm-up", "--attention", "warm-up")
    assert "need sets of their own" in " ".join(same.stderr.replace("│", " ").split())


def test_a_data_folder_that_cannot_be_made_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "file").touch()
    monkeypatch.setenv("KFER_DATA_DIR", str(data / "file" / "x"))
    result = call("studies", "list")
    assert (result.exit_code, "cannot be used (Not a directory)" in result.stderr) == (1, True)


def test_help_loads_no_torch_and_no_database() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "survey", "--help"],
        env=keep_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    for library in ("torch", "sqlalchemy", "gradio", "alembic", "pandas"):
        assert not re.search(rf"\|\s+{library}$", result.stderr, re.MULTILINE)
    for command in ("import", "studies", "freeze", "export", "withdraw"):
        assert command in result.stdout
