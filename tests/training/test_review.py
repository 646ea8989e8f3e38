"""Suspicious crops are found, shown and left out."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from kfer.bundle import Bundle
from tests.training.synthetic import FER7, build_faces
from training import review
from training.errors import ConfigError, DataError
from training.export import compute_logits
from training.manifest import UNKNOWN, drop_excluded
from training.review import SHEETS, TABLE, find_suspicious, measure_losses, write_review


def build_table() -> pd.DataFrame:
    """Ten good crops, some of which are then spoiled."""
    table = pd.DataFrame(
        {
            "path": [f"기쁨/{index}.jpg" for index in range(10)],
            "label": "기쁨",
            "pixels": [str(index) for index in range(10)],
            "photo": [str(index) for index in range(10)],
            "left": 80.0,
            "top": 60.0,
            "right": 160.0,
            "bottom": 160.0,
            "width": 240,
            "height": 220,
            "faces": 1,
            "score": 0.99,
        }
    )
    table.loc[1, ["left", "right", "top", "bottom"]] = (100, 139, 90, 128)  # 39 px
    table.loc[2, ["left", "right"]] = (150.0, 230.0)  # its centre at 190 of 240: 0.58 of the way
    table.loc[3, "faces"] = 3
    table.loc[4, "faces"] = 5
    table.loc[[6, 8], "pixels"] = "5"
    table.loc[7, "score"] = 0.5
    table.loc[9, "photo"] = "7"  # another cut of the same photo
    return table


def test_each_reason_is_found_and_the_worst_comes_first() -> None:
    losses = {"기쁨/0.jpg": 0.9, "기쁨/9.jpg": 4.0, "기쁨/3.jpg": 0.2}
    found = find_suspicious(build_table(), losses)
    by_reason: dict[str, list[tuple[str, float]]] = {}
    for each in found:
        by_reason.setdefault(each.reason, []).append((each.path[3:4], each.value))
    assert by_reason.pop("off-centre") == [("2", pytest.approx(190 / 120 - 1))]
    assert by_reason == {
        "loss": [("9", 4.0), ("0", 0.9)],
        "duplicate": [("8", 2.0), ("6", 1.0), ("9", 1.0)],
        "several": [("4", 5.0), ("3", 3.0)],
        "tiny": [("1", 39.0)],
        "doubtful": [("7", 0.5)],
    }


def test_what_a_manifest_does_not_say_is_not_looked_for() -> None:
    assert find_suspicious(build_table()[["path", "label"]], {}) == []


@pytest.mark.parametrize("column", ["score", "faces", "width", "height"])
@pytest.mark.parametrize("cell", ["", "many", "inf"])
def test_a_cell_that_is_no_number_is_named(cell: str, column: str) -> None:
    table = build_table().astype({column: "object"})
    table.loc[3, column] = cell
    message = rf"{column} of 기쁨/3\.jpg is {cell!r}; allowed are numbers\. Mend it, or take"
    with pytest.raises(DataError, match=message):
        find_suspicious(table, {})


def test_numbers_that_were_read_as_text_are_numbers() -> None:
    table = build_table()
    text = table.astype(dict.fromkeys(("score", "faces", "width", "height"), "str"))
    assert find_suspicious(text, {}) == find_suspicious(table, {})


def test_losses_are_those_of_the_label(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "AT_ONCE", 4)
    faces = build_faces(1)
    for index, pixels in enumerate(faces.pixels):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    labels = list(FER7.labels)
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(7)], "label": labels})
    table.loc[6, "label"] = UNKNOWN
    losses = measure_losses(bundle, table, tmp_path)
    assert list(losses) == [f"{i}.png" for i in range(6)]
    head = bundle.heads[0]  # ferplus8, whose first seven labels are fer7's
    logits = compute_logits(bundle, faces)[:, head.start : head.stop] / head.temperature
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for index in range(6):
        assert losses[f"{index}.png"] == pytest.approx(-np.log(shares[index, index]), abs=1e-4)
    with pytest.raises(DataError, match="has a label in ferplus8"):
        measure_losses(bundle, table.assign(label=UNKNOWN), tmp_path)


def test_the_page_lists_the_worst_and_the_table_all(tmp_path: Path) -> None:
    images, out = tmp_path / "crops", tmp_path / "검토"
    found = find_suspicious(build_table(), {})
    write_review(found, images, out, most=1)
    page = (out / SHEETS).read_text("utf-8")
    assert "3 crops, the 1\nworst of them." in page
    assert 'src="../crops/%EA%B8%B0%EC%81%A8/4.jpg"' in page
    assert "3.jpg" not in page
    table = pd.read_csv(out / TABLE)
    assert len(table) == len(found) == 8
    left = drop_excluded(build_table(), out / TABLE)  # as it is, or after somebody took lines out
    assert [path[3:4] for path in left["path"]] == ["0", "5"]
    with pytest.raises(ConfigError, match="is the image folder"):
        write_review(found, out, out, most=1)


def test_nothing_suspicious_is_said(tmp_path: Path) -> None:
    write_review([], tmp_path / "crops", tmp_path / "review", most=1)
    assert "Nothing is suspicious." in (tmp_path / "review" / SHEETS).read_text("utf-8")
    assert len(pd.read_csv(tmp_path / "review" / TABLE)) == 0


@pytest.mark.browser
def test_ticked_crops_come_down_as_a_list_to_leave_out(tmp_path: Path, chromium_path: Path) -> None:
    images, out = tmp_path / "crops", tmp_path / "review"
    (images / "기쁨").mkdir(parents=True)
    for index in range(10):
        shutil.copy("tests/data/s008.webp", images / "기쁨" / f"{index}.jpg")
    table = build_table()
    table.loc[8, "faces"] = 2  # suspicious twice
    write_review(find_suspicious(table, {}), images, out, most=200)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((out / SHEETS).as_uri())
        assert page.locator("#save").is_disabled()
        broken = page.evaluate(
            """async () => { const all = [...document.images];
            for (const each of all) each.loading = "eager";
            await Promise.all(all.map((each) => each.decode().catch(() => {})));
            return all.filter((each) => !each.naturalWidth).length; }"""
        )
        assert broken == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("input[value='기쁨/8.jpg']").first.check()
        page.locator("input[value='기쁨/7.jpg']").check()
        assert page.locator("input:checked").count() == 3
        assert page.locator("#count").inner_text() == "2 to be left out by --exclude exclude.csv"
        with page.expect_download() as download:
            page.locator("#save").click()
        download.value.save_as(tmp_path / "exclude.csv")
        assert errors == []
    left = drop_excluded(table, tmp_path / "exclude.csv")
    assert [path[3:4] for path in left["path"]] == ["0", "1", "2", "3", "4", "5", "6", "9"]
