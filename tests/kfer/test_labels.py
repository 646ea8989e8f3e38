"""The taxonomies of DESIGN.md, their colours (also for colour-blind eyes), and the mappings."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from kfer.errors import TaxonomyError
from kfer.labels import COLORS, TAXONOMIES, Taxonomy, get_mapping, get_taxonomy, list_targets

AIHUB7 = {
    "기쁨": "joy",
    "당황": "embarrassment",
    "분노": "anger",
    "불안": "anxiety",
    "상처": "hurt",
    "슬픔": "sadness",
    "중립": "neutral",
}
FER7 = {
    "분노": "anger",
    "혐오": "disgust",
    "공포": "fear",
    "기쁨": "happiness",
    "슬픔": "sadness",
    "놀람": "surprise",
    "중립": "neutral",
}
EXPECTED = {
    "aihub7": AIHUB7,
    "korean5": {
        "기쁨": "joy",
        "당황": "embarrassment",
        "분노": "anger",
        "슬픔": "sadness",
        "중립": "neutral",
    },
    "fer7": FER7,
    "ferplus8": {**FER7, "경멸": "contempt"},
    "openface6": {
        "분노": "anger",
        "혐오": "disgust",
        "기쁨": "happiness",
        "슬픔": "sadness",
        "놀람": "surprise",
        "중립": "neutral",
    },
}
LIGHT, DARK = "#ffffff", "#0b0f19"  # Gradio's two backgrounds

# Machado, Oliveira and Fernandes 2009, severity 1.0; they act on linear RGB.
VISIONS = {
    "normal": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# CIEDE2000: 1 is just visible; two large areas under 10 are taken for shades of one colour.
MIN_DISTANCE = {"normal": 20.0, "protanopia": 12.0, "deuteranopia": 12.0, "tritanopia": 12.0}

MAPPINGS = [
    (source, target) for source in TAXONOMIES for target in list_targets(get_taxonomy(source))
]


def to_linear(color: str) -> NDArray[np.float64]:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(linear, 0, 1)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)


def measure_contrast(first: str, second: str) -> float:
    """WCAG 2.2's contrast ratio, 1 to 21."""
    luminances = sorted(
        float(to_linear(color) @ [0.2126, 0.7152, 0.0722]) for color in (first, second)
    )
    return (luminances[1] + 0.05) / (luminances[0] + 0.05)


def find_closest(taxonomy: Taxonomy, vision: str) -> tuple[float, str, str]:
    seen = {
        label: rgb2lab(to_srgb(np.array(VISIONS[vision]) @ to_linear(COLORS[label])))
        for label in taxonomy.labels
    }
    return min(
        (float(deltaE_ciede2000(seen[one], seen[other])), one, other)
        for one, other in combinations(taxonomy.labels, 2)
    )


def test_the_taxonomies_are_those_of_the_design_in_order() -> None:
    found = {
        name: list(zip(taxonomy.labels, taxonomy.english, strict=True))
        for name, taxonomy in TAXONOMIES.items()
    }
    assert found == {name: list(labels.items()) for name, labels in EXPECTED.items()}


@pytest.mark.parametrize("name", TAXONOMIES)
def test_a_taxonomy_is_found_by_its_name_and_translates_its_labels(name: str) -> None:
    taxonomy = get_taxonomy(name)
    assert taxonomy.name == name
    assert {label: taxonomy.to_english(label) for label in taxonomy.labels} == EXPECTED[name]


def test_an_unknown_taxonomy_is_answered_with_the_choices() -> None:
    with pytest.raises(
        TaxonomyError,
        match=r"no taxonomy 'fer8'; choose one of aihub7, korean5, fer7, ferplus8, openface6\.",
    ):
        get_taxonomy("fer8")


def test_every_label_has_a_colour_and_no_colour_is_left_over() -> None:
    assert set(COLORS) == {label for labels in EXPECTED.values() for label in labels}


@pytest.mark.parametrize("background", [LIGHT, DARK])
@pytest.mark.parametrize("label", COLORS)
def test_colours_stand_out_from_both_backgrounds(label: str, background: str) -> None:
    assert measure_contrast(COLORS[label], background) >= 3


def test_contrast_is_measured_as_wcag_defines_it() -> None:
    assert measure_contrast("#000000", "#ffffff") == pytest.approx(21)
    assert measure_contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("name", TAXONOMIES)
def test_colours_of_a_taxonomy_stay_apart_for_every_eye(name: str, vision: str) -> None:
    distance, one, other = find_closest(get_taxonomy(name), vision)
    assert distance >= MIN_DISTANCE[vision], (one, other)


