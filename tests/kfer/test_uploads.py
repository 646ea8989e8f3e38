"""The folder of the API's uploads: what is swept out of it, and when."""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import pytest

from kfer.uploads import build_lifespan, claim_folder, sweep


def write_aged(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a face")
    for each in (path, path.parent):
        os.utime(each, (time.time() - seconds,) * 2)
    return path


def test_what_is_old_goes_and_so_does_the_folder_that_it_leaves_empty(tmp_path: Path) -> None:
    old = write_aged(tmp_path / "a" / "old.jpg", 400)
    new = write_aged(tmp_path / "b" / "new.jpg", 200)
    sweep(tmp_path, 300)
    assert not old.exists()
    assert new.exists()
    os.utime(tmp_path / "a", (time.time() - 400,) * 2)  # it was changed when its file went
    sweep(tmp_path, 300)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "b"]


def test_a_folder_that_awaits_its_file_stays(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    sweep(tmp_path, 300)
    assert (tmp_path / "fresh").is_dir()


def test_what_a_killed_app_left_goes_at_once_and_the_rest_at_the_end(tmp_path: Path) -> None:
    left = write_aged(tmp_path / "a" / "left.jpg", 400)
    known = {str(left), str(tmp_path / "b" / "new.jpg")}

    async def live() -> None:
        async with build_lifespan(tmp_path, [known], 60, 300)(None):
            new = write_aged(tmp_path / "b" / "new.jpg", 1)
            while left.exists():
                await asyncio.sleep(0.01)
            assert new.exists()
            await asyncio.sleep(0.1)
            assert known == {str(new)}  # or it would grow by a path with every photo

    asyncio.run(asyncio.wait_for(live(), 60))
    assert list(tmp_path.iterdir()) == []
    assert known == set()


def test_every_app_has_a_folder_of_its_own_and_finds_it_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    first = claim_folder(7860)
    assert os.environ["GRADIO_TEMP_DIR"] == str(first)
    assert first.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert claim_folder(7860) == first != claim_folder(7861)
    (first.parent / first.name.replace("7860", "1")).symlink_to(tmp_path)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with pytest.raises(PermissionError, match="somebody else's"):
        claim_folder(1)
    monkeypatch.delenv("GRADIO_TEMP_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert claim_folder(1).parent == tmp_path / "tmp"
