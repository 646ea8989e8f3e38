"""Manifests and lists of what to leave out that cannot be used are refused, and say why."""

from pathlib import Path

import pandas as pd
import pytest

from training.errors import DataError
from training.manifest import drop_excluded, read_manifest

TABLE = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "label": "기쁨"})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "has no rows; it needs one for each picture"),
        ("/a.jpg,기쁨\n", "/a.jpg lies outside of the image folder"),
        ("b/../../a.jpg,기쁨\n", "a.jpg lies outside of the image folder"),
        ("a\0.jpg,기쁨\n", r"'a\\x00.jpg' is no file's name"),
        (",기쁨\n", "'' is no file's name"),
        ("a.jpg,기쁨\na.jpg,분노\n", "names a.jpg twice"),
    ],
)
def test_a_manifest_whose_pictures_cannot_be_found_is_refused(
    rows: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "parts.csv"
    path.write_text(f"path,label\n{rows}", encoding="utf-8")
    with pytest.raises(DataError, match=rf"^--manifest {path}: .*{message}"):
        read_manifest(path)


def test_a_list_without_a_header_is_refused(tmp_path: Path) -> None:
    listed = tmp_path / "exclude.csv"
    listed.write_text("a.jpg\nb.jpg\n")
    with pytest.raises(DataError, match=r"line begins with 'a\.jpg', but must begin with .*file"):
        drop_excluded(TABLE, listed)
    for header in ("file", "path"):  # review's, and a manifest's own
        listed.write_text(f"{header}\na.jpg\n")
        assert drop_excluded(TABLE, listed)["path"].tolist() == ["b.jpg"]


def test_a_list_that_names_no_picture_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed = tmp_path / "exclude.csv"
    listed.write_text("file\nc.jpg\n")
    assert drop_excluded(TABLE, listed)["path"].tolist() == ["a.jpg", "b.jpg"]
    assert f"--exclude {listed} names none of these pictures" in caplog.text


def test_korean_saved_by_an_older_excel_is_told_how_to_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "parts.csv"
    path.write_bytes("path,label\na.jpg,기쁨\n".encode("cp949"))
    with pytest.raises(DataError, match="not UTF-8; save it as UTF-8"):
        read_manifest(path)


def test_a_list_of_every_picture_is_refused(tmp_path: Path) -> None:
    listed = tmp_path / "exclude.csv"
    listed.write_text("file\na.jpg\nb.jpg\n")
    with pytest.raises(DataError, match="names every picture; none is left"):
        drop_excluded(TABLE, listed)
