"""The model card: its figures are those that were measured, and it is whole."""

import dataclasses
import json
import re
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import yaml

from kfer.bundle import CARD, CONFIG, Bundle, Head, load_bundle
from kfer.files import UNFINISHED
from kfer.labels import get_taxonomy
from kfer.metrics import ClassFigures, Estimate, ReliabilityBin
from kfer.surrogate import Surrogate
from tests.training.synthetic import FER7, FERPLUS8
from training.card import build_card, update_card, write_card
from training.config import parse_heads
from training.detection import PhotoFigures
from training.evaluate import Evaluation, HeadFigures, Sureness
from training.export import EVALUATION
from training.robustness import Robustness
from training.sources.fer2013 import FER2013

TODAY = date(2026, 11, 21)
COMMAND = "python -m training evaluate --bundle small"


def build_head(taxonomy: str, labels: tuple[str, ...], value: float) -> HeadFigures:
    return HeadFigures(
        taxonomy=taxonomy,
        accuracy=Estimate(value, value - 0.015, value + 0.0149, 3589),
        accuracy_without_twins=Estimate(value - 0.01, 0, 1, 3543),
        accuracy_mirrored=Estimate(value + 0.01, 0, 1, 3589),
        persons=0,
        shared_persons=0,
        unnamed=3589,
        by_person=False,
        macro_precision=0.7654,
        macro_recall=0.6543,
        macro_f1=0.6789,
        macro_f1_interval=(0.6444, 0.7111),
        weighted_precision=0.8123,
        weighted_recall=value,
        weighted_f1=0.8012,
        temperature=1.2346,
        ece_before=0.0712,
        ece_after=0.0148,
        bins=[ReliabilityBin(0.4, 0.5, 0.44, 0.5, 8)],
        brier=0.4321,
        classes={
            label: ClassFigures(0.1 + index / 100, 0.2, 0.3, 40 + index)
            for index, label in enumerate(labels)
        },
        confusion=[[100 * row + column for column in range(len(labels))] for row in range(7)]
        + [[1] * len(labels)] * (len(labels) - 7),
    )


EVALUATED = Evaluation(
    data="PublicTest",
    cross_fitted=True,
    weights_sha256="ab" * 32,
    megabytes=12.63,
    parameters=6_290_000,
    milliseconds=9.87,
    heads=[
        build_head("ferplus8", FERPLUS8.labels, 0.8567),
        build_head("fer7", FER7.labels, 0.7123),
    ],
    sureness=Sureness(0.785, 0.6789, 0.9012),
    robustness=[Robustness("in fog", 3.0, {"ferplus8": 2.26, "fer7": -0.31})],
    photos=PhotoFigures(
        "faces",
        "korean5",
        0.9876,
        Estimate(0.6543, 0.6, 0.7, 81),
        [[5 * row + column for column in range(5)] for row in range(5)],
    ),
)


@pytest.fixture
def card(bundle: Bundle) -> str:
    return build_card(bundle, EVALUATED, TODAY, COMMAND)


def test_front_matter_is_what_the_hub_reads(card: str) -> None:
    match = re.match(r"---\n(.*?)\n---\n\n# small\n", card, flags=re.DOTALL)
    assert match is not None
    front_matter = yaml.safe_load(match[1])
    assert front_matter["license"] == "mit"
    assert front_matter["library_name"] == "timm"
    assert front_matter["pipeline_tag"] == "image-classification"
    assert front_matter["language"] == ["ko", "en"]
    assert "facial-expression-recognition" in front_matter["tags"]


def test_main_figures_are_those_that_were_measured(card: str) -> None:
    assert "**85.67 %** (84.17 % to 87.16 %) | 3589 | 0.679 | 0.071 | 0.015 |" in card
    assert "| FER2013, 7 classes (head `fer7`) | **71.23 %**" in card
    assert "| FER+, 8 classes by clear plurality (head `ferplus8`) | **85.67 %**" in card
    assert "6.29 million parameters, 12.6 MB stored in fp16,\n9.9 ms per face" in card


