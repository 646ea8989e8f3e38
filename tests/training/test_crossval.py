"""Cross-validation: every picture is answered once, by a network that has not seen it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.commands import call
from tests.training.synthetic import CLASSES, FER7, NETWORK, TRAINED, draw_face
from training.config import TrainConfig
from training.crossval import (
    CrossValidation,
    FoldAnswers,
    Folds,
    answer_fold,
    check_recipe,
    pool_folds,
    report_folds,
)
from training.errors import CheckpointError, ConfigError, DataError
from training.history import Epoch
from training.manifest import UNKNOWN, read_manifest, write_manifest
from training.report import DATA, MARKDOWN, write_report
from training.splits import split_folds

CPU = torch.device("cpu")
CONFIG: TrainConfig = replace(
    TRAINED, heads=("fer7:label",), model_args={**NETWORK, "num_classes": CLASSES}, epochs=6
)
PICTURES = 12 * CLASSES


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 people with a picture of every class, in three folds; one more is UNKNOWN."""
    folder = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(5)
    rows = []
    for person in range(12):
        for at, label in enumerate(FER7.labels):
            path = f"p{person:02d}_{at}.png"
            Image.fromarray(draw_face(at, rng)).save(folder / path)
            rows.append({"path": path, "label": label, "person": f"p{person:02d}"})
    rows.append({"path": "nobody.png", "label": UNKNOWN, "person": "p99"})
    write_manifest(split_folds(pd.DataFrame(rows), 3, seed=1), folder / "folds.csv")
    return folder / "folds.csv"


@pytest.fixture(scope="module")
def folds(manifest: Path) -> Folds:
    return Folds.read(manifest, manifest.parent, None)


def run_all(folds: Folds, out: Path) -> Iterator[tuple[FoldAnswers, list[Epoch]]]:
    for fold in range(folds.count):
        epochs: list[Epoch] = []
        yield answer_fold(folds, fold, CONFIG, out / f"fold-{fold}", CPU, epochs.append), epochs


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "cv"


@pytest.fixture(scope="module")
def answered(folds: Folds, out: Path) -> list[FoldAnswers]:
    found = list(run_all(folds, out))
    assert [len(epochs) for _, epochs in found] == [6, 6, 6]
    return [answers for answers, _ in found]


@pytest.fixture(scope="module")
def figures(folds: Folds, answered: list[FoldAnswers]) -> CrossValidation:
    return pool_folds(folds, answered)[0]


def test_what_is_held_out_neither_teaches_nor_chooses(folds: Folds, manifest: Path) -> None:
    fold_of = read_manifest(manifest).set_index("path")["fold"]
    for held_out in range(3):
        learned, chooses, held = folds.load(held_out, CONFIG)
        parts = [{int(fold_of[path]) for path in faces.paths} for faces in (learned, chooses, held)]
        assert parts == [{(held_out + 2) % 3}, {(held_out + 1) % 3}, {held_out}]
        people = [set(faces.persons) for faces in (learned, chooses, held)]
        assert not people[0] & people[1]
        assert not people[2] & (people[0] | people[1])
        assert sum(map(len, (learned, chooses, held))) == PICTURES
    assert folds.list_shared_persons() == set()


def test_every_picture_is_answered_once_by_the_network_that_has_not_seen_it(
    folds: Folds, answered: list[FoldAnswers], manifest: Path
) -> None:
    _, (pooled,) = pool_folds(folds, answered)
    table = read_manifest(manifest).set_index("path")
    known = table[table["label"] != UNKNOWN]
    assert sorted(pooled.paths) == sorted(known.index)
    for path, model, truth in zip(pooled.paths, pooled.models, pooled.truth, strict=True):
        assert model.startswith(f"fold-{known['fold'][path]:g}@")
        assert FER7.labels[truth] == known["label"][path]
    assert len(set(pooled.models)) == 3


def test_figures_are_those_of_the_folds_and_of_all_together(
    answered: list[FoldAnswers], figures: CrossValidation
) -> None:
    shares = [float((a.predicted == a.truth).mean()) for each in answered for a in each.answers]
    assert [each["fer7"].value for each in figures.accuracies] == pytest.approx(shares)
    assert figures.means["fer7"] == pytest.approx(np.mean(shares))
    assert figures.deviations["fer7"] == pytest.approx(np.std(shares, ddof=1))
    (head,) = figures.heads
    right = sum((a.predicted == a.truth).sum() for each in answered for a in each.answers)
    assert head.accuracy.value == pytest.approx(right / PICTURES)
    assert head.accuracy.value > 2 / CLASSES  # it has learned something
    assert (head.persons, head.by_person) == (12, True)
    own = [each.bundle.heads[0].temperature for each in answered]
    assert head.temperature == pytest.approx(np.mean(own))


def test_calibration_is_by_the_temperature_that_was_fitted_on_the_next_fold(
    answered: list[FoldAnswers],
) -> None:
    for each in answered:
        (answers,), temperature = each.answers, each.bundle.heads[0].temperature
        sharper = answers.raw ** (1 / temperature)
        assert answers.calibrated == pytest.approx(sharper / sharper.sum(axis=1, keepdims=True))