@pytest.mark.parametrize(("source", "target"), MAPPINGS)
def test_a_mapping_keeps_the_sum_and_the_targets_order(source: str, target: str) -> None:
    mapping = get_mapping(get_taxonomy(source), get_taxonomy(target))
    size = len(mapping.source.labels)
    weights = np.arange(1, size + 1) / (size * (size + 1) / 2)
    mapped = mapping.apply([float(weight) for weight in weights])
    assert sum(mapped) == pytest.approx(1, abs=1e-12)
    by_hand = dict.fromkeys(mapping.target.labels, 0.0)
    for label, weight in zip(mapping.source.labels, weights, strict=True):
        by_hand[mapping.table[label]] += weight
    assert mapped == pytest.approx(tuple(by_hand.values()), abs=1e-12)
    assert set(mapping.table) == set(mapping.source.labels)


@pytest.mark.parametrize(("source", "target"), MAPPINGS)
def test_a_label_that_the_target_also_has_maps_to_itself(source: str, target: str) -> None:
    mapping = get_mapping(get_taxonomy(source), get_taxonomy(target))
    shared = set(mapping.source.labels) & set(mapping.target.labels)
    assert {label: mapping.table[label] for label in shared} == {label: label for label in shared}


def test_ferplus8_shown_as_korean5_follows_the_stated_rules() -> None:
    mapping = get_mapping(get_taxonomy("ferplus8"), get_taxonomy("korean5"))
    assert mapping.table == {
        "기쁨": "기쁨",
        "놀람": "당황",
        "공포": "당황",
        "분노": "분노",
        "혐오": "분노",
        "경멸": "분노",
        "슬픔": "슬픔",
        "중립": "중립",
    }
    # anger, disgust, fear, happiness, sadness, surprise, neutral, contempt
    mapped = mapping.apply([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.36, 0.01])
    # joy, embarrassment, anger, sadness, neutral
    assert mapped == pytest.approx((0.08, 0.36, 0.04, 0.16, 0.36), abs=1e-12)
    assert mapping.approximate
    assert mapping.unreachable == ()


@pytest.mark.parametrize(
    ("source", "target", "unreachable"),
    [
        ("ferplus8", "aihub7", ("상처",)),
        ("fer7", "aihub7", ("상처",)),
        ("openface6", "aihub7", ("불안", "상처")),
        ("openface6", "korean5", ()),
        ("korean5", "aihub7", ("불안", "상처")),
        ("fer7", "ferplus8", ("경멸",)),
        ("openface6", "ferplus8", ("공포", "경멸")),
        ("aihub7", "korean5", ()),
    ],
)
def test_a_mapping_names_the_classes_that_it_cannot_reach(
    source: str, target: str, unreachable: tuple[str, ...]
) -> None:
    mapping = get_mapping(get_taxonomy(source), get_taxonomy(target))
    assert mapping.unreachable == unreachable
    mapped = mapping.apply([1 / len(mapping.source.labels)] * len(mapping.source.labels))
    empty = [label for label, share in zip(mapping.target.labels, mapped, strict=True) if not share]
    assert tuple(empty) == unreachable


@pytest.mark.parametrize("name", TAXONOMIES)
def test_a_taxonomy_shown_as_itself_is_unchanged_and_exact(name: str) -> None:
    taxonomy = get_taxonomy(name)
    mapping = get_mapping(taxonomy, taxonomy)
    probabilities = tuple(float(i) for i in range(len(taxonomy.labels)))
    assert mapping.apply(probabilities) == probabilities
    assert not mapping.approximate
    assert list_targets(taxonomy)[0] == name


@pytest.mark.parametrize(("source", "target"), MAPPINGS)
def test_every_mapping_but_that_to_itself_is_called_approximate(source: str, target: str) -> None:
    mapping = get_mapping(get_taxonomy(source), get_taxonomy(target))
    assert mapping.approximate == (source != target)


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (
            "ferplus8",
            "korean5",
            "ferplus8 is shown as korean5, an approximation: "
            "혐오 as 분노, 공포 as 당황, 놀람 as 당황, 경멸 as 분노.",
        ),
        (
            "fer7",
            "aihub7",
            "fer7 is shown as aihub7, an approximation: "
            "혐오 as 분노, 공포 as 불안, 놀람 as 당황; it never answers 상처.",
        ),
        (
            "korean5",
            "aihub7",
            "korean5 is shown as aihub7, an approximation; it never answers 불안, 상처.",
        ),
    ],
)
def test_a_mapping_says_what_it_does(source: str, target: str, sentence: str) -> None:
    assert get_mapping(get_taxonomy(source), get_taxonomy(target)).describe() == sentence


def test_an_impossible_mapping_is_answered_with_the_choices() -> None:
    with pytest.raises(
        TaxonomyError,
        match=r"Labels of 'korean5' cannot be shown as 'fer7'; choose one of korean5, aihub7\.",
    ):
        get_mapping(get_taxonomy("korean5"), get_taxonomy("fer7"))


def test_the_wrong_number_of_probabilities_is_refused() -> None:
    mapping = get_mapping(get_taxonomy("fer7"), get_taxonomy("korean5"))
    with pytest.raises(ValueError, match="shorter"):
        mapping.apply([0.5, 0.5])