def test_the_card_belongs_to_the_weights_and_says_how_it_was_made(card: str) -> None:
    assert f"Weights sha256: `{'ab' * 32}`" in card
    assert f"Measured 2026-11-21 on the stored file with `{COMMAND}`." in card


def test_every_class_has_its_row(card: str) -> None:
    for index, label in enumerate(FERPLUS8.labels):
        english = FERPLUS8.english[index]
        row = f"| {label} {english} | {0.1 + index / 100:.3f} | 0.200 | 0.300 | {40 + index} |"
        assert card.count(row) == (2 if label in FER7.labels else 1)


def test_averages_stand_below_the_classes(card: str) -> None:
    assert card.count("| macro mean | 0.765 | 0.654 | 0.679 | 3589 |") == 2
    assert "| weighted mean | 0.812 | 0.857 | 0.801 | 3589 |" in card
    assert card.count("95 % interval of macro F1: 0.644 to 0.711.") == 2


def test_the_card_says_what_calibration_was_measured_with(card: str, bundle: Bundle) -> None:
    text = " ".join(card.split())
    assert "were chosen on these very pictures, so accuracy flatters slightly; ECE, Brier" in text
    own = build_card(bundle, replace(EVALUATED, cross_fitted=False), TODAY, COMMAND)
    assert "with the temperatures and the threshold that stand in the bundle." in " ".join(
        own.split()
    )
    assert "cross-fitted" not in own


@pytest.mark.parametrize(
    ("people", "shared", "text"),
    [
        (
            {},
            0,
            "a case of its own (Wilson's of 1927 for accuracy, a jackknife for macro F1): nobody",
        ),
        (
            {"persons": 1},
            1,
            "only one person is known, and they may be too narrow. 1 of the 1 people",
        ),
        (
            {"persons": 40, "unnamed": 0, "by_person": True},
            0,
            "over 40 people, with Student's t on",
        ),
        (
            {"persons": 40, "unnamed": 0, "by_person": True},
            0,
            "None of them stands in the training",
        ),
        (
            {"persons": 40, "unnamed": 7, "by_person": True},
            0,
            "40 people (7 pictures of nobody known",
        ),
        ({"persons": 40, "unnamed": 0, "by_person": True}, 12, "12 of the 40 people stand in the"),
        (
            {"persons": 40, "unnamed": 0, "by_person": True},
            None,
            "learned any of them is not known",
        ),
    ],
)
def test_the_card_says_whom_intervals_hold_for(
    people: dict[str, int], shared: int | None, text: str, bundle: Bundle
) -> None:
    changes = {**people, "shared_persons": shared}
    heads = [replace(head, **changes) for head in EVALUATED.heads]  # type: ignore[arg-type]
    evaluated = replace(EVALUATED, heads=heads)
    card = " ".join(build_card(bundle, evaluated, TODAY, COMMAND).split())
    assert text in card
    assert ("the figures flatter." in card) == bool(shared)


def test_the_confusion_has_the_truth_in_its_rows(card: str) -> None:
    assert "| | 분노 | 혐오 | 공포 | 기쁨 | 슬픔 | 놀람 | 중립 |\n|---|---|" in card
    assert "| 혐오 | 100 | 101 | 102 | 103 | 104 | 105 | 106 |\n" in card
    assert "| 혐오 | 100 | 101 | 102 | 103 | 104 | 105 | 106 | 107 |\n" in card


def test_tables_are_rectangular(card: str) -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", card, flags=re.MULTILINE)
    # The main one; classes and confusion of two heads; worse pictures; whole photos.
    assert len(tables) == 7
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_sureness_is_stated_where_there_is_one(card: str, bundle: Bundle) -> None:
    assert "Below a probability of 0.79 a reading" in card or "of 0.78 a reading" in card
    text = " ".join(card.split())
    told = (
        "On PublicTest (ferplus8), with thresholds chosen on the other folds, 67.89 % of faces lie "
    )
    assert f"{told}above, and 90.12 % of those answers are right." in text
    unsure = build_card(bundle, replace(EVALUATED, sureness=None), TODAY, COMMAND)
    assert "not sure" not in unsure.partition("## Intended use")[0]


