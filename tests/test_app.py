"""The composition root: what it reads from the environment, which model it takes, how it launches.

Whether the app starts as on a Space, and what it says of a taken port, is in test_repository.py.
"""

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

import app
from app import Settings, build_app, build_recognizer, read_settings
from kfer.bundle import EXPLANATION, load_bundle
from kfer.errors import BundleError
from kfer.recognizer import locate_bundle
from tests.kfer.fake_recognizer import FakeRecognizer
from tests.kfer.fakes import build_tiny_bundle
from tests.survey.samples import build_empty_survey

SURVEY_STEPS = ("start", "answer", "back", "resume", "result", "withdraw")


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({}, Settings("127.0.0.1", 7860, None, Path("data"))),
        (
            {
                "HOST": "::1",
                "PORT": "80",
                "KFER_MODEL": "m",
                "KFER_DATA_DIR": "d",
                "KFER_DATABASE_URL": "sqlite://",
                "KFER_SECRET": "s",
            },
            Settings("::1", 80, "m", Path("d"), "sqlite://", "s"),
        ),
        (
            {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": "8080"},
            Settings("0.0.0.0", 8080, None, Path("data")),
        ),
        (
            {"HOST": "::1", "PORT": "1", "GRADIO_SERVER_NAME": "x", "GRADIO_SERVER_PORT": "2"},
            Settings("::1", 1, None, Path("data")),
        ),
        (
            {"HOST": "", "PORT": "", "KFER_MODEL": "", "KFER_DATA_DIR": ""},
            Settings("127.0.0.1", 7860, None, Path("data")),
        ),
    ],
    ids=["nothing set", "ours", "gradio's", "ours before gradio's", "set to nothing"],
)
def test_settings_come_from_the_environment(
    environment: dict[str, str], settings: Settings
) -> None:
    assert read_settings(environment) == settings


@pytest.mark.parametrize("name", ["PORT", "GRADIO_SERVER_PORT"])
@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "80.5", " "])
def test_a_port_that_is_none_is_refused(name: str, port: str) -> None:
    with pytest.raises(ValueError, match="PORT must be a number from 1 to 65535, but is"):
        read_settings({name: port})


def test_without_a_wish_the_bundled_model_stands_alone() -> None:
    recognizer, missing = build_recognizer(None)
    assert list(recognizer.bundles) == [locate_bundle(None).identity]
    assert missing is None


def test_a_configured_model_stands_before_the_bundled_one(tiny_bundle: Path) -> None:
    recognizer, missing = build_recognizer(str(tiny_bundle))
    assert [bundle.name for bundle in recognizer.bundles.values()] == ["tiny", "kfer-default"]
    assert recognizer.get_bundle(None).name == "tiny"
    assert missing is None


def edit_config(folder: Path, **own: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["kfer"].update(own)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_weights_that_cannot_be_read_are_said_to_be_so(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("kfer.bundle.hash_file", refuse)
    with pytest.raises(BundleError) as refused:
        load_bundle(tiny_bundle)
    assert str(refused.value) == "tiny/model.safetensors cannot be read (Permission denied)."


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "it has no config.json"),
        (lambda folder: (folder / "config.json").write_text('{"architecture": "x"}'), "no 'kfer'"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "model.bin"),
            r"only pickled weights \(model.bin\)",
        ),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"damaged"),
            "the network cannot be built",
        ),
        (shutil.rmtree, "There is no model folder"),
        (
            lambda folder: edit_config(folder, unsure_below="0.59"),
            "unsure_below is '0.59'; it must be a number from 0 to 1, or null",
        ),
        (
            lambda folder: (folder / EXPLANATION).write_text('{"taxonomy": "fer'),
            f"mine/{EXPLANATION} is no explanation by action units",
        ),
    ],
    ids=[
        "missing config",
        "foreign config",
        "broken config",
        "pickle",
        "damaged",
        "no folder",
        "threshold",
        "explanation",
    ],
)
def test_a_model_that_cannot_be_had_leaves_the_bundled_one_and_a_notice(
    break_it: Any, message: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_bundle, tmp_path / "mine")
    break_it(folder)
    recognizer, missing = build_recognizer(str(folder))
    assert [bundle.name for bundle in recognizer.bundles.values()] == ["kfer-default"]
    assert isinstance(missing, BundleError)
    assert re.search(message, str(missing))
    assert missing.korean.startswith("모델 폴더가 올바른 KFER 모델이 아니에요.")


