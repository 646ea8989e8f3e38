"""What the README promises is there: every command is documented and says so itself."""

import dataclasses
import re
from pathlib import Path

import pytest
import typer
import yaml
from PIL import Image
from typer.main import get_command

import kfer.cli
import survey.cli
import training.cli
from kfer import __version__
from kfer.faces import Face
from kfer.labels import TAXONOMIES
from kfer.photos import Photo
from kfer.pipeline import Analysis, FaceReading, describe
from kfer.predictions import Prediction
from kfer.render import build_rows
from survey.export import COLUMNS
from survey.records import StudyDefinition
from survey.statistics.quality import RULES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def list_commands(app: typer.Typer) -> list[str]:
    return list(get_command(app).commands)  # type: ignore[attr-defined]


APPS = {"kfer": kfer.cli.app, "survey": survey.cli.app, "training": training.cli.app}
COMMANDS = [(package, name) for package, app in APPS.items() for name in list_commands(app)]


@pytest.mark.parametrize(("package", "name"), COMMANDS)
def test_readme_shows_every_command(package: str, name: str) -> None:
    assert f"python -m {package} {name}" in README


@pytest.mark.parametrize(("package", "name"), COMMANDS)
def test_every_command_and_option_has_help(package: str, name: str) -> None:
    command = get_command(APPS[package]).commands[name]  # type: ignore[attr-defined]
    assert command.help
    silent = [option.name for option in command.params if not getattr(option, "help", None)]
    assert silent == []


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"^make (\w+) ", README, re.MULTILINE)
    assert {"app", "test"} <= set(named)
    assert [target for target in named if f"\n{target}:" not in makefile] == []


def test_readme_names_every_setting_that_the_app_reads() -> None:
    source = (ROOT / "app.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"((?:HOST|PORT|KFER_|GRADIO_)[A-Z_]*)"', source))
    assert len(names) > 7
    assert [name for name in sorted(names) if f"`{name}`" not in README] == []


def test_the_guide_to_readings_documents_every_field_and_label() -> None:
    guide = (ROOT / "docs" / "readings.md").read_text(encoding="utf-8")
    taxonomy = TAXONOMIES["fer7"]
    prediction = Prediction(taxonomy, (1, 0, 0, 0, 0, 0, 0))
    reading = FaceReading(Face((0, 0, 9, 9), 0.9), prediction, unsure=False)
    photo = Photo(Image.new("RGB", (9, 9)), 9, 9)
    described = describe(Analysis(photo, "m@1", taxonomy, False, (reading,), None), "photo.jpg")
    (row,) = build_rows(described)
    for field in {*described, *described["faces"][0], *row} - set(taxonomy.labels) - {"face"}:
        assert f"`{field}`" in guide
    for each in TAXONOMIES.values():
        assert f"| `{each.name}` | {' '.join(each.labels)}" in guide


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__


def test_the_guide_to_studies_documents_every_column_flag_and_setting() -> None:
    guide = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    for column, meaning in COLUMNS.items():
        assert f"| `{column}` | {meaning} |" in guide
    for rule in RULES:
        assert f"| `{rule}` |" in guide
    for field in dataclasses.fields(StudyDefinition):
        if field.name != "demo":  # the embedded study's own
            assert f"`{field.name}`" in guide
