"""The classifier against sums done by hand, on a tiny bundle with random weights."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from kfer.bundle import Head, load_bundle
from kfer.classifier import BATCH, BRIGHT, MOST_GAIN, Classifier, brighten, build_transform
from kfer.errors import TaxonomyError
from kfer.labels import get_taxonomy
from kfer.predictions import Prediction
from tests.kfer.fakes import CROP, HEADS, PREPROCESSING

FERPLUS8, FER7 = HEADS


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Path) -> Classifier:
    return Classifier(load_bundle(tiny_bundle))


def draw_crops(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(11)
    size = (count, CROP.size // 4, CROP.size // 4)
    coarse = rng.integers(0, 256, size, dtype=np.uint8)
    return [Image.fromarray(face).resize((CROP.size, CROP.size)) for face in coarse]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def to_table(predictions: list[Prediction]) -> NDArray[np.float64]:
    return np.array([prediction.probabilities for prediction in predictions])


@pytest.mark.parametrize("taxonomy", ["ferplus8", "fer7", "korean5", "aihub7", "openface6"])
def test_probabilities_sum_to_one_in_every_taxonomy(taxonomy: str, classifier: Classifier) -> None:
    predictions = classifier.predict(draw_crops(5), get_taxonomy(taxonomy))
    assert len(predictions) == 5
    for prediction in predictions:
        assert prediction.taxonomy.name == taxonomy
        assert len(prediction.probabilities) == len(prediction.taxonomy.labels)
        assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-12)
        assert min(prediction.probabilities) >= 0


@pytest.mark.parametrize("own", HEADS, ids=["ferplus8", "fer7"])
def test_each_head_is_a_softmax_over_its_own_logits_at_its_own_temperature(
    own: Head, classifier: Classifier
) -> None:
    crops = draw_crops(4)
    logits = classifier.compute_logits(crops).double().numpy()
    by_hand = softmax(logits[:, own.start : own.stop] / own.temperature)
    uncalibrated = softmax(logits[:, own.start : own.stop])
    found = to_table(classifier.predict(crops, own.taxonomy))
    assert found == pytest.approx(by_hand, abs=1e-12)
    assert np.abs(found - uncalibrated).max() > 0.01


def test_the_default_taxonomy_is_the_first_heads(classifier: Classifier) -> None:
    crops = draw_crops(2)
    assert classifier.predict(crops) == classifier.predict(crops, FERPLUS8.taxonomy)


def test_a_higher_temperature_makes_the_classifier_less_sure(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    crops = draw_crops(4)
    sure, labels = [], []
    for temperature in (0.5, 1.0, 4.0):
        heads = (replace(FERPLUS8, temperature=temperature), FER7)
        predictions = Classifier(replace(bundle, heads=heads)).predict(crops)
        sure.append([prediction.confidence for prediction in predictions])
        labels.append([prediction.label for prediction in predictions])
    assert all(a > b > c for a, b, c in zip(*sure, strict=True))
    assert labels[0] == labels[1] == labels[2]


def test_another_temperature_of_one_head_leaves_the_other_alone(classifier: Classifier) -> None:
    crops = draw_crops(3)
    heads = (replace(FERPLUS8, temperature=9.0), FER7)
    hotter = Classifier(replace(classifier.bundle, heads=heads))
    assert hotter.predict(crops, FER7.taxonomy) == classifier.predict(crops, FER7.taxonomy)
    assert hotter.predict(crops) != classifier.predict(crops)


def test_korean5_is_the_sum_of_ferplus8s_classes(classifier: Classifier) -> None:
    crops = draw_crops(6)
    ferplus8 = to_table(classifier.predict(crops))
    anger, disgust, fear, happiness, sadness, surprise, neutral, contempt = ferplus8.T
    by_hand = np.stack(
        [happiness, surprise + fear, anger + disgust + contempt, sadness, neutral], axis=1
    )
    found = to_table(classifier.predict(crops, get_taxonomy("korean5")))
    assert found == pytest.approx(by_hand, abs=1e-12)


def test_fer7_comes_from_its_own_head_and_not_from_a_mapping(classifier: Classifier) -> None:
    crops = draw_crops(3)
    own = to_table(classifier.predict(crops, FER7.taxonomy))
    ferplus8 = to_table(classifier.predict(crops))
    assert np.abs(own[:, 0] - ferplus8[:, 0]).max() > 0.01


def test_one_by_one_and_all_at_once_read_the_same(classifier: Classifier) -> None:
    crops = draw_crops(20)
    assert len(crops) > BATCH
    at_once = to_table(classifier.predict(crops))
    one_by_one = np.concatenate([to_table(classifier.predict([crop])) for crop in crops])
    assert np.abs(at_once - one_by_one).max() < 1e-5
    assert np.ptp(at_once, axis=0).max() > 0.01  # the crops do not all read alike


def test_no_crops_give_no_predictions(classifier: Classifier) -> None:
    assert classifier.predict([]) == []


def test_a_taxonomy_that_no_head_can_answer_in_is_refused(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    korean = replace(FERPLUS8, taxonomy=get_taxonomy("korean5"), start=7, stop=12)
    classifier = Classifier(replace(bundle, heads=(korean,)))
    with pytest.raises(TaxonomyError, match="cannot be shown as 'openface6'"):
        classifier.predict(draw_crops(1), get_taxonomy("openface6"))


def test_logits_are_those_of_plain_timm_on_the_documented_transform(
    tiny_bundle: Path, classifier: Classifier
) -> None:
    crops = draw_crops(3)
    network = timm.create_model(f"local-dir:{tiny_bundle}", pretrained=True).eval()
    resized = [crop.resize((32, 32), Image.Resampling.BILINEAR) for crop in crops]
    images = torch.stack([torch.from_numpy(np.array(crop)) for crop in resized])[:, None] / 255
    with torch.inference_mode():
        expected = network((images - 0.5) / 0.25)
    assert classifier.compute_logits(crops).numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_weights_in_half_precision_are_read_in_full(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "half"))
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor.half() for name, tensor in weights.items()}, folder / "model.safetensors"
    )
    crops = draw_crops(4)
    half = Classifier(load_bundle(folder)).compute_logits(crops)
    full = Classifier(load_bundle(tiny_bundle)).compute_logits(crops)
    assert half.dtype == torch.float32
    assert (half.softmax(1) - full.softmax(1)).abs().max() < 0.05


def test_the_transform_makes_the_tensor_that_the_bundle_describes() -> None:
    transform = build_transform(PREPROCESSING)
    tensor = transform(Image.new("L", (24, 24), 221))
    assert tensor.shape == (1, 32, 32)
    assert tensor.numpy() == pytest.approx((221 / 255 - 0.5) / 0.25, abs=1e-6)


def test_a_dark_crop_is_brightened_and_a_bright_one_is_left_alone() -> None:
    ramp = np.tile(np.linspace(0, 240, 100, dtype=np.uint8), (100, 1))
    bright = Image.fromarray(ramp)
    assert brighten(bright) is bright
    dark = np.asarray(brighten(Image.fromarray((ramp * 0.4).astype(np.uint8))), dtype=float)
    assert np.percentile(dark, 99) == pytest.approx(BRIGHT, abs=1)
    # Every level in proportion, to the steps that darkness has left.
    assert np.abs(dark - ramp * (BRIGHT / np.percentile(ramp, 99))).max() < 5
    night = brighten(Image.new("L", (48, 48), 3))
    assert night.getextrema() == (3 * MOST_GAIN, 3 * MOST_GAIN)  # not a white face


def test_brightening_keeps_the_proportions_of_colours() -> None:
    crop = Image.new("RGB", (8, 8), (80, 60, 40))
    red, green, blue = brighten(crop).getpixel((0, 0))
    assert (green / red, blue / red) == pytest.approx((0.75, 0.5), abs=0.01)
    assert brighten(crop).convert("L").getpixel((0, 0)) == pytest.approx(BRIGHT, abs=1)


def test_several_threads_read_the_same(classifier: Classifier) -> None:
    crops = draw_crops(12)
    expected = to_table(classifier.predict(crops))
    found: list[NDArray[np.float64]] = []
    threads = [
        threading.Thread(target=lambda: found.append(to_table(classifier.predict(crops))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert all(np.abs(table - expected).max() < 1e-5 for table in found)


def test_a_prediction_names_its_most_probable_label() -> None:
    taxonomy = get_taxonomy("korean5")
    prediction = Prediction(taxonomy, (0.1, 0.2, 0.05, 0.4, 0.25))
    assert prediction.label == "슬픔"
    assert prediction.confidence == 0.4
    assert [label for label, _ in prediction.ranked] == ["슬픔", "중립", "당황", "기쁨", "분노"]


def test_the_bundles_folder_may_bear_any_name(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "내 모델 #1 @home"))
    assert len(Classifier(load_bundle(folder)).predict(draw_crops(1))) == 1