def test_losses_stand_beside_their_goals(card: str) -> None:
    assert "| | ferplus8 | fer7 | goal: at most |" in card
    assert "| in fog | 2.3 | -0.3 | 3 |" in card


def test_test_time_augmentation_stands_on_a_line_of_its_own(card: str) -> None:
    told = "\n\nWith test-time augmentation (mean of the picture and its mirror image): "
    assert f"{told}86.67 %.\n\n" in card
    assert f"{told}72.23 %.\n\n" in card


def test_whole_photos_have_their_confusion(card: str, bundle: Bundle) -> None:
    assert "81 photos of `faces`, from the detector on, shown as `korean5`" in card
    assert "A face\nwas found in 98.76 %; **65.43 %** (60.00 % to 70.00 %)" in card
    row = get_taxonomy("korean5").labels[1]
    assert f"| {row} | 5 | 6 | 7 | 8 | 9 |" in card
    without = build_card(bundle, replace(EVALUATED, photos=None), TODAY, COMMAND)
    assert "Whole photos" not in without


@pytest.mark.parametrize("ours", [True, False])
def test_uses_data_and_limits_are_stated(ours: bool, bundle: Bundle) -> None:
    chosen = load_bundle(Path("models/kfer-default")) if ours else bundle
    card = build_card(chosen, EVALUATED, TODAY, COMMAND)
    for wanted in ("hiring, schooling, policing, medicine", "2024/1689", "## Limits"):
        assert wanted in card
    assert "`python -m kfer predict PHOTO`" in card
    # What is told of FER2013 is told where a bundle learned from it.
    assert ("PrivateTest" in card) == ours
    assert ("Trained on patterns in noise. Its labels and its terms are" in card) == (not ours)


def describe(
    bundle: Bundle,
    folder: Path,
    heads: list[str],
    architecture: str = "resnet18",
    **training: object,
) -> str:
    """The card, on one line, of a bundle with other heads and notes of its training."""
    specs = parse_heads(heads)
    noted = {"data": FER2013, "settings": {"heads": heads}, **training}
    config = {"architecture": architecture, "kfer": {"training": noted}}
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    own = tuple(Head(spec.taxonomy, spec.start, spec.stop, 1.0) for spec in reversed(specs))
    card = build_card(replace(bundle, folder=folder, heads=own), EVALUATED, TODAY, COMMAND)
    return " ".join(card.split())


def test_fer2013_is_told_of_by_heads_and_by_what_was_left_out(
    bundle: Bundle, tmp_path: Path
) -> None:
    both, one = ["fer7:label", "ferplus8:votes"], ["fer7:label"]
    card = describe(bundle, tmp_path, both, excluded=True, averaged=[{}])
    for words in (
        "with FER2013's own labels and, for head `ferplus8`, the ten raters' votes of FER+ (Bar",
        "Left out of training: pictures pixel-identical to one of the public or the final test, s",
        "labels. The epoch, the share of each run in a mean of weights, the temperatures and",
        "The two heads answer different questions",
        "Rare classes (혐오, 경멸)",
    ):
        assert words in card
    card = describe(bundle, tmp_path, one, excluded=False)
    for words in (
        "with FER2013's own labels. FER2013's pictures were scraped",
        "Left out of training: pictures pixel-identical to one of the public test, surplus copies",
        "labels. Copies of the final test's pictures were not looked for. The epoch, the temper",
        "Rare classes (혐오)",
    ):
        assert words in card
    assert "two heads" not in card
    assert "with the ten raters' votes of" in describe(bundle, tmp_path, ["ferplus8:votes"])
    parent = {"name": "a", "weights_sha256": "0" * 64, "data": FER2013, "excluded": False}
    student = {"origin": {"start": {**parent, "pretrained": []}}, "excluded": True}
    assert "were not looked for" in describe(bundle, tmp_path, one, **student)


def test_a_network_of_our_own_is_said_to_need_the_checkout(bundle: Bundle, tmp_path: Path) -> None:
    card = describe(bundle, tmp_path, ["fer7:label"], architecture="face_vgg19")
    assert "import timm import training.architectures # of a checkout of KFER" in card
    assert "python -m kfer predict" not in card
    assert "training.architectures" not in describe(bundle, tmp_path, ["fer7:label"])


