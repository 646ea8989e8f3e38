"""Every bundle in the repository: whole, small, measured, and loadable without our code."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml

from kfer.bundle import CARD, CONFIG, EXPLANATION, WEIGHTS, hash_file, load_bundle
from kfer.classifier import Classifier
from kfer.photos import load_photo
from kfer.recognizer import Recognizer

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path for path in (ROOT / "models").glob("[!.]*") if path.is_dir())
EXAMPLES = sorted((ROOT / "kfer" / "examples").glob("*.webp"))
MAX_BYTES = 20 * 10**6
FER7_FLOOR = 0.70
MEASURED_CLASSES = {"fer7": 7, "ferplus8": 8}

each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def read_evaluation(folder: Path) -> dict[str, Any]:
    text = (folder / "evaluation.json").read_text(encoding="utf-8")
    evaluation: dict[str, Any] = json.loads(text)
    return evaluation


def get_head(evaluation: dict[str, Any], taxonomy: str) -> dict[str, Any]:
    heads: dict[str, dict[str, Any]] = {head["taxonomy"]: head for head in evaluation["heads"]}
    return heads[taxonomy]


def test_the_default_bundle_is_in_the_repository() -> None:
    assert "kfer-default" in [folder.name for folder in FOLDERS]


@each_folder
def test_it_is_a_bundle_of_at_most_twenty_megabytes(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.name == folder.name
    assert bundle.unsure_below is not None
    assert 0 < bundle.unsure_below < 1
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= MAX_BYTES
    names = {path.name for path in folder.iterdir()}
    assert names - {EXPLANATION} == {CONFIG, WEIGHTS, CARD, "evaluation.json"}


@each_folder
def test_the_card_and_the_figures_belong_to_the_weights(folder: Path) -> None:
    digest = hash_file(folder / WEIGHTS)
    assert f"Weights sha256: `{digest}`" in (folder / CARD).read_text(encoding="utf-8")
    assert read_evaluation(folder)["weights_sha256"] == digest
    assert read_evaluation(folder)["megabytes"] == (folder / WEIGHTS).stat().st_size / 1e6


@each_folder
def test_the_card_says_what_explains_the_answers(folder: Path) -> None:
    surrogate = load_bundle(folder).surrogate
    card = (folder / CARD).read_text(encoding="utf-8")
    assert ("## Action units" in card) == (surrogate is not None)
    if surrogate is None:
        return
    faces = "rendered faces" if surrogate.rendered else "photographs"
    assert f"\n{surrogate.pictures} {faces} whose action units are known" in card
    agreement, baseline = (
        f"{share * 100:.2f} %" for share in (surrogate.agreement, surrogate.baseline)
    )
    assert f"answers as the model does in {agreement}; always" in card
    assert f"would in {baseline}" in card


@each_folder
def test_the_cards_figures_are_those_of_the_evaluation(folder: Path) -> None:
    card = (folder / CARD).read_text(encoding="utf-8")
    evaluation = read_evaluation(folder)
    for head in evaluation["heads"]:
        accuracy = head["accuracy"]
        value, low, high = (f"{accuracy[key] * 100:.2f} %" for key in ("value", "low", "high"))
        row = next(line for line in card.splitlines() if f"head `{head['taxonomy']}`) |" in line)
        assert f"| **{value}** ({low} to {high}) | {accuracy['n']} |" in row
        figures = (head["macro_f1"], head["ece_before"], head["ece_after"])
        assert row.endswith(" | ".join(f"{figure:.3f}" for figure in figures) + " |")
        assert f"Temperature {head['temperature']:.3f}, Brier score {head['brier']:.3f}." in card
    assert f"{evaluation['parameters'] / 1e6:.2f} million parameters" in card
    assert f"{evaluation['milliseconds']:.1f} ms per face" in card


@each_folder
def test_the_evaluation_adds_up(folder: Path) -> None:
    evaluation = read_evaluation(folder)
    temperatures = {head.taxonomy.name: head.temperature for head in load_bundle(folder).heads}
    for taxonomy, classes in MEASURED_CLASSES.items():
        head = get_head(evaluation, taxonomy)
        confusion = head["confusion"]
        assert len(confusion) == len(head["classes"]) == classes
        total = sum(map(sum, confusion))
        right = sum(confusion[index][index] for index in range(classes))
        assert head["accuracy"]["n"] == total
        assert head["accuracy"]["value"] == pytest.approx(right / total, abs=1e-12)
        assert [c["support"] for c in head["classes"].values()] == list(map(sum, confusion))
        assert head["temperature"] == temperatures[taxonomy]
    assert get_head(evaluation, "fer7")["accuracy"]["n"] == 3589  # all of PublicTest


@each_folder
def test_it_reaches_the_floor_on_publictest(folder: Path) -> None:
    assert get_head(read_evaluation(folder), "fer7")["accuracy"]["value"] >= FER7_FLOOR


@each_folder
def test_the_cards_front_matter_and_terms_are_there(folder: Path) -> None:
    card = (folder / CARD).read_text(encoding="utf-8")
    front_matter = yaml.safe_load(card.split("---\n")[1])
    assert front_matter["library_name"] == "timm"
    for wanted in ("FER2013", "hiring, schooling, policing", "2024/1689", "## Limits"):
        assert wanted in card


@each_folder
def test_timm_loads_it_with_the_weights_of_the_file(folder: Path) -> None:
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    with torch.inference_mode():
        logits = network(torch.zeros(1, *config["pretrained_cfg"]["input_size"]))
    assert logits.shape == (1, config["num_classes"])
    assert config["num_classes"] == len(config["label_names"])
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert read_evaluation(folder)["parameters"] == parameters
    assert Classifier(load_bundle(folder)).count_parameters() == parameters


@each_folder
def test_it_names_nothing_of_timms_own_weights(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    assert not config["pretrained_cfg"].keys() & {"tag", "license", "origin_url", "paper_ids"}


@each_folder
@pytest.mark.parametrize("photo", EXAMPLES, ids=lambda path: path.stem)
def test_it_reads_the_examples(folder: Path, photo: Path) -> None:
    analysis = Recognizer([load_bundle(folder)]).analyze(load_photo(photo))
    assert analysis.readings
    for reading in analysis.readings:
        probabilities = reading.prediction.probabilities
        assert sum(probabilities) == pytest.approx(1, abs=1e-9)
        assert min(probabilities) >= 0
