"""Action units explain emotions: planted and rendered ones, OpenFace's files, and the network."""

import json
import re
import shlex
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kfer.bundle import CARD, EXPLANATION, WEIGHTS, hash_file, load_bundle
from kfer.labels import get_taxonomy
from kfer.surrogate import load_surrogate
from tests.commands import call
from training.action_units import (
    describe_commands,
    join_units,
    lay_out,
    merge_openface,
    read_units,
)
from training.errors import DataError
from training.explain_au import (
    contribute,
    describe,
    explain_labels,
    fit_surrogate,
    predict,
    save_surrogate,
    tabulate,
)

AIHUB7, KOREAN5 = get_taxonomy("aihub7"), get_taxonomy("korean5")
STIMULI = Path("tests/data/stimuli_units.csv")
MODEL = Path("models/kfer-default")


def plant(
    n: int, weights: dict[str, dict[str, float]], seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Answers drawn from known logits; 40 persons."""
    rng = np.random.default_rng(seed)
    units = pd.DataFrame(rng.uniform(0, 5, (n, 3)), columns=["AU04", "AU12", "AU15"])
    table = pd.DataFrame(weights).T.reindex(columns=units.columns).fillna(0)
    logits = units.to_numpy() @ table.to_numpy().T
    logits -= logits.mean(axis=0)
    powers = np.exp(logits)
    drawn = [rng.choice(list(weights), p=row / row.sum()) for row in powers]
    return (
        units,
        np.array(drawn, dtype=object),
        np.array([f"p{i % 40}" for i in range(n)], dtype=object),
    )


PLANTED = {
    "기쁨": {"AU12": 1.2},
    "분노": {"AU04": 0.9},
    "슬픔": {"AU15": 0.7, "AU04": 0.3},
}


def test_planted_coefficients_are_found_within_their_intervals() -> None:
    units, answers, persons = plant(3000, PLANTED)
    surrogate = fit_surrogate(units, answers, persons, KOREAN5, "labels")
    assert surrogate.labels == ("기쁨", "분노", "슬픔")
    planted = np.array([[terms.get(unit, 0.0) for unit in units] for terms in PLANTED.values()])
    planted -= planted.mean(axis=0)  # only differences between emotions can be known
    found = np.array(surrogate.coefficients)
    assert np.abs(found - planted).max() < 0.12
    inside = (np.array(surrogate.low) <= planted) & (planted <= np.array(surrogate.high))
    assert inside.mean() >= 7 / 9
    assert (np.array(surrogate.low) < found).all()
    assert (found < np.array(surrogate.high)).all()
    assert found.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-6)


def test_agreement_is_that_on_pictures_left_out() -> None:
    rng = np.random.default_rng(1)
    units = pd.DataFrame(rng.normal(size=(60, 30)), columns=[f"AU{i:02d}" for i in range(1, 31)])
    answers = rng.choice(np.array(["기쁨", "슬픔"], dtype=object), 60)
    persons = np.array([f"p{i % 20}" for i in range(60)], dtype=object)
    surrogate = fit_surrogate(units, answers, persons, KOREAN5, "labels")
    predicted = predict(surrogate, units.to_numpy()).argmax(axis=1)
    fitted = np.mean(np.array(surrogate.labels, dtype=object)[predicted] == answers)
    assert fitted > 0.85  # by heart
    assert surrogate.agreement < 0.65  # nothing to be learned
    assert surrogate.counts == (int((answers == "기쁨").sum()), int((answers == "슬픔").sum()))
    assert surrogate.baseline == max(surrogate.counts) / 60


def test_contributions_are_coefficient_times_deviation_and_sum_to_the_logits() -> None:
    units, answers, persons = plant(400, PLANTED)
    surrogate = fit_surrogate(units, answers, persons, KOREAN5, "labels")
    values = units.to_numpy()[:7]
    shares = contribute(surrogate, values)
    for row, label, unit in ((0, 0, 1), (6, 2, 2)):
        deviation = values[row, unit] - units.to_numpy()[:, unit].mean()
        assert shares[row, label, unit] == pytest.approx(
            surrogate.coefficients[label][unit] * deviation
        )
    logits = shares.sum(axis=2) + surrogate.intercepts
    powers = np.exp(logits)
    assert np.allclose(predict(surrogate, values), powers / powers.sum(axis=1, keepdims=True))
    assert np.allclose(contribute(surrogate, np.array([surrogate.means])), 0)


def test_two_emotions_share_their_difference_evenly() -> None:
    units, answers, persons = plant(2000, {"기쁨": {"AU12": 1.0}, "슬픔": {}})
    surrogate = fit_surrogate(units, answers, persons, KOREAN5, "labels")
    smile = np.array(surrogate.coefficients)[:, 1]
    assert smile == pytest.approx([0.5, -0.5], abs=0.08)


def test_the_rendered_faces_are_explained_by_the_movements_they_were_made_of() -> None:
    table = pd.read_csv(STIMULI).rename(columns={"filename": "path"})
    known, units = join_units(table, read_units(STIMULI))
    assert len(known) == 130
    surrogate = explain_labels(known, units, AIHUB7, rendered=True, seed=0)
    assert surrogate.agreement > 0.9
    rows = tabulate(surrogate).set_index(["label", "unit"])
    for label, unit in (("기쁨", "AU12"), ("분노", "AU07"), ("슬픔", "AU15"), ("당황", "AU26")):
        assert rows.loc[(label, unit), "low"] > 0
        of_unit = rows.xs(unit, level="unit")["coefficient"]
        assert of_unit.idxmax() == label
    count = surrogate.counts[surrogate.labels.index("기쁨")]
    assert re.search(rf"^기쁨 \({count}\): AU(12|06) \+", describe(surrogate), re.MULTILINE)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    units, answers, persons = plant(400, PLANTED)
    surrogate = fit_surrogate(units, answers, persons, KOREAN5, "ab" * 32, rendered=True)
    save_surrogate(surrogate, tmp_path / EXPLANATION)
    assert load_surrogate(tmp_path / EXPLANATION) == surrogate
    assert (surrogate.target, surrogate.pictures) == ("network", 400)


def test_of_too_few_answers_nothing_is_said() -> None:
    units, answers, persons = plant(400, PLANTED)
    few = np.flatnonzero(answers == "슬픔")[3:]
    kept = np.setdiff1d(np.arange(400), few)
    persons[answers == "슬픔"] = [f"s{i}" for i in range(len(few) + 3)]
    with pytest.raises(DataError, match="슬픔 has pictures of 3 persons, and 5 are needed"):
        fit_surrogate(units.iloc[kept], answers[kept], persons[kept], KOREAN5)
    many = units.assign(**{f"AU{number}": 0.0 for number in range(50, 60)})
    kept = np.setdiff1d(np.arange(400), few[5:])
    surrogate = fit_surrogate(many.iloc[kept], answers[kept], persons[kept], KOREAN5)
    assert surrogate.explained == ("기쁨", "분노")
    assert "슬픔 (8): too few" in describe(surrogate)


def test_openfaces_files_are_laid_out_and_merged(tmp_path: Path) -> None:
    images, folder = tmp_path / "사진", tmp_path / "open face"
    paths = ["기쁨/가.jpg", "슬픔/나.jpg", "UNKNOWN/다.jpg", "슬픔/라.PNG", "슬픔/마.jpg"]
    for path in paths:
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(images / path)
    table = pd.DataFrame({"path": paths, "label": [path.split("/")[0] for path in paths]})
    assert lay_out(table, images, folder) == 4
    laid = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    names = {path: sha256(path.encode()).hexdigest()[:16] for path in paths}
    assert laid == {
        f"joy/{names['기쁨/가.jpg']}.jpg",
        f"sadness/{names['슬픔/나.jpg']}.jpg",
        f"sadness/{names['슬픔/라.PNG']}.png",
        f"sadness/{names['슬픔/마.jpg']}.jpg",
    }
    assert lay_out(table, images, folder) == 4  # nothing to do
    with pytest.raises(DataError, match="holds no face of OpenFace 2 in processed/"):
        merge_openface(table, folder)

    lines = describe_commands(folder)
    local = [shlex.split(line) for line in lines if line.startswith("FaceLandmarkImg")]
    assert [words[:3] for words in local] == [
        ["FaceLandmarkImg", "-fdir", str(folder / name)] for name in ("joy", "sadness")
    ]
    assert all(words[3:] == ["-out_dir", str(folder / "processed"), "-aus"] for words in local)
    container = [shlex.split(line) for line in lines if line.startswith("docker")]
    assert shlex.split(container[1][-1])[2] == "/faces/sadness"

    header = " face, confidence, gaze_0_x, AU01_r, AU12_r, AU12_c"
    written = {
        names["기쁨/가.jpg"]: ["0, 0.95, 0.1, 0.50, 3.20, 1"],
        names["슬픔/나.jpg"]: ["0, 0.80, 0.1, 1.00, 0.00, 0", "1, 0.97, 0.1, 2.00, 0.10, 0"],
        names["슬픔/라.PNG"]: ["0, 0.30, 0.1, 4.00, 4.00, 1"],  # OpenFace is not sure of this one
    }
    (folder / "processed").mkdir()
    for name, rows in written.items():
        (folder / "processed" / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    merged = merge_openface(table, folder)
    assert merged.to_dict("index") == {
        "기쁨/가.jpg": {"AU01": 0.5, "AU12": 3.2},
        "슬픔/나.jpg": {"AU01": 2.0, "AU12": 0.1},
    }
    assert merge_openface(table.iloc[::-1], folder).sort_index().equals(merged.sort_index())
    known, units = join_units(table, merged)
    assert known["path"].tolist() == ["기쁨/가.jpg", "슬픔/나.jpg"]
    assert units["AU12"].tolist() == [3.2, 0.1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,label\na.jpg,기쁨\n", "has no column of an action unit"),
        ("name,AU01\na.jpg,1\n", "needs a column path or filename or file or image"),
        ("file,AU1,AU02_r\na.jpg,1,2\nb.jpg,,2\n", r"line 3 has no number for AU01"),
        ("file,AU01\na.jpg,1\na.jpg,2\n", "names a.jpg twice"),
        ("file,AU01\n", "has no rows; it needs one for each picture"),
        ("file,AU01\na.jpg,1\nb.jpg,inf\n", "line 3 has no number for AU01"),
        ("file,AU01,AU01_r\na.jpg,1,2\n", "AU01 and AU01_r are both AU01; keep one"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "units.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_units(path)


def test_too_few_persons_or_foreign_labels_are_said() -> None:
    table = pd.read_csv(STIMULI).rename(columns={"filename": "path"})
    known, units = join_units(table, read_units(STIMULI))
    with pytest.raises(DataError, match="korean5: has no 불안, 상처, which the manifest has"):
        explain_labels(known, units, KOREAN5, rendered=True, seed=0)
    with pytest.raises(DataError, match=r"기쁨 has pictures of 1 persons, and 5 are needed"):
        explain_labels(known.assign(person="one"), units, AIHUB7, rendered=True, seed=0)
    with pytest.raises(DataError, match=r"names no picture of the manifest; it has s001\.webp"):
        join_units(table.assign(path="nobody.jpg"), read_units(STIMULI))


def test_what_is_excluded_is_not_explained(tmp_path: Path) -> None:
    table = pd.read_csv(STIMULI).rename(columns={"filename": "path"})
    table.to_csv(tmp_path / "manifest.csv", index=False)
    left_out = table["path"].iloc[[3, 50]]
    left_out.to_csv(tmp_path / "나쁨.csv", index=False)
    out = tmp_path / "out"
    command = ["explain", "--manifest", tmp_path / "manifest.csv", "--units", STIMULI]
    command += ["--exclude", tmp_path / "나쁨.csv", "--out", out]
    assert call("training", *command).returncode == 0
    explained = pd.read_csv(out / "contributions.csv")["path"]
    assert explained.tolist() == table["path"].drop(left_out.index).tolist()
    assert load_surrogate(out / EXPLANATION).pictures == len(table) - 2


@pytest.mark.slow
def test_the_command_explains_a_network_and_keeps_it_in_the_bundle(tmp_path: Path) -> None:
    bundle = tmp_path / "model"
    shutil.copytree(MODEL, bundle, ignore=shutil.ignore_patterns(EXPLANATION))
    demo = Path("survey/demo")
    table = pd.read_csv(demo / "manifest.csv").rename(columns={"filename": "path"})
    table.to_csv(tmp_path / "manifest.csv", index=False)
    result = call(
        "training", "explain", "--manifest", tmp_path / "manifest.csv",
        "--units", STIMULI, "--images", demo, "--bundle", bundle, "--detector", "mtcnn",
        "--taxonomy", "korean5", "--rendered", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    surrogate = load_surrogate(bundle / EXPLANATION)
    assert (surrogate.target, surrogate.pictures, surrogate.taxonomy) == ("network", 105, "korean5")
    assert f"it answers as the network does in {surrogate.agreement:.1%}" in result.stdout
    assert surrogate.agreement > 0.6
    contributions = pd.read_csv(tmp_path / "out" / "contributions.csv")
    assert contributions["path"].tolist() == table["path"].tolist()
    assert len(pd.read_csv(tmp_path / "out" / "coefficients.csv")) == len(surrogate.labels) * 15
    assert json.loads((tmp_path / "out" / EXPLANATION).read_text()) == json.loads(
        (bundle / EXPLANATION).read_text()
    )
    assert surrogate.rendered
    assert surrogate.weights_sha256 == hash_file(bundle / WEIGHTS)
    assert load_bundle(bundle).surrogate == surrogate  # and it is a bundle still
    card = (bundle / CARD).read_text(encoding="utf-8")
    assert card.count("## Action units\n") == 1
    assert "answers (`korean5`) to\n105 rendered faces" in card
    assert f"does in {surrogate.agreement * 100:.2f} %; always" in card
