"""The card's figures, on ten faces whose answers are chosen by hand."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from kfer import metrics
from kfer.bundle import CONFIG, WEIGHTS, Bundle
from tests.training.synthetic import FER7, FERPLUS8, build_faces, relabel
from training import answers as answers_module
from training import evaluate as evaluation_module
from training.answers import is_fitted_on
from training.errors import DataError
from training.evaluate import Evaluation, evaluate
from training.export import compute_logits
from training.face_set import FaceSet, Labels
from training.intervals import estimate_accuracy
from training.sources.fer2013 import FER2013

ANGER, DISGUST, FEAR, HAPPINESS = range(4)
# Seven of ten are right; disgust is never answered, fear twice in its place.
TRUTH = [HAPPINESS] * 5 + [ANGER] * 3 + [DISGUST] * 2
ANSWERS = [HAPPINESS] * 5 + [ANGER, ANGER, HAPPINESS] + [FEAR] * 2
# The raters have no clear winner in the last two; the fourth and the eighth answer are wrong.
PLURALITY = [HAPPINESS] * 5 + [ANGER] * 3 + [-1] * 2
RATED = [HAPPINESS] * 3 + [ANGER] + [HAPPINESS] + [ANGER, ANGER, FEAR] + [FEAR] * 2
PERSONS = ["kim", "kim", "lee", "", "kim", "lee", "choi", "choi", "lee", ""]
TWINS = [False] * 7 + [True, False, True]
# Logits of the chosen answer; all others are 0. The default head is surer of five that are right.
HEIGHT = 2.0
HEIGHTS = [4.0] * 3 + [1.0] + [4.0, 4.0] + [1.0] * 4


def build_case() -> tuple[FaceSet, NDArray[np.float32]]:
    pixels = np.zeros((10, 48, 48), dtype=np.uint8)
    pixels[:, :, -1] = 1  # the right edge; a mirror image has it on the left
    faces = replace(
        build_faces(2),
        paths=[f"{index}.jpg" for index in range(10)],
        persons=PERSONS,
        pixels=pixels,
        labels={
            "fer7": Labels(np.zeros((10, 7), dtype=np.float32), np.array(TRUTH)),
            "ferplus8": Labels(np.zeros((10, 8), dtype=np.float32), np.array(PLURALITY)),
        },
        twin_of_held_out=np.array(TWINS),
    )
    logits = np.zeros((10, 15), dtype=np.float32)
    logits[np.arange(10), ANSWERS] = HEIGHT
    logits[np.arange(10), 7 + np.array(RATED)] = HEIGHTS
    return faces, logits


def answer(faces: FaceSet, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """A mirror image says nothing but of the first two faces, where it is wrong, once surely so."""
    if not faces.pixels[:, :, 0].any():
        return logits
    mirrored = np.zeros_like(logits)
    mirrored[0, DISGUST], mirrored[1, DISGUST] = 2 * HEIGHT, HEIGHT / 2
    return mirrored


def replace_logits(monkeypatch: pytest.MonkeyPatch, logits: NDArray[np.float32]) -> None:
    for module in (evaluation_module, answers_module):
        monkeypatch.setattr(module, "compute_logits", lambda _, seen: answer(seen, logits))


def measure(bundle: Bundle, faces: FaceSet, *, cross_fitted: bool = True) -> Evaluation:
    return evaluate(
        bundle, faces, "PublicTest", cross_fitted=cross_fitted, trained_persons={"lee", "park"}
    )[0]


def set_temperature(bundle: Bundle, temperature: float) -> Bundle:
    return replace(
        bundle, heads=tuple(replace(head, temperature=temperature) for head in bundle.heads)
    )


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> FaceSet:
    """Whatever is asked about them is answered as chosen above."""
    faces, logits = build_case()
    replace_logits(monkeypatch, logits)
    return faces


@pytest.fixture
def figures(bundle: Bundle, faces: FaceSet) -> Evaluation:
    return measure(replace(bundle, unsure_below=0.8), faces)


def test_heads_come_in_the_bundles_order(figures: Evaluation) -> None:
    assert [head.taxonomy for head in figures.heads] == ["ferplus8", "fer7"]


def test_accuracies_are_counts(figures: Evaluation) -> None:
    ferplus8, fer7 = figures.heads
    assert (fer7.accuracy.value, fer7.accuracy.n) == (0.7, 10)
    assert fer7.accuracy.low < 0.7 < fer7.accuracy.high
    # Without the twins, one right and one wrong of which are dropped.
    assert fer7.accuracy_without_twins.value == pytest.approx(7 / 8)
    assert fer7.accuracy_without_twins.n == 8
    assert (ferplus8.accuracy.value, ferplus8.accuracy.n) == (6 / 8, 8)
    assert ferplus8.accuracy_without_twins.value == pytest.approx(6 / 7)


def test_the_mirror_image_has_an_equal_say(figures: Evaluation) -> None:
    fer7 = figures.heads[1]
    assert fer7.accuracy_mirrored.value == 0.6  # the first is lost, the second is not
    assert fer7.accuracy_mirrored.n == 10


def test_classes_and_confusion_are_counts(figures: Evaluation) -> None:
    fer7 = figures.heads[1]
    confusion = np.zeros((7, 7), dtype=int)
    confusion[HAPPINESS, HAPPINESS] = 5
    confusion[ANGER, [ANGER, HAPPINESS]] = 2, 1
    confusion[DISGUST, FEAR] = 2
    assert fer7.confusion == confusion.tolist()
    assert list(fer7.classes) == list(FER7.labels)
    happiness, anger = fer7.classes["기쁨"], fer7.classes["분노"]
    assert (happiness.precision, happiness.recall, happiness.support) == (5 / 6, 1, 5)
    assert (anger.precision, anger.recall, anger.support) == (1, 2 / 3, 3)
    assert fer7.macro_f1 == pytest.approx((10 / 11 + 4 / 5) / 7)
    assert len(figures.heads[0].confusion) == len(FERPLUS8.labels)


def test_ece_before_is_at_temperature_one(figures: Evaluation) -> None:
    confidence = math.exp(HEIGHT) / (math.exp(HEIGHT) + 6)
    assert figures.heads[1].ece_before == pytest.approx(abs(0.7 - confidence), abs=1e-6)
    assert abs(0.7 - confidence) > 0.1


def test_figures_after_the_temperature_are_cross_fitted(figures: Evaluation) -> None:
    # Every fold's confidence is the share of right answers among the other folds: that is what the
    # likeliest temperature makes of logits that are all alike.
    right = np.array(TRUTH) == np.array(ANSWERS)
    fold_of = np.random.default_rng(0).permutation(10) % 5
    confidence = np.array([right[fold_of != fold].mean() for fold in fold_of])
    rest = (1 - confidence) / 6
    brier = np.where(
        right,
        (1 - confidence) ** 2 + 6 * rest**2,
        confidence**2 + (1 - rest) ** 2 + 5 * rest**2,
    ).mean()
    bins = np.ceil(confidence * 15)
    ece = sum(abs((right - confidence)[bins == b].sum()) for b in np.unique(bins)) / 10
    assert figures.heads[1].brier == pytest.approx(brier, abs=1e-4)
    assert figures.heads[1].ece_after == pytest.approx(ece, abs=1e-4)
    flattered = (right - 0.7).sum() / 10  # one temperature for all, fitted where it is measured
    assert abs(ece - flattered) > 0.05


def test_elsewhere_calibration_is_that_of_the_bundles_own_temperature(
    bundle: Bundle, faces: FaceSet
) -> None:
    own = replace(set_temperature(bundle, 0.5), unsure_below=0.999)
    figures = measure(own, faces, cross_fitted=False)
    confidence = math.exp(2 * HEIGHT) / (math.exp(2 * HEIGHT) + 6)
    assert figures.heads[1].ece_after == pytest.approx(confidence - 0.7, abs=1e-6)
    right, rest = np.array(TRUTH) == np.array(ANSWERS), (1 - confidence) / 6
    brier = np.where(
        right,
        (1 - confidence) ** 2 + 6 * rest**2,
        confidence**2 + (1 - rest) ** 2 + 5 * rest**2,
    )
    assert figures.heads[1].brier == pytest.approx(brier.mean(), abs=1e-6)
    (only,) = figures.heads[1].bins
    assert (only.n, only.accuracy) == (10, pytest.approx(0.7))
    # exp(8) to 7 others is .9977, and 1 - .9977 is sure of nothing at a threshold of .999.
    assert figures.sureness is None
    assert measure(replace(own, unsure_below=0.997), faces, cross_fitted=False).sureness is not None
    assert not figures.cross_fitted


def test_temperatures_of_fer2013s_bundles_were_fitted_on_public_test(
    bundle: Bundle, tmp_path: Path
) -> None:
    faces = build_faces(1)
    (tmp_path / CONFIG).write_text(json.dumps({"kfer": {"training": {"data": FER2013}}}))
    fer2013 = replace(bundle, folder=tmp_path)
    public_test = replace(faces, source=FER2013)
    assert is_fitted_on(fer2013, public_test, "validation")
    assert not is_fitted_on(fer2013, public_test, "test")
    assert not is_fitted_on(fer2013, faces, "validation")
    # Two manifests may be called alike: only their pixels tell.
    others = replace(faces, pixels=255 - faces.pixels)
    assert not is_fitted_on(bundle, others, "validation")
    assert is_fitted_on(bundle, build_faces(5, seed=1), "test")


def test_faces_that_temperatures_were_fitted_on_are_known_by_their_pixels(
    bundle: Bundle, tmp_path: Path
) -> None:
    faces = build_faces(1)
    settings = {"training": {"data": "mine", "calibrated_on": faces.hash_pixels()}}
    (tmp_path / CONFIG).write_text(json.dumps({"kfer": settings}))
    own = replace(bundle, folder=tmp_path)
    renamed = replace(faces, source="other faces")
    assert is_fitted_on(own, renamed, "test")
    assert not is_fitted_on(own, renamed.chosen(np.arange(len(faces)) > 0), "test")


def test_people_are_counted_and_intervals_are_theirs(figures: Evaluation) -> None:
    ferplus8, fer7 = figures.heads
    assert (fer7.persons, fer7.unnamed, fer7.by_person) == (3, 2, True)
    assert fer7.shared_persons == 1
    assert (ferplus8.persons, ferplus8.unnamed) == (3, 1)  # the last two have no truth
    right, persons = np.array(TRUTH) == np.array(ANSWERS), np.array([0, 0, 1, 2, 0, 1, 3, 3, 1, 4])
    assert fer7.accuracy == estimate_accuracy(np.ones(10, dtype=int), right.astype(int), persons)
    assert fer7.accuracy != metrics.estimate_accuracy(TRUTH, ANSWERS)
    assert fer7.macro_f1_interval[0] < fer7.macro_f1 < fer7.macro_f1_interval[1]


def test_averages_are_scikit_learns(figures: Evaluation) -> None:
    fer7 = figures.heads[1]
    report = classification_report(
        TRUTH, ANSWERS, labels=range(7), output_dict=True, zero_division=0
    )
    for average in ("macro", "weighted"):
        found = {
            name: getattr(fer7, f"{average}_{short}")
            for name, short in (
                ("precision", "precision"),
                ("recall", "recall"),
                ("f1-score", "f1"),
            )
        }
        assert found == pytest.approx({name: report[f"{average} avg"][name] for name in found})


def test_temperatures_are_the_bundles(figures: Evaluation, bundle: Bundle) -> None:
    assert [head.temperature for head in figures.heads] == [
        head.temperature for head in bundle.heads
    ]


def test_sureness_is_counted_on_the_default_head(bundle: Bundle, faces: FaceSet) -> None:
    unsure = replace(set_temperature(bundle, 1.0), unsure_below=0.8)
    figures = measure(unsure, faces, cross_fitted=False)
    assert figures.sureness is not None
    assert figures.sureness.threshold == 0.8
    # Of the eight with a truth, five are sure, and the two wrong ones are not among them.
    assert figures.sureness.covered == 5 / 8
    assert figures.sureness.accuracy_when_sure == 1


@pytest.mark.parametrize("threshold", [None, 1.0])
def test_without_any_sure_face_there_is_no_sureness(
    threshold: float | None, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, logits = build_case()
    replace_logits(monkeypatch, logits / 100)
    unsure = replace(bundle, unsure_below=threshold)
    assert measure(unsure, faces, cross_fitted=False).sureness is None


def test_sureness_is_cross_fitted_where_the_threshold_was_chosen(
    bundle: Bundle, faces: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def choose(
        probabilities: NDArray[np.float64], truth: NDArray[np.int64], accuracy: float
    ) -> NDArray[np.bool_]:
        seen.append((len(probabilities), accuracy))
        return np.arange(len(truth)) < 4

    monkeypatch.setattr(evaluation_module, "cross_choose", choose)
    figures = measure(replace(bundle, unsure_below=0.8), faces)
    assert seen == [(8, 0.9)]
    assert figures.sureness is not None
    assert (figures.sureness.threshold, figures.sureness.covered) == (0.8, 4 / 8)


def test_size_and_hash_are_those_of_the_stored_file(figures: Evaluation, bundle: Bundle) -> None:
    weights = (bundle.folder / WEIGHTS).read_bytes()
    assert figures.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert figures.megabytes == len(weights) / 1e6
    network = timm.create_model(f"local-dir:{bundle.folder}", pretrained=True)
    assert figures.parameters == sum(p.numel() for p in network.parameters())
    assert figures.milliseconds > 0


def test_what_is_measured_is_the_bundle_itself(bundle: Bundle) -> None:
    faces = build_faces(5, seed=1)
    logits = compute_logits(bundle, faces)
    truths = faces.labels["fer7"].truths
    right = sum(row[:7].argmax() == truth for row, truth in zip(logits, truths, strict=True))
    figures = measure(bundle, faces)
    assert figures.heads[1].accuracy.value == right / 35
    # Turned to the next label, every right answer is a wrong one.
    wrong = measure(bundle, relabel(faces, "fer7", truths=(logits[:, :7].argmax(axis=1) + 1) % 7))
    assert wrong.heads[1].accuracy.value == 0


def test_faces_without_a_truth_for_a_head_are_refused(bundle: Bundle) -> None:
    faces = build_faces(1)
    with pytest.raises(DataError, match=r"No validation picture has a label, .* for head ferp"):
        measure(bundle, relabel(faces, "ferplus8", truths=np.full(len(faces), -1)))