def test_what_is_finished_is_not_trained_again(
    folds: Folds, answered: list[FoldAnswers], out: Path
) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("best.pt")}
    again = list(run_all(folds, out))
    assert [epochs for _, epochs in again] == [[], [], []]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("best.pt")} == stamps
    for (fold, _), before in zip(again, answered, strict=True):
        assert (fold.answers[0].raw == before.answers[0].raw).all()


def test_an_interrupted_one_ends_as_if_it_had_never_been(
    folds: Folds, answered: list[FoldAnswers], tmp_path: Path
) -> None:
    def stop(_: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_fold(folds, 0, CONFIG, tmp_path / "fold-0", CPU, stop)
    epochs: list[Epoch] = []
    resumed = answer_fold(folds, 0, CONFIG, tmp_path / "fold-0", CPU, epochs.append)
    assert [epoch.epoch for epoch in epochs] == [2, 3, 4, 5, 6]
    assert (resumed.answers[0].raw == answered[0].answers[0].raw).all()


@pytest.mark.usefixtures("answered")
def test_runs_of_other_folds_are_not_gone_on_with(folds: Folds, out: Path) -> None:
    turned = folds.table.assign(fold=(folds.table["fold"] + 1) % 3)
    with pytest.raises(CheckpointError, match="was begun with other pictures or labels"):
        answer_fold(replace(folds, table=turned), 0, CONFIG, out / "fold-0", CPU, lambda _: None)


def test_the_report_is_of_all_pictures_and_tells_every_fold(
    folds: Folds, answered: list[FoldAnswers], figures: CrossValidation, tmp_path: Path
) -> None:
    _, answers = pool_folds(folds, answered)
    report = report_folds(folds, figures, answers, "small", date(2026, 11, 21), "python -m x")
    write_report(report, tmp_path)
    text = (tmp_path / MARKDOWN).read_text(encoding="utf-8")
    for fold, accuracy in enumerate(figures.accuracies):
        assert f"| {fold} | {accuracy['fer7'].value:.2%}".replace("%", " %") in text
    mean, spread = figures.means["fer7"], figures.deviations["fer7"]
    assert f"| mean | {mean * 100:.2f} % ± {spread * 100:.2f} % |" in text
    assert "None of them stands in several folds." in text
    data = json.loads((tmp_path / DATA).read_text(encoding="utf-8"))
    assert len(data["predictions"][0]["pictures"]) == PICTURES
    by_model = pd.DataFrame(data["predictions"][0]["pictures"]).groupby("model")
    shares = by_model.apply(lambda rows: (rows["truth"] == rows["answer"]).mean())
    assert shares.mean() == pytest.approx(mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 0}, r"must count from 0 to 2 or more, but has 0; .*split --folds 3"),
        ({"fold": [0, 1] * 42 + [0]}, "but has 0, 1"),
        ({"fold": [0, 1, 3] * 28 + [0]}, "but has 0, 1, 3"),
        ({"fold": [0, 1, 1.5] * 28 + [0]}, r"but has 0\.0, 1\.0, 1\.5"),
        ({"pixels": "same"}, "1 values of pixels stand in several of fold"),
    ],
)
def test_folds_that_prove_nothing_are_refused(
    change: dict[str, object], message: str, manifest: Path, tmp_path: Path
) -> None:
    write_manifest(read_manifest(manifest).assign(**change), tmp_path / "folds.csv")
    with pytest.raises(DataError, match=message):
        Folds.read(tmp_path / "folds.csv", manifest.parent, None)


def test_people_in_several_folds_are_counted(manifest: Path, tmp_path: Path) -> None:
    table = read_manifest(manifest)
    table["person"] = table["person"].replace({"p01": "p00"})
    homes = table.groupby("person")["fold"].nunique()
    write_manifest(table, tmp_path / "folds.csv")
    folds = Folds.read(tmp_path / "folds.csv", manifest.parent, None)
    assert folds.list_shared_persons() == set(homes.index[homes > 1])
    table["person"] = "somebody"
    assert replace(folds, table=table).list_shared_persons() == {"somebody"}
    assert replace(folds, table=table.drop(columns="person")).list_shared_persons() == set()


def test_a_teacher_would_have_seen_what_is_held_out() -> None:
    with pytest.raises(ConfigError, match=r"distillation is 0\.5, and a teacher may have seen"):
        check_recipe(replace(CONFIG, distillation=0.5))
    check_recipe(CONFIG)


@pytest.mark.slow
def test_the_command_reports_and_goes_on(manifest: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        'architecture = "resnet18"\nheads = ["fer7:label"]\n'
        "model_args = { in_chans = 1, num_classes = 7, layers = [1, 1, 1, 1], "
        "channels = [8, 8, 16, 16] }\n"
        "input_size = 32\nbatch_size = 8\nepochs = 1\nwarmup_epochs = 0\n",
        encoding="utf-8",
    )
    command = [
        "training", "crossval", "--manifest", str(manifest), "--images",
        str(manifest.parent), "--recipe", str(recipe), "--out", str(tmp_path / "cv"), "--device",
        "cpu",
    ]  # fmt: skip
    for epochs in (3, 0):
        result = call(*command)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("epoch   1") == epochs
        assert "fold 2 of 3 held out" in result.stdout
        assert "over 3 folds" in result.stdout
        assert "warning" not in result.stderr
    page = (tmp_path / "cv" / "report" / "report.html").read_text(encoding="utf-8")
    assert "tiny: 3-fold cross-validation on folds.csv" in page
    assert str(tmp_path) not in page
