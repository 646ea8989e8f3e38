"""Folders, manifests and zips, good and hostile, and what of a picture is stored."""

import io
import os
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags
from PIL import Image as Picture
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from kfer.labels import get_taxonomy
from survey import sources
from survey.database import transaction
from survey.errors import ImageSetError
from survey.image_sets import Presentation, Report, encode, import_set, prepare
from survey.models import Image, ImageSet
from survey.records import StudyDefinition
from survey.sources import Entry, list_entries
from tests.survey.conftest import NOW

KOREAN5 = get_taxonomy("korean5")
PLAIN = Presentation(size=64)


def draw(
    seed: int, size: tuple[int, int] = (60, 40), format_: str = "PNG", **options: Any
) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, format_, **options)
    return file.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pack(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


FOLDERS = {
    "기쁨/a.png": draw(1),
    "joy/b.png": draw(2),
    "Happy/c.JPG": draw(3, format_="JPEG"),
    "슬픔/한글 이름.png": draw(4),
    "fluster/e.png": draw(5),
    "Thumbs.db": b"x",
    "__MACOSX/기쁨/._a.png": b"x",
    ".git/기쁨/a.png": draw(9),
}
LABELS = {
    "기쁨/a.png": "기쁨",
    "joy/b.png": "기쁨",
    "Happy/c.JPG": "기쁨",
    "슬픔/한글 이름.png": "슬픔",
    "fluster/e.png": "당황",
}


@pytest.fixture(params=["folder", "zip"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A function that lays files out as a folder or a zip."""
    if request.param == "folder":
        yield lambda files: write(tmp_path / "set", files)
    else:
        yield lambda files: pack(tmp_path / "set.zip", files)


def name_all(entries: list[Entry]) -> dict[str, str]:
    return {entry.path: entry.label for entry in entries}


def test_a_folder_per_emotion_in_either_language(source: Any) -> None:
    entries = list_entries(source(FOLDERS), KOREAN5)
    assert name_all(entries) == LABELS
    assert all(entry.known for entry in entries)
    assert {entry.path: entry.read() for entry in entries} == {
        path: FOLDERS[path] for path in LABELS
    }


def test_a_manifest_tells_labels_and_persons(source: Any) -> None:
    manifest = "\ufefffilename,label,person\na.png,기쁨,P1\nsub\\b.png,anger,\nno.png,슬픔,P2\n"
    files = {
        "x/manifest.csv": manifest.encode(), "x/a.png": draw(1), "x/sub/b.png": draw(2)
    }  # fmt: skip
    entries = list_entries(source(files), KOREAN5)
    assert [(entry.path, entry.label, entry.person) for entry in entries] == [
        ("x/a.png", "기쁨", "P1"),
        ("x/sub/b.png", "분노", None),
        ("x/no.png", "슬픔", "P2"),
    ]
    report = prepare(entries, PLAIN)
    assert [picture.path for picture in report.prepared] == ["x/a.png", "x/sub/b.png"]
    assert report.left_out == (("x/no.png", "the manifest lists it, but it is not there"),)


def test_korean_names_survive_every_way_they_are_written(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "기쁨/사진.png")
    assert name_all(list_entries(write(tmp_path / "mac", {apart: draw(1)}), KOREAN5)) == {
        "기쁨/사진.png": "기쁨"
    }
    path = tmp_path / "windows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("PLACE")
        archive.writestr(info, draw(1))
    name = "기쁨\\사진.png".encode("cp949")
    raw = path.read_bytes().replace(b"PLACE", name)  # the length stands before the name
    for at in (26, raw.index(b"PK\x01\x02") + 28):
        raw = raw[:at] + len(name).to_bytes(2, "little") + raw[at + 2 :]
    end = raw.index(b"PK\x05\x06")
    start = raw.index(b"PK\x01\x02")
    raw = (
        raw[: end + 12]
        + (end - start).to_bytes(4, "little")
        + start.to_bytes(4, "little")
        + raw[end + 20 :]
    )
    path.write_bytes(raw)
    assert name_all(list_entries(path, KOREAN5)) == {"기쁨/사진.png": "기쁨"}


def test_unknown_labels_damage_and_copies_stay_out_with_a_reason(source: Any) -> None:
    same, doubtful = draw(1), draw(8)
    files = {
        "기쁨/a.png": same,
        "기쁨/copy.png": same,
        "기쁨/again.webp": draw(1, format_="WEBP", lossless=True),
        "기쁨/or.png": doubtful,
        "슬픔/or.png": doubtful,
        "슬픔/line.png": draw(7, size=(2000, 1)),
        "불안/b.png": draw(2),
        "슬픔/broken.jpg": draw(3, format_="JPEG")[:300],
        "슬픔/empty.png": b"",
        "슬픔/no.png": b"text",
        "중립/unfit.png": draw(5),
    }
    report = prepare(list_entries(source(files), KOREAN5), PLAIN, exclude={"중립/unfit.png"})
    assert [picture.path for picture in report.prepared] == ["기쁨/a.png"]
    reasons = dict(report.left_out)
    assert reasons["불안/b.png"] == "unknown label '불안'"
    copy = "the same pixels as 기쁨/a.png (기쁨)"
    assert reasons["기쁨/copy.png"] == reasons["기쁨/again.webp"] == copy
    assert reasons["슬픔/or.png"] == "the same pixels as 기쁨/or.png (기쁨)"
    assert reasons["기쁨/or.png"] == "the same pixels have another label, too"
    assert "height and width must be" in reasons["슬픔/line.png"]
    assert reasons["슬픔/broken.jpg"].startswith("The photo is damaged or cut short")
    assert reasons["슬픔/empty.png"].startswith("The file is empty")
    assert reasons["슬픔/no.png"].startswith("The file is not a photo")
    assert reasons["중립/unfit.png"] == "excluded"


def test_two_files_of_one_name_are_not_one(tmp_path: Path) -> None:
    """One of them as macOS writes Korean, the other as everybody else does."""
    apart = unicodedata.normalize("NFD", "기쁨")
    files = {"기쁨/a.png": draw(1), f"{apart}/a.png": draw(2)}
    with pytest.raises(ImageSetError, match=r"Two files are called 기쁨/a\.png"):
        list_entries(write(tmp_path / "set", files), KOREAN5)
    with pytest.raises(ImageSetError, match=r"Two files are called 기쁨/a\.png"):
        list_entries(pack(tmp_path / "set.zip", files), KOREAN5)


def test_folders_that_korean_windows_named_are_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode("기쁨".encode("cp949"))
    folder.mkdir()
    (folder / os.fsdecode("웃음.png".encode("cp949"))).write_bytes(draw(1))
    assert name_all(list_entries(tmp_path, KOREAN5)) == {"기쁨/웃음.png": "기쁨"}


def test_a_manifest_that_is_no_csv_and_a_person_without_end_are_explained(tmp_path: Path) -> None:
    files = {"a.png": draw(1), "manifest.csv": b"filename,label,person\na.png," + b"x" * 200_000}
    with pytest.raises(ImageSetError, match=r"manifest\.csv: is no CSV that can be read"):
        list_entries(write(tmp_path / "long", files), KOREAN5)
    files["manifest.csv"] = f"filename,label,person\na.png,기쁨,{'x' * 101}\n".encode()
    report = prepare(list_entries(write(tmp_path / "who", files), KOREAN5), PLAIN)
    assert report.left_out == (("a.png", "the person's name is longer than 100 characters"),)


def test_an_exclusion_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    entries = list_entries(write(tmp_path, FOLDERS), KOREAN5)
    with pytest.raises(ImageSetError, match=r"not in the source: 기쁨/typo\.png"):
        prepare(entries, PLAIN, exclude={"기쁨/typo.png"})


def test_the_report_counts_and_says_what_a_study_lacks(source: Any) -> None:
    report = prepare(list_entries(source(FOLDERS), KOREAN5), PLAIN)
    assert report.by_label == {"기쁨": 3, "슬픔": 1, "당황": 1}
    assert report.by_person == {}
    texts = {"ko": "동의"}
    definition = StudyDefinition(title=texts, consent=texts, size=5, public_share=1.0)
    assert report.find_shortage("public", [], definition) == {
        ("public", "분노"): 1, ("public", "중립"): 1
    }  # fmt: skip


def test_of_a_picture_only_its_pixels_are_kept() -> None:
    exif = Picture.Exif()
    exif[ExifTags.Base.Make] = "Secret camera"
    exif[ExifTags.Base.Orientation] = 6
    data = draw(1, (60, 40), "JPEG", exif=exif, comment=b"angry_subject17", icc_profile=b"profile")
    (picture,) = prepare([Entry("기쁨/a.jpg", "기쁨", True, None, lambda: data)], PLAIN).prepared
    for trace in (b"Secret", b"angry", b"profile", b"Exif"):
        assert trace in data
        assert trace not in picture.jpeg
    with Picture.open(io.BytesIO(picture.jpeg)) as image:
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        # Turned upright, a tall picture: the border is at its sides.
        pixels = np.asarray(image)
    assert np.abs(pixels[:, :6].astype(int) - 128).max() < 20
    assert pixels[:6].std() > 20


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [(10, 10), (640, 200), (33, 500)])
def test_every_picture_comes_out_in_one_size_and_format(size: tuple[int, int], grey: bool) -> None:
    presentation = Presentation(size=96, grey=grey)
    for mode in ("RGB", "RGBA", "L", "P"):
        data = encode(Picture.new(mode, size, 77), presentation)
        with Picture.open(io.BytesIO(data)) as image:
            assert (image.format, image.size, image.mode) == (
                "JPEG", (96, 96), "L" if grey else "RGB"
            )  # fmt: skip


def test_faces_are_cut_out_where_that_is_asked_for() -> None:
    def crop(image: Picture.Image) -> Picture.Image | None:
        return image.crop((0, 0, 20, 20)) if image.width == 60 else None

    entries = [
        Entry("a", "기쁨", True, None, lambda: draw(1)),
        Entry("b", "기쁨", True, None, lambda: draw(2, (30, 30))),
    ]
    report = prepare(entries, replace(PLAIN, face=True), crop_face=crop)
    assert [picture.path for picture in report.prepared] == ["a"]
    assert report.left_out == (("b", "no face found"),)
    whole = prepare(entries, PLAIN, crop_face=crop)
    assert len(whole.prepared) == 2
    assert whole.prepared[0].jpeg != report.prepared[0].jpeg
    assert whole.prepared[0].pixels_sha256 == report.prepared[0].pixels_sha256


def build_report(tmp_path: Path) -> Report:
    return prepare(list_entries(write(tmp_path / "set", FOLDERS), KOREAN5), PLAIN)


def test_an_import_stores_everything_under_random_ids(engine: Engine, tmp_path: Path) -> None:
    report = build_report(tmp_path)
    import_set(engine, "우리 팀", "private", KOREAN5, PLAIN, report.prepared, NOW)
    with transaction(engine, writes=False) as session:
        stored = session.scalars(select(ImageSet)).one()
        rows = session.scalars(select(Image)).all()
        assert (stored.name, stored.visibility, stored.taxonomy) == (
            "우리 팀",
            "private",
            "korean5",
        )
        assert stored.presentation == {"size": 64, "grey": False, "face": False}
        assert {row.jpeg for row in rows} == {picture.jpeg for picture in report.prepared}
        assert len({row.id for row in rows}) == 5
        assert all(len(row.id) >= 20 for row in rows)


def test_an_import_is_all_or_nothing(engine: Engine, tmp_path: Path) -> None:
    prepared = build_report(tmp_path).prepared
    twice = [*prepared, prepared[0]]  # breaks the table's rule at the last row
    with pytest.raises(IntegrityError):
        import_set(engine, "a", "public", KOREAN5, PLAIN, twice, NOW)
    import_set(engine, "a", "public", KOREAN5, PLAIN, prepared, NOW)
    with pytest.raises(ImageSetError, match="already is an image set 'a'"):
        import_set(engine, "a", "public", KOREAN5, PLAIN, prepared, NOW)
    with pytest.raises(ImageSetError, match="None of the pictures can be imported"):
        import_set(engine, "b", "public", KOREAN5, PLAIN, [], NOW)
    with pytest.raises(ImageSetError, match="visibility must be public or private, got 'secret'"):
        import_set(engine, "b", "secret", KOREAN5, PLAIN, prepared, NOW)
    with transaction(engine, writes=False) as session:
        assert len(session.scalars(select(Image.id)).all()) == 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no labelled pictures found; expected a folder per emotion \(기쁨, 당황"),
        ({"기쁨/readme.txt": b"x"}, "no labelled pictures found"),
        ({"manifest.csv": b"file,label\na,b\n"}, "missing column filename; it needs"),
        ({"manifest.csv": "기쁨".encode("cp949")}, "is not UTF-8"),
        ({"a/manifest.csv": b"x", "b/manifest.csv": b"x"}, "more than one manifest.csv: a/"),
    ],
)
def test_a_source_that_makes_no_sense_is_explained(
    files: dict[str, bytes], message: str, source: Any, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(ImageSetError, match=message):
        list_entries(source(files), KOREAN5)


def test_a_source_that_is_not_there_or_no_zip_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ImageSetError, match="There is no folder or zip"):
        list_entries(tmp_path / "nothing", KOREAN5)
    (tmp_path / "text.zip").write_bytes(b"no zip")
    with pytest.raises(ImageSetError, match=r"text\.zip is no zip that can be read"):
        list_entries(tmp_path / "text.zip", KOREAN5)


def test_names_that_climb_out_of_a_zip_lead_nowhere(tmp_path: Path) -> None:
    evil = {"../기쁨/a.png": draw(1), "기쁨/../../b.png": draw(2), "/기쁨/c.png": draw(3)}
    entries = list_entries(pack(tmp_path / "evil.zip", evil), KOREAN5)
    assert name_all(entries) == {"기쁨/c.png": "기쁨"}
    assert {path.name for path in tmp_path.iterdir()} == {"evil.zip"}
    listed = {"manifest.csv": b"filename,label\n../outside.png,joy\n"}
    (tmp_path / "outside.png").write_bytes(draw(4))
    report = prepare(list_entries(write(tmp_path / "set", listed), KOREAN5), PLAIN)
    assert report.prepared == ()
    assert report.left_out[0][1] == "the manifest lists it, but it is not there"


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = {"기쁨/a.png": bytes(40 * 1024**2), "기쁨/b.png": draw(1)}
    path = pack(tmp_path / "bomb.zip", bomb, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    report = prepare(list_entries(path, KOREAN5), PLAIN)
    assert [picture.path for picture in report.prepared] == ["기쁨/b.png"]
    assert report.left_out == (("기쁨/a.png", "larger than 30 MB"),)
    monkeypatch.setattr(sources, "MAX_TOTAL_BYTES", 1024**2)
    with pytest.raises(ImageSetError, match="unpacks to more than"):
        list_entries(path, KOREAN5)


def test_a_zip_with_a_password_or_damage_names_its_pictures(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"기쁨/a.png": draw(1), "기쁨/b.png": draw(2)})
    raw = bytearray(path.read_bytes())
    at = raw.index(draw(1)[200:220])
    raw[at] ^= 0xFF
    path.write_bytes(raw)
    report = prepare(list_entries(path, KOREAN5), PLAIN)
    assert [picture.path for picture in report.prepared] == ["기쁨/b.png"]
    assert report.left_out[0][1].startswith("damaged in the zip")


def test_damage_that_the_unpacker_meets_first_names_its_picture_too(tmp_path: Path) -> None:
    good, bad = draw(1), bytes(5000)
    path = pack(
        tmp_path / "a.zip",
        {"기쁨/a.png": bad, "기쁨/b.png": good},
        compression=zipfile.ZIP_DEFLATED,
    )
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("기쁨/a.png")
    raw = bytearray(path.read_bytes())
    name = info.orig_filename.encode()
    raw[raw.index(name) + len(name)] = 0xFF  # no block of deflate begins so
    path.write_bytes(raw)
    report = prepare(list_entries(path, KOREAN5), PLAIN)
    assert [picture.path for picture in report.prepared] == ["기쁨/b.png"]
    assert report.left_out[0][1].startswith("damaged in the zip")


@pytest.mark.parametrize("size", [0, 31, 1025])
def test_a_size_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(ImageSetError, match=f"size must be from 32 to 1024, got {size}"):
        Presentation(size=size)
