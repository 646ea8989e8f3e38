"""A model that cannot be had: the page works with the bundled one, and says so."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from kfer.errors import BundleError, HubError, KferError
from tests.processes import find_port
from tests.servers import ROOT, run_app

pytestmark = pytest.mark.browser

GROUP = ROOT / "kfer" / "examples" / "group.webp"


def check_page(
    open_page: Callable[..., Page],
    folder: Path,
    kind: type[KferError],
    reason: str,
    **settings: str,
) -> None:
    """The page says what kind of fault it is; the reason, with its folder, is the host's alone."""
    with run_app(folder / "app", **settings) as server:
        page = open_page(server)
        notice = page.locator(".kfer-notice")
        expect(notice).to_contain_text("설정된 모델을 쓸 수 없어 기본 모델로 읽고 있어요.")
        expect(notice).to_contain_text(kind.SUMMARY[0])
        page.locator("[data-language=en]").click()
        expect(notice).to_contain_text("the bundled model is used instead")
        expect(notice).to_contain_text(kind.SUMMARY[1])
        assert str(folder) not in page.content()
        models = page.locator("[data-setting=model] option").all_inner_texts()
        assert len(models) == 1
        assert re.fullmatch("kfer-default@[0-9a-f]{12}", models[0])
        page.locator(".kfer-file").set_input_files(GROUP)
        expect(page.locator(".kfer-card")).to_have_count(3)
        assert "KFER: the bundled model is used instead of KFER_MODEL: " in server.log
        assert reason in server.log
        assert "Traceback" not in server.log


def test_with_the_hub_out_of_reach(open_page: Callable[..., Page], tmp_path: Path) -> None:
    check_page(
        open_page,
        tmp_path,
        HubError,
        "cannot be brought from the Hugging Face Hub: no connection",
        KFER_MODEL="hf-hub:owner/name",
        HF_ENDPOINT=f"http://127.0.0.1:{find_port()}",
    )


def test_with_a_folder_that_is_another_programs_model(
    open_page: Callable[..., Page], tmp_path: Path
) -> None:
    model = tmp_path / "foreign"
    model.mkdir()
    (model / "config.json").write_text('{"architecture": "resnet18"}', encoding="utf-8")
    (model / "model.safetensors").write_bytes(b"")
    check_page(open_page, tmp_path, BundleError, "it is not a KFER model", KFER_MODEL=str(model))