def test_without_even_the_bundled_model_there_is_no_app(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kfer.hub.BUNDLED", tmp_path / "kfer-default")
    with pytest.raises(BundleError, match="The bundled model is missing"):
        build_recognizer(None)


@pytest.mark.parametrize(
    ("environment", "status", "message"),
    [
        ({"PORT": "http"}, 2, "KFER: PORT must be a number from 1 to 65535, but is 'http'."),
        ({"PORT": "7860"}, 1, "KFER: The bundled model is missing"),
    ],
    ids=["port", "model"],
)
def test_what_keeps_the_app_from_starting_is_said_in_one_line(
    environment: dict[str, str],
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("kfer.hub.BUNDLED", tmp_path / "kfer-default")
    monkeypatch.setattr(app.os, "environ", {"GRADIO_TEMP_DIR": str(tmp_path), **environment})
    with pytest.raises(SystemExit) as exited:
        app.main()
    assert exited.value.code == status
    assert capsys.readouterr().err.startswith(message)


def test_a_data_folder_that_cannot_be_made_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    taken = tmp_path / "data"
    taken.write_text("a file", encoding="utf-8")
    environment = {"KFER_DATA_DIR": str(taken / "kfer"), "GRADIO_TEMP_DIR": str(tmp_path)}
    monkeypatch.setattr(app.os, "environ", environment)
    with pytest.raises(SystemExit) as exited:
        app.main()
    assert exited.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"KFER: KFER_DATA_DIR {taken / 'kfer'} cannot be used (")


def test_an_ipv6_host_is_put_in_brackets_before_its_port() -> None:
    assert read_settings({"HOST": "::1"}).address == "[::1]"
    assert read_settings({"HOST": "[::1]"}).address == "[::1]"
    assert read_settings({"HOST": "0.0.0.0"}).address == "0.0.0.0"


def test_a_card_whose_front_matter_never_ends_is_shown_whole(tiny_bundle: Path) -> None:
    folder = shutil.copytree(tiny_bundle, tiny_bundle.parent / "endless")
    (folder / "README.md").write_text("---\nlicense: mit\n---", encoding="utf-8")
    recognizer, missing = build_recognizer(str(folder))
    build_app(recognizer, missing, *build_empty_survey())


def test_a_card_in_another_encoding_is_shown_as_far_as_it_can_be(tiny_bundle: Path) -> None:
    folder = shutil.copytree(tiny_bundle, tiny_bundle.parent / "cp949")
    (folder / "README.md").write_bytes("# 모델 card".encode("cp949"))
    blocks = build_app(*build_recognizer(str(folder)), *build_empty_survey())
    cards = [part.value for part in blocks.blocks.values() if isinstance(part, gr.Markdown)]
    assert any("card" in str(card) and "\ufffd" in str(card) for card in cards)


def find_html(blocks: gr.Blocks) -> str:
    """What every HTML component of the app shows."""
    components = blocks.blocks.values()
    return "".join(str(part.value) for part in components if isinstance(part, gr.HTML))


def test_uploads_live_for_five_minutes_and_nothing_is_reported_home() -> None:
    assert app.CACHE_SECONDS == (60, 300)
    assert build_app(FakeRecognizer(), None, *build_empty_survey()).analytics_enabled is False


@pytest.mark.parametrize("name", ["analyze", "comparison"])
def test_no_caller_makes_the_server_fetch_an_address(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    async def fetch(address: str, **_: Any) -> str:
        fetched.append(address)
        return "photo.jpg"

    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", fetch)
    blocks = build_app(FakeRecognizer(), None, *build_empty_survey())
    (function,) = (each for each in blocks.fns.values() if each.api_name == name)
    file = {"path": "https://example.org/endless.jpg", "meta": {"_type": "gradio.FileData"}}
    inputs: list[Any] = [None] * len(function.inputs)
    for sent in (file, {"nested": [file]}):
        with pytest.raises(gr.Error, match="photo must be an uploaded file"):
            asyncio.run(blocks.preprocess_data(function, [sent, *inputs[1:]], None))
    assert fetched == []


@pytest.mark.parametrize(
    ("environment", "lost"),
    [
        ({}, False),
        ({"SPACE_ID": "owner/space"}, True),
        ({"SPACE_ID": "owner/space", "KFER_DATA_DIR": "/data"}, False),
        ({"SPACE_ID": "owner/space", "KFER_DATABASE_URL": "postgresql://"}, False),
    ],
    ids=["no Space", "bare Space", "storage", "database"],
)
def test_a_space_without_storage_is_warned_of(environment: dict[str, str], lost: bool) -> None:
    assert app.loses_answers(environment) is lost


def test_the_public_endpoints_are_those_of_the_contract() -> None:
    information: Any = build_app(FakeRecognizer(), None, *build_empty_survey()).get_api_info()
    assert set(information["named_endpoints"]) == {
        "/analyze",
        "/comparison",
        *(
            f"/survey_{step}"
            for step in ("start", "answer", "back", "resume", "result", "withdraw")
        ),
    }
    assert information["unnamed_endpoints"] == {}
    parameters = information["named_endpoints"]["/analyze"]["parameters"]
    assert [(p["parameter_name"], p.get("parameter_default")) for p in parameters] == [
        ("photo", None),
        ("model", None),
        ("detector", "mtcnn"),
        ("taxonomy", None),
    ]
    assert [p["parameter_has_default"] for p in parameters] == [False, True, True, True]


def test_the_notice_stands_on_the_page_in_both_languages_and_names_no_folder() -> None:
    missing = BundleError("/secret/<b>folder</b> is no model")
    page = find_html(build_app(FakeRecognizer(), missing, *build_empty_survey()))
    assert "설정된 모델을 쓸 수 없어 기본 모델로 읽고 있어요." in page
    assert "The configured model is not available" in page
    assert "모델 폴더가 올바른 KFER 모델이 아니에요." in page
    assert "Its folder is not a KFER model." in page
    assert "secret" not in page
    assert 'class="kfer-notice"' not in find_html(
        build_app(FakeRecognizer(), None, *build_empty_survey())
    )


def test_nothing_of_the_page_is_left_to_fill_in() -> None:
    page = find_html(build_app(FakeRecognizer(), None, *build_empty_survey()))
    assert "[[" not in page
    assert 'option value="fake@0123456789ab"' in page
    assert page.count('class="kfer-example"') == len(app.kfer.ui.EXAMPLES)
    for name in app.kfer.ui.EXAMPLES:
        assert (Path(app.kfer.ui.__file__).parent / "examples" / f"{name}.webp").is_file()