def test_a_manifest_is_not_taken_for_fer2013(bundle: Bundle, tmp_path: Path) -> None:
    data = "part train of my-FER2013-free-set.csv"
    card = describe(bundle, tmp_path, ["fer7:label"], data=data)
    assert f"Trained on {data}. Its labels and its terms are those of whoever holds it" in card
    assert "PublicTest, so" not in card


def test_twins_are_told_of_where_there_are_some(bundle: Bundle, card: str) -> None:
    assert "twin in the final test: 70.23 % of 3543." in card
    heads = [replace(head, accuracy_without_twins=head.accuracy) for head in EVALUATED.heads]
    without = build_card(bundle, replace(EVALUATED, heads=heads), TODAY, COMMAND)
    assert "twin" not in without


def test_the_logits_are_described_as_the_bundle_has_them(bundle: Bundle, card: str) -> None:
    assert "Logits 0-6 are `fer7`, 7-14 are `ferplus8`;" in card
    swapped = replace(
        bundle,
        heads=(
            replace(bundle.heads[0], start=0, stop=8),
            replace(bundle.heads[1], start=8, stop=15),
        ),
    )
    other = build_card(swapped, EVALUATED, TODAY, COMMAND)
    assert "Logits 0-7 are `ferplus8`, 8-14 are `fer7`;" in other


def test_card_and_figures_are_written_together(bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "small"))
    copied = replace(bundle, folder=folder)
    write_card(copied, EVALUATED, TODAY, COMMAND)
    card = (folder / CARD).read_text(encoding="utf-8")
    assert card == build_card(bundle, EVALUATED, TODAY, COMMAND)
    figures = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
    assert figures == json.loads(json.dumps(dataclasses.asdict(EVALUATED)))
    assert not list(folder.glob(UNFINISHED))


def test_a_figure_that_is_no_number_is_not_written(bundle: Bundle, tmp_path: Path) -> None:
    broken = replace(EVALUATED, milliseconds=float("nan"))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_card(replace(bundle, folder=tmp_path), broken, TODAY, COMMAND)
    assert list(tmp_path.iterdir()) == []


SURROGATE = Surrogate(
    taxonomy="ferplus8",
    labels=("혐오", "기쁨", "중립"),
    units=("AU06", "AU12"),
    means=(0.5, 1.0),
    intercepts=(-1.0, 0.0, 1.0),
    coefficients=((0.2, -0.5), (0.3, 1.4), (-0.5, -0.9)),
    low=((0.1, -0.9), (-0.1, 1.2), (-0.6, -1.0)),
    high=((0.3, -0.1), (0.6, 1.7), (-0.4, -0.8)),
    counts=(1, 9, 30),
    agreement=0.8125,
    rendered=True,
    weights_sha256="ab" * 32,
)


def test_the_card_says_what_explains_the_answers(bundle: Bundle, card: str, tmp_path: Path) -> None:
    explained = build_card(replace(bundle, surrogate=SURROGATE), EVALUATED, TODAY, COMMAND)
    for words in (
        "answers (`ferplus8`) to\n40 rendered faces whose action units are known",
        "does in 81.25 %; always giving the commonest answer\nwould in 75.00 %.",
        "| 혐오 disgust | 1 | too few |\n",
        "| 기쁨 happiness | 9 | AU12 +1.40 (+1.20 to +1.70) |\n",
        "| 중립 neutral | 30 | AU12 -0.90 (-1.00 to -0.80), AU06 -0.50 (-0.60 to -0.40) |\n",
        "Hardly ever its answer to them: 분노, 공포, 슬픔, 놀람, 경멸.\n",
    ):
        assert words in explained
    # `explain` after `evaluate` makes the same card as `evaluate` after `explain`.
    update_card(tmp_path, SURROGATE)
    assert not (tmp_path / CARD).exists()
    for before in (card, explained.replace("81.25 %", "12.34 %")):
        (tmp_path / CARD).write_text(before, encoding="utf-8")
        update_card(tmp_path, SURROGATE)
        assert (tmp_path / CARD).read_text(encoding="utf-8") == explained
