"""What explains a bundle's answers is read as it was written; what is damaged is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfer.bundle import EXPLANATION, WEIGHTS, hash_file, load_bundle
from kfer.errors import BundleError
from kfer.surrogate import load_surrogate
from kfer.texts import ACTION_UNITS

Fields = dict[str, Any]


def build_fields(weights: str | None = None) -> Fields:
    """Two of ferplus8's labels, three units."""
    return {
        "taxonomy": "ferplus8",
        "labels": ["기쁨", "중립"],
        "units": ["AU06", "AU12", "AU43"],
        "means": [0.5, 1.0, 0.1],
        "intercepts": [-1.0, 1.0],
        "coefficients": [[0.3, 1.4, -0.8], [-0.3, -1.4, 0.8]],
        "low": [[-0.1, 1.2, -1.1], [-0.6, -1.7, 0.3]],
        "high": [[0.6, 1.7, -0.3], [0.1, -1.2, 1.1]],
        "counts": [2, 38],
        "agreement": 0.9,
        "rendered": True,
        "weights_sha256": weights,
    }


@pytest.fixture
def explained(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with an explanation of its weights."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "explained"))
    write(folder, build_fields(hash_file(folder / WEIGHTS)))
    return folder


def write(folder: Path, fields: object) -> None:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    (folder / EXPLANATION).write_text(text, encoding="utf-8")


def test_a_bundle_carries_its_explanation(explained: Path, tiny_bundle: Path) -> None:
    surrogate = load_bundle(explained).surrogate
    assert surrogate is not None
    assert surrogate.coefficients[0] == (0.3, 1.4, -0.8)
    assert surrogate.units == ("AU06", "AU12", "AU43")
    assert (surrogate.pictures, surrogate.baseline, surrogate.target) == (40, 0.95, "network")
    assert surrogate.explained == ("중립",)  # two pictures of 기쁨 cannot bear three coefficients
    assert load_bundle(tiny_bundle).surrogate is None


@pytest.mark.parametrize("weights", ["ab" * 32, None])
def test_an_explanation_of_something_else_is_refused(weights: str | None, explained: Path) -> None:
    write(explained, build_fields(weights))
    with pytest.raises(BundleError, match=r"explains other answers than .*Delete it, and make it"):
        load_bundle(explained)


def put(**values: object) -> Callable[[Fields], object]:
    return lambda fields: fields.update(values)


FAULTS: dict[str, tuple[Callable[[Fields], object], str]] = {
    "a field is missing": (lambda fields: fields.pop("low"), "missing .* 'low'"),
    "a field too many": (put(weights="x"), "unexpected .* 'weights'"),
    "another taxonomy": (put(taxonomy="fer9"), "no taxonomy 'fer9'"),
    "another one's label": (put(labels=["상처", "중립"]), "labels"),
    "labels out of order": (put(labels=["중립", "기쁨"]), "labels"),
    "one label": (put(labels=["기쁨"]), "labels"),
    "no unit": (put(units=[]), "units"),
    "a unit twice": (put(units=["AU06", "AU06", "AU43"]), "units"),
    "a unit with another name": (put(units=["AU6_r", "AU12", "AU43"]), "units"),
    "a unit without a name": (put(units=[6, 12, 43]), "explanation by action units"),
    "a mean too few": (put(means=[0.5, 1.0]), "means"),
    "no number": (put(intercepts=[float("nan"), 1.0]), "intercepts"),
    "no end": (put(intercepts=[10**400, 1]), "explanation by action units"),
    "a word": (put(intercepts=["1", "2"]), "explanation by action units"),
    "a row too few": (put(coefficients=[[0.3, 1.4, -0.8]]), "coefficients"),
    "a row too short": (put(high=[[0.6, 1.7], [0.1, -1.2, 1.1]]), "high"),
    "no rows": (put(low=[0.1, 0.2]), "explanation by action units"),
    "an interval upside down": (
        lambda fields: fields["low"][1].__setitem__(2, 1.2),
        "low and high do not fit",
    ),
    "fewer than no pictures": (put(counts=[-1, 38]), "counts"),
    "no pictures": (put(counts=[0, 0]), "counts"),
    "more than all agree": (put(agreement=1.5), "agreement"),
    "rendered or not": (put(rendered="yes"), "rendered"),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_explanation_is_refused(
    change: Callable[[Fields], object], message: str, explained: Path
) -> None:
    fields = build_fields(hash_file(explained / WEIGHTS))
    change(fields)
    write(explained, fields)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(explained)
    assert str(caught.value).startswith(f"explained/{EXPLANATION} is no explanation")
    assert "Delete it, and make it again with: python -m training explain." in str(caught.value)
    assert str(explained.parent) not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"x"', "\x00"])
def test_what_is_no_explanation_at_all_is_refused(text: str, explained: Path) -> None:
    write(explained, text)
    with pytest.raises(BundleError, match="is no explanation by action units"):
        load_surrogate(explained / EXPLANATION)


def test_the_names_of_units_are_known_under_two_digits() -> None:
    assert ACTION_UNITS["AU12"] == ("입꼬리 당김", "Lip corner puller")
    assert all(len(unit) == 4 and unit[2:].isdigit() for unit in ACTION_UNITS)
    for names in zip(*ACTION_UNITS.values(), strict=True):
        assert len(set(names)) == len(names)
