"""AI Hub's two label layouts, with what is wrong in them, become one manifest."""

import json
from pathlib import Path
from random import Random
from typing import Any
from unicodedata import normalize

import pandas as pd
import pytest

from training.errors import DataError
from training.manifest import BOX, UNKNOWN, read_manifest, write_manifest
from training.sources import tsv
from training.sources.aihub import AIHUB7, TSV_COLUMNS, read_json, read_tsv
from training.sources.tsv import Refused

NAME = "0a1b2c3d4e5f_여_20_{}_실외_{}.jpg"
HAPPY, HURT = NAME.format("기쁨", 1), NAME.format("상처", 2)


def draw(*boxes: tuple[float, float, float, float]) -> dict[str, Any]:
    corners = ("minX", "minY", "maxX", "maxY")
    return {"boxes": [dict(zip(corners, box, strict=True)) for box in boxes]}


FACE = draw((10, 20, 110, 140))


def write_row(name: str, emotions: list[str], results: list[str], url: str | None = None) -> str:
    url = url or f"http://aihub.invalid/{name}"
    return "\t".join([name, url, *emotions, "실내", "실내", "실외", *results])


def write_tsv(path: Path, *rows: str, header: bool = True) -> Path:
    lines = (["\t".join(TSV_COLUMNS)] if header else []) + list(rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def quote(value: object) -> str:
    """As the release writes it: in quotes, with every quote doubled."""
    return '"' + json.dumps(value).replace('"', '""') + '"'


@pytest.mark.parametrize("header", [True, False])
def test_a_row_becomes_votes_a_label_a_person_and_a_box(tmp_path: Path, header: bool) -> None:
    results = [quote(FACE), quote(draw((14, 20, 112, 138))), quote(draw((300, 300, 400, 400)))]
    row = write_row(HAPPY, ["기쁨", "당황", "기쁨"], results, "http://aihub.invalid/a?b=c")
    table, refused = read_tsv(write_tsv(tmp_path / "라벨.tsv", row, header=header))
    assert refused == []
    (entry,) = table.to_dict("records")
    assert entry == {
        "path": f"기쁨/{HAPPY}",
        "url": "http://aihub.invalid/a?b=c",
        "label": "기쁨",
        "person": "0a1b2c3d4e5f",
        **{f"vote_{label}": 0 for label in AIHUB7.labels},
        "vote_기쁨": 2,
        "vote_당황": 1,
        "left": 12,
        "top": 20,
        "right": 111,
        "bottom": 139,
    }


@pytest.mark.parametrize(
    ("emotions", "label"),
    [
        (["슬픔", "슬픔", "슬픔"], "슬픔"),
        (["불안", "슬픔", "슬픔"], "슬픔"),
        (["슬픔", "불안", "상처"], UNKNOWN),
        (["슬픔", "", "슬픔"], "슬픔"),
        (["슬픔", "?", ""], UNKNOWN),
        ([normalize("NFD", "슬픔"), "슬픔", "불안"], "슬픔"),  # as macOS writes it
    ],
)
def test_two_of_three_make_a_label(emotions: list[str], label: str, tmp_path: Path) -> None:
    row = write_row(HAPPY, emotions, [json.dumps(FACE)] * 3)
    table, refused = read_tsv(write_tsv(tmp_path / "a.tsv", row))
    assert (table["label"].tolist(), refused) == ([label], [])


@pytest.mark.parametrize(
    "cell",
    [
        json.dumps(FACE),
        json.dumps(FACE["boxes"]),  # the array without its name, as some rows have it
        "'" + json.dumps(FACE) + "'",
        quote(FACE),
        json.dumps({"boxes": FACE["boxes"][0]}),
    ],
)
def test_boxes_are_read_in_every_way_they_are_written(cell: str, tmp_path: Path) -> None:
    table, refused = read_tsv(
        write_tsv(tmp_path / "a.tsv", write_row(HAPPY, ["기쁨"] * 3, [cell, cell, cell]))
    )
    assert refused == []
    assert table[BOX].to_numpy().tolist() == [[10, 20, 110, 140]]


def test_a_malformed_row_is_refused_by_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    good, face = ["기쁨"] * 3, json.dumps(FACE)
    table, refused = read_tsv(
        write_tsv(
            tmp_path / "a.tsv",
            write_row("1.jpg", good, [face] * 3),
            "2.jpg\thttp://aihub.invalid/2.jpg\t기쁨",
            write_row("3.jpg", good, [face, face, "{'minX'"]),
            write_row("4.jpg", good, [face, face, '{"faces": []}']),
            write_row("5.jpg", good, [json.dumps(draw((9, 9, 9, 20))), face, face]),
            write_row("6.jpg", good, ['{"boxes": []}'] * 3),
            write_row("../7.jpg", good, [face] * 3),
            write_row("1.jpg", good, [face] * 3),
            write_row("9.jpg", good, [face, face, '{"boxes": [{"minX": 1}]}']),
            write_row("10.jpg", good, [face, '{"boxes": []}', face]),
            write_row("11.jpg", good, [face, face, face[:-1]]),
            write_row("12.jpg", good, [face, face, json.dumps(FACE["boxes"]) + "}"]),
        )
    )
    assert table["path"].tolist() == ["UNKNOWN/1.jpg", "UNKNOWN/10.jpg"]
    assert [(each.file, each.line) for each in refused] == [
        ("a.tsv", line) for line in (*range(3, 11), 12, 13)
    ]
    reasons = [each.reason for each in refused]
    assert reasons[0] == "has 3 columns instead of 11"
    assert "line 1 column" in reasons[1]
    assert all("line 1 column" in reason for reason in reasons[-2:])
    assert reasons[2:-2] == [
        "has no boxes",
        "box 9, 9, 9, 20 is empty",
        "no annotator drew a box",
        "name '../7.jpg' is no file name",
        "1.jpg was named before",
        "has no minY",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"a\.tsv: cannot be read as TSV \(.*No such file"),
        ("url\tTaskA_emotion\nhttp://a\t기쁨\n", r"a\.tsv: has no column name\."),
        (b"\xff\xfe\x00name", "cannot be read as TSV"),
    ],
)
def test_what_is_no_such_tsv_is_refused(text: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    if isinstance(text, str):
        path.write_text(text, encoding="utf-8")
    elif isinstance(text, bytes):
        path.write_bytes(text)
    with pytest.raises(DataError, match=message):
        read_tsv(path)


def build_entry(name: str, *emotions: str) -> dict[str, Any]:
    return {
        "filename": name,
        "gender": "여",
        "age": 20,
        "isProf": "전문인",
        "faceExp_uploader": "기쁨",
        "bg_uploader": "실외",
        **{
            f"annot_{each}": {"boxes": FACE["boxes"][0], "faceExp": emotion, "bg": "실외"}
            for each, emotion in zip("ABC", emotions, strict=True)
        },
    }


def test_where_a_row_lies_in_a_large_file_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read in blocks, each of which looks for the order of its own boxes' corners."""
    random = Random(0)
    rows = []
    for number in range(300):
        left, top = random.randrange(50), random.randrange(50)
        (box,) = draw((left, top, left + random.randrange(60), top + 60))["boxes"]
        corners = dict(random.sample(list(box.items()), 4))
        cell = random.choice([quote, json.dumps])(random.choice([[corners], {"boxes": [corners]}]))
        broken = random.choice([cell, cell, cell[:-1], cell.replace("min", "mid")])
        rows.append(write_row(f"{number}.jpg", ["기쁨"] * 3, [cell, broken, cell]))
    path = write_tsv(tmp_path / "a.tsv", *rows, "cut\tshort")
    whole, refused = read_tsv(path)
    monkeypatch.setattr(tsv, "_BLOCK", 2048)
    table, also = read_tsv(path)
    pd.testing.assert_frame_equal(table, whole)
    assert also == refused
    assert 100 < len(whole) < 250


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_the_json_layout_gives_the_same_manifest(encoding: str, tmp_path: Path) -> None:
    entries = [
        build_entry(HAPPY, "기쁨", "기쁨", "당황"),
        build_entry(HURT, "상처", "슬픔", "불안"),
    ]
    path = tmp_path / "기쁨.json"
    path.write_text(json.dumps(entries, ensure_ascii=False), encoding=encoding)
    table, refused = read_json([path])
    rows = [
        write_row(HAPPY, ["기쁨", "기쁨", "당황"], [json.dumps(FACE)] * 3),
        write_row(HURT, ["상처", "슬픔", "불안"], [json.dumps(FACE)] * 3),
    ]
    expected, _ = read_tsv(write_tsv(tmp_path / "a.tsv", *rows))
    assert refused == []
    assert table.drop(columns="url").equals(expected.drop(columns="url"))
    assert table["label"].tolist() == ["기쁨", UNKNOWN]


def test_entries_that_lack_something_or_come_twice_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    broken = build_entry("2.jpg", "기쁨", "기쁨", "기쁨")
    del broken["annot_B"]
    good = build_entry("1.jpg", "기쁨", "기쁨", "기쁨")
    first.write_text(json.dumps([good, broken, "3.jpg"]), encoding="utf-8")
    second.write_text(json.dumps([good]), encoding="utf-8")
    table, refused = read_json([first, second])
    assert table["path"].tolist() == ["UNKNOWN/1.jpg"]
    assert refused[0] == Refused("a.json", 2, "has no annot_B")
    assert (refused[1].file, refused[1].line) == ("a.json", 3)
    assert refused[2].reason == "UNKNOWN/1.jpg stands in several files"


@pytest.mark.parametrize("name", [5, None, ["a.jpg"]])
def test_an_entry_whose_name_is_no_text_is_refused(name: object, tmp_path: Path) -> None:
    good = build_entry("1.jpg", "기쁨", "기쁨", "기쁨")
    (tmp_path / "a.json").write_text(json.dumps([good, {**good, "filename": name}]))
    table, refused = read_json([tmp_path / "a.json"])
    assert table["path"].tolist() == ["UNKNOWN/1.jpg"]
    assert refused == [Refused("a.json", 2, f"filename is {name!r}")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"filename": "a.jpg"}', "holds no array of pictures"),
        (b"[1,", "is no JSON"),
        (b'["\x80\xff"]', "is neither UTF-8 nor CP949"),
        (b"[]", "holds no entry that can be used; is it AI Hub's JSON"),
        (b'[{"filename": "a.jpg"}]', "holds no entry that can be used"),
    ],
)
def test_what_is_no_such_json_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_json([path])


def test_a_manifest_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    rows = [
        write_row(HAPPY, ["기쁨", "기쁨", "당황"], [json.dumps(FACE)] * 3),
        write_row("이름, 쉼표.jpg", ["상처", "슬픔", "불안"], [json.dumps(FACE)] * 3),
    ]
    table, _ = read_tsv(write_tsv(tmp_path / "a.tsv", *rows))
    write_manifest(table, tmp_path / "새 폴더" / "manifest.csv")
    again = read_manifest(tmp_path / "새 폴더" / "manifest.csv")
    pd.testing.assert_frame_equal(again, table)
    assert [path.name for path in (tmp_path / "새 폴더").iterdir()] == ["manifest.csv"]


def test_an_annotator_who_drew_nothing_costs_no_picture(tmp_path: Path) -> None:
    entry = build_entry("1.jpg", "기쁨", "기쁨", "당황")
    entry["annot_C"]["boxes"] = None
    (tmp_path / "a.json").write_text(json.dumps([entry]), encoding="utf-8")
    table, refused = read_json([tmp_path / "a.json"])
    assert (table["label"].tolist(), refused) == (["기쁨"], [])
