"""Who stands in which part, and that nobody stands in two."""

from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from kfer.labels import get_taxonomy
from training.cli import app
from training.errors import ConfigError, DataError
from training.manifest import (
    UNKNOWN,
    drop_excluded,
    extract_persons,
    read_manifest,
    write_manifest,
)
from training.splits import (
    balance,
    check_disjoint,
    group,
    parse_ratios,
    split_folds,
    split_parts,
)

KOREAN5 = get_taxonomy("korean5")
RATIOS = {"train": 80, "validation": 10, "test": 10}


def build_table(persons: int = 60, each: int = 10, seed: int = 0) -> pd.DataFrame:
    """Everyone shows mostly one of five emotions; every tenth picture is UNKNOWN."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(persons):
        for number in range(each):
            label = (person + (0 if rng.random() < 0.7 else rng.integers(5))) % 5
            rows.append(
                {
                    "path": f"{person:03d}_{number}.jpg",
                    "label": UNKNOWN if number == 9 else KOREAN5.labels[label],
                    "person": f"p{person:03d}",
                }
            )
    return pd.DataFrame(rows)


def test_parts_have_their_shares_of_pictures_and_labels_and_no_common_person() -> None:
    table = split_parts(build_table(), RATIOS, seed=3)
    assert (table["part"] == "").equals(table["label"] == UNKNOWN)
    known = table[table["part"] != ""]
    shares = known["part"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.03)
    assert shares["test"] == pytest.approx(0.1, abs=0.03)
    mixture = known["label"].value_counts(normalize=True)
    for _, rows in known.groupby("part"):
        difference = rows["label"].value_counts(normalize=True) - mixture
        assert difference.abs().max() < 0.12
    assert known.groupby("person")["part"].nunique().max() == 1
    check_disjoint(table, "part")


def test_a_seed_gives_the_same_parts_and_another_one_others() -> None:
    first, again, other = (split_parts(build_table(), RATIOS, seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert (first["part"] != other["part"]).mean() > 0.1


def test_by_picture_people_are_shared_out_and_ratios_are_exact() -> None:
    table = split_parts(build_table(), RATIOS, seed=0, by="image")
    counts = table["part"].value_counts()
    assert (counts["train"], counts["validation"], counts["test"]) == (432, 54, 54)
    assert table[table["part"] != ""].groupby("person")["part"].nunique().mean() > 2
    check_disjoint(table, "part", by="image")
    with pytest.raises(DataError, match=r"values of person stand in several of part; the first is"):
        check_disjoint(table, "part")


@pytest.mark.parametrize("column", ["pixels", "photo"])
@pytest.mark.parametrize("by", ["person", "image"])
def test_identical_pictures_stay_together_whoever_is_said_to_be_on_them(
    by: str, column: str
) -> None:
    table = build_table()
    table[column] = [f"{index:04x}" for index in range(len(table))]
    # A copy under another person's name ties the two persons, and a third through another copy.
    table.loc[[0, 205], column] = "copied"
    table.loc[[201, 433], column] = "copied too"
    for seed in range(5):
        parts = split_parts(table, RATIOS, seed, by)["part"]
        assert parts[0] == parts[205]
        assert parts[201] == parts[433]
        if by == "person":
            assert parts[0] == parts[433]
    groups = group(table, by)
    assert len(set(groups)) == (58 if by == "person" else len(table) - 2)


@pytest.mark.parametrize("column", ["pixels", "photo"])
def test_crossing_pixels_are_found_with_their_files(column: str) -> None:
    table = split_parts(build_table(), RATIOS, seed=0)
    table[column] = [f"{index:04x}" for index in range(len(table))]
    one = table.index[table["part"] == "train"][0]
    other = table.index[table["part"] == "test"][0]
    table.loc[[one, other], column] = "same"
    with pytest.raises(DataError) as error:
        check_disjoint(table, "part", by="image")
    assert f"1 values of {column} stand in several of part; the first is same" in str(error.value)
    assert table["path"][one] in str(error.value)
    assert table["path"][other] in str(error.value)
    with pytest.raises(DataError, match="has no column fold"):
        check_disjoint(table, "fold")


@pytest.mark.parametrize("by", ["person", "image"])
def test_folds_share_everybody_out_once(by: str) -> None:
    table = split_folds(build_table(), 5, seed=0, by=by)
    assert table["fold"].isna().equals(table["label"] == UNKNOWN)
    sizes = table["fold"].value_counts()
    assert sorted(sizes.index) == [0, 1, 2, 3, 4]
    assert sizes.min() > 80
    check_disjoint(table, "fold", by=by)


def test_balancing_takes_from_training_alone() -> None:
    table = split_parts(build_table(), RATIOS, seed=0)
    for cap, expected in (
        (None, table[table["part"] == "train"]["label"].value_counts().min()),
        (40, 40),
    ):
        even = balance(table, "part", cap, seed=1)
        assert (even[even["part"] == "train"]["label"].value_counts() == expected).all()
        for part in ("validation", "test"):
            assert (even["part"] == part).equals(table["part"] == part)
    assert balance(table, "part", 40, seed=1).equals(balance(table, "part", 40, seed=1))
    assert not balance(table, "part", 40, seed=1).equals(balance(table, "part", 40, seed=2))


def test_a_division_that_is_dealt_anew_forgets_the_other_one(tmp_path: Path) -> None:
    manifest, out = tmp_path / "crops.csv", tmp_path / "parts.csv"
    write_manifest(build_table(), manifest)

    def split(source: Path, *options: str) -> pd.DataFrame:
        command = ["split", "--manifest", str(source), "--out", str(out), *options]
        assert CliRunner().invoke(app, command).exit_code == 0
        return read_manifest(out)

    assert {"fold"} == {"fold", "part"} & set(split(manifest, "--folds", "5"))
    table = split(out, "--ratios", "80/10/10", "--cap", "7")
    assert {"part"} == {"fold", "part"} & set(table)
    assert (table[table["part"] == "train"]["label"].value_counts() == 7).all()


def test_people_must_be_known_to_be_kept_apart() -> None:
    table = build_table()
    with pytest.raises(DataError, match=r"all pictures name no person\. Give --person"):
        split_parts(table.drop(columns="person"), RATIOS, seed=0)
    table.loc[3:5, "person"] = ""
    with pytest.raises(DataError, match=r"3 pictures name no person"):
        split_parts(table, RATIOS, seed=0)


def test_too_few_for_the_shares_is_said() -> None:
    with pytest.raises(DataError, match="6 persons cannot be dealt out to 10 equal shares"):
        split_parts(build_table(persons=6), RATIOS, seed=0)
    with pytest.raises(DataError, match="has 9 pictures, too few for 10 equal shares"):
        split_parts(
            build_table(persons=5, each=10).assign(
                label=lambda t: np.where(t.index < 9, "기쁨", "슬픔")
            ),
            RATIOS,
            0,
            "image",
        )
    with pytest.raises(DataError, match="every picture's label is UNKNOWN"):
        split_parts(build_table().assign(label=UNKNOWN), RATIOS, seed=0)


@pytest.mark.parametrize("text", ["0/10/10", "-8/2", "80/10/5/5", "most", "", "0.8/0.2"])
def test_ratios_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--ratios .*: must be up to three whole numbers"):
        parse_ratios(text)


def test_ratios_are_shares_of_the_parts() -> None:
    assert parse_ratios("80/10/10") == RATIOS
    assert parse_ratios("3/1") == {"train": 3, "validation": 1}
    table = split_parts(build_table(), parse_ratios("3/1"), seed=0)
    assert set(table["part"]) == {"train", "validation", ""}


def test_persons_are_the_first_group_of_a_pattern() -> None:
    table = build_table().drop(columns="person").assign(path=lambda t: "기쁨/" + t["path"])
    found = extract_persons(table["path"], r"^(\d+)_")
    assert found.tolist() == [path[3:6] for path in table["path"]]
    most = table.assign(person=extract_persons(table["path"], r"^(\d+)_[1-9]"))
    known = most.query("label != 'UNKNOWN'")
    with pytest.raises(DataError, match="60 pictures name no person"):
        split_parts(known, RATIOS, 0)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "(",
        "[0-9]+",
        r"(\d)(\d)",
        "*(a)",
        r"(\p{L})",
        "(a)(?i)",
        "(a{9999999999999})",
        "(" * 9999,
    ],
)
def test_patterns_that_name_no_person_are_refused(pattern: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--person .*: must be a regular expression with one gr"
    ):
        extract_persons(build_table()["path"], pattern)


def test_a_single_fold_is_refused() -> None:
    with pytest.raises(ConfigError, match="--folds: must be 2 or more, but got 1"):
        split_folds(build_table(), 1, seed=0)


def test_excluded_pictures_are_named_by_path_or_file(tmp_path: Path) -> None:
    table = build_table().assign(path=lambda t: "기쁨/" + t["path"])
    listed = tmp_path / "exclude.csv"
    listed.write_text("file,why\n기쁨/000_0.jpg,손\n001_1.jpg,너무 어두움\n", encoding="utf-8")
    left = drop_excluded(table, listed)
    assert len(left) == len(table) - 2
    assert not set(left["path"]) & {"기쁨/000_0.jpg", "기쁨/001_1.jpg"}
    assert drop_excluded(table, None).equals(table)
    assert drop_excluded(left, listed).equals(left)  # the next stage is given the same list
    crops = table.assign(path=lambda t: t["path"] + ".jpg")
    assert len(drop_excluded(crops, listed)) == len(table) - 2  # of photos, for crops
    decomposed = table.assign(path=[normalize("NFD", path) for path in table["path"]])
    assert len(drop_excluded(decomposed, listed)) == len(table) - 2
    twice = table.replace({"path": {"기쁨/000_2.jpg": "슬픔/001_1.jpg"}})
    with pytest.raises(DataError, match=r"001_1\.jpg may be several pictures; name its folder"):
        drop_excluded(twice, listed)
    with pytest.raises(DataError, match="cannot be read as CSV"):
        drop_excluded(table, tmp_path / "missing.csv")
