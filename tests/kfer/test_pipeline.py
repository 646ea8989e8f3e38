"""The whole way from a photo to readings, with a fake detector and a tiny bundle."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from kfer.bundle import load_bundle
from kfer.classifier import Classifier
from kfer.errors import TaxonomyError
from kfer.faces import Face, MtcnnDetector, crop_face, crop_whole
from kfer.labels import Taxonomy, get_taxonomy
from kfer.photos import Photo, open_photo
from kfer.pipeline import NO_FACE, NOT_LOOKED_FOR, Analysis, analyze, describe
from tests.kfer.fakes import CROP, FakeDetector
from tests.kfer.photo_samples import encode, encode_turned


@pytest.fixture(scope="module")
def classifier(tiny_bundle: Path) -> Classifier:
    return Classifier(load_bundle(tiny_bundle))


@pytest.fixture(scope="module")
def photo(face_images: dict[str, Image.Image]) -> Photo:
    """Three rendered faces side by side, 600 x 200 px."""
    image = Image.new("RGB", (600, 200), "white")
    for i, name in enumerate(("s008", "s050", "s070")):
        image.paste(face_images[name].resize((200, 200)), (200 * i, 0))
    return open_photo(encode(image, "PNG"))


def face_at(x: float, y: float, side: float, score: float = 0.9) -> Face:
    return Face((x, y, side, side), score)


THREE = [face_at(40, 30, 120, 0.99), face_at(240, 30, 120, 0.95), face_at(440, 30, 120, 0.9)]


def test_every_face_gets_the_prediction_of_its_own_crop(
    photo: Photo, classifier: Classifier
) -> None:
    analysis = analyze(photo, classifier, FakeDetector(THREE))
    assert [reading.face for reading in analysis.readings] == THREE
    crops = [crop_face(photo.image, face, CROP) for face in THREE]
    assert [reading.prediction for reading in analysis.readings] == classifier.predict(crops)
    assert len({reading.prediction.probabilities for reading in analysis.readings}) == 3
    assert not analysis.whole
    assert analysis.photo is photo
    assert analysis.model == classifier.bundle.identity
    assert analysis.taxonomy.name == "ferplus8"


@pytest.mark.parametrize(
    ("detector", "note"),
    [(None, NOT_LOOKED_FOR), (FakeDetector(), NO_FACE)],
    ids=["no detector", "no face"],
)
def test_without_a_face_the_whole_photo_is_read_and_a_note_says_why(
    detector: FakeDetector | None, note: str, photo: Photo, classifier: Classifier
) -> None:
    analysis = analyze(photo, classifier, detector)
    (reading,) = analysis.readings
    assert analysis.whole
    assert reading.face == Face((0, 0, 600, 200), 0)
    assert [reading.prediction] == classifier.predict([crop_whole(photo.image, CROP)])
    described = describe(analysis, "a.png")
    assert described["note"] == note
    assert note.endswith("; the whole photo was read as one face")
    assert described["faces"][0]["rect"] == [0, 0, 600, 200]
    assert described["faces"][0]["detection_score"] == 0


def test_the_asked_taxonomy_is_answered_in(photo: Photo, classifier: Classifier) -> None:
    analysis = analyze(photo, classifier, FakeDetector(THREE), get_taxonomy("korean5"))
    assert analysis.taxonomy.name == "korean5"
    for reading in analysis.readings:
        assert reading.prediction.taxonomy.name == "korean5"
    described = describe(analysis, "a.png")
    assert described["taxonomy"] == "korean5"
    assert list(described["faces"][0]["probs"]) == ["기쁨", "당황", "분노", "슬픔", "중립"]


def test_a_taxonomy_that_the_bundle_cannot_answer_in_is_refused(
    photo: Photo, classifier: Classifier
) -> None:
    foreign = Taxonomy("valence2", ("좋음", "나쁨"), ("good", "bad"))
    with pytest.raises(TaxonomyError, match="cannot be shown as 'valence2'; choose one of"):
        analyze(photo, classifier, FakeDetector(THREE), foreign)


@pytest.mark.parametrize(
    ("size", "scale"), [((3200, 2400), 2.0), ((700, 5120), 2.5), ((2560, 900), 1.25)]
)
def test_rectangles_of_a_reduced_photo_are_in_pixels_of_the_original(
    size: tuple[int, int], scale: float, classifier: Classifier
) -> None:
    image = Image.new("RGB", size, "white")
    box = (size[0] // 2, size[1] // 4, size[0] // 5, size[0] // 5)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[0] + box[2], box[1] + box[3]), "black")
    photo = open_photo(encode(image, "JPEG"))
    assert photo.scale == pytest.approx(scale)
    detector = DarkestDetector()
    analysis = analyze(photo, classifier, detector)
    assert detector.sides == [1000]  # where a face of 2 % has MIN_FACE px
    # The detector saw one pixel in three to five.
    tolerance = 1.5 * max(size) / 1000
    assert analysis.readings[0].face.box == pytest.approx(box, abs=tolerance)
    assert describe(analysis, "x")["faces"][0]["rect"] == pytest.approx(box, abs=tolerance)


class DarkestDetector:
    """Calls the box around all dark pixels a face."""

    def __init__(self) -> None:
        self.sides: list[int] = []

    def detect(self, image: Image.Image) -> list[Face]:
        self.sides.append(max(image.size))
        dark = image.convert("L").point(lambda level: 255 * (level < 128))
        left, top, right, bottom = dark.getbbox() or (0, 0, 1, 1)
        return [Face((left, top, right - left, bottom - top), 0.8)]


def test_rectangles_are_those_of_the_upright_photo(classifier: Classifier) -> None:
    turned = open_photo(encode_turned(6, "JPEG"))
    analysis = analyze(turned, classifier, None)
    described = describe(analysis, "turned.jpg")
    assert (described["width"], described["height"]) == (96, 64)
    assert described["faces"][0]["rect"] == [0, 0, 96, 64]


def test_sixty_faces_are_all_read_from_left_to_right(photo: Photo, classifier: Classifier) -> None:
    faces = [face_at(i % 20 * 28 + i // 20, i // 20 * 60, 30, 0.99 - i / 1000) for i in range(60)]
    analysis = analyze(photo, classifier, FakeDetector(faces))
    left_to_right = sorted(faces, key=lambda face: face.box[0])
    assert [reading.face for reading in analysis.readings] == left_to_right
    assert len(describe(analysis, "crowd.jpg")["faces"]) == 60


@pytest.mark.parametrize("corner", [(-20, -20), (550, 150), (-300, 900)])
def test_a_face_across_or_beyond_the_border_is_read(
    corner: tuple[int, int], photo: Photo, classifier: Classifier
) -> None:
    (reading,) = analyze(photo, classifier, FakeDetector([face_at(*corner, 100)])).readings
    assert reading.face.box == (*corner, 100, 100)
    assert sum(reading.prediction.probabilities) == pytest.approx(1)


def test_the_description_is_the_contracts_object(photo: Photo, classifier: Classifier) -> None:
    face = Face((40.123, 30.456, 120.04, 99.96), 0.987654, tuple((1.0, 2.0) for _ in range(5)))
    analysis = analyze(photo, classifier, FakeDetector([face]))
    described = describe(analysis, "휴가.jpg")
    (prediction,) = (reading.prediction for reading in analysis.readings)
    taxonomy = get_taxonomy("ferplus8")
    assert described == {
        "file": "휴가.jpg",
        "width": 600,
        "height": 200,
        "model": classifier.bundle.identity,
        "taxonomy": "ferplus8",
        "approximate": False,
        "faces": [
            {
                "rect": [40.1, 30.5, 120.0, 100.0],
                "detection_score": 0.9877,
                "label": prediction.label,
                "label_en": taxonomy.to_english(prediction.label),
                "unsure": None,
                "probs": dict(zip(taxonomy.labels, prediction.probabilities, strict=True)),
            }
        ],
        "note": None,
    }
    assert list(described) == [
        "file", "width", "height", "model", "taxonomy", "approximate", "faces", "note",
    ]  # fmt: skip
    assert list(described["faces"][0]) == [
        "rect", "detection_score", "label", "label_en", "unsure", "probs",
    ]  # fmt: skip
    probabilities = described["faces"][0]["probs"]
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-9)
    assert described["faces"][0]["label"] == max(probabilities, key=probabilities.get)


@pytest.mark.parametrize("name", ["ferplus8", "fer7", "korean5", "aihub7"])
def test_below_the_models_threshold_an_answer_is_unsure_in_any_label_set(
    name: str, photo: Photo, tiny_bundle: Path
) -> None:
    plain = load_bundle(tiny_bundle)
    taxonomy = get_taxonomy(name)
    analysis = analyze(photo, Classifier(plain), FakeDetector(THREE), taxonomy)
    assert [reading.unsure for reading in analysis.readings] == [None] * 3
    shares = sorted(reading.prediction.confidence for reading in analysis.readings)
    judging = Classifier(replace(plain, unsure_below=shares[1]))
    analysis = analyze(photo, judging, FakeDetector(THREE), taxonomy)
    expected = [reading.prediction.confidence < shares[1] for reading in analysis.readings]
    assert sorted(expected) == [False, False, True]
    assert [face["unsure"] for face in describe(analysis, "a.png")["faces"]] == expected


@pytest.mark.parametrize(
    ("name", "approximate"),
    [(None, False), ("ferplus8", False), ("fer7", False), ("korean5", True)],
)
def test_what_no_head_answers_is_called_approximate(
    name: str | None, approximate: bool, photo: Photo, classifier: Classifier
) -> None:
    taxonomy = get_taxonomy(name) if name else None
    analysis = analyze(photo, classifier, FakeDetector(THREE), taxonomy)
    assert describe(analysis, "a.png")["approximate"] is approximate


def test_the_description_survives_json(photo: Photo, classifier: Classifier) -> None:
    described = describe(analyze(photo, classifier, FakeDetector(THREE)), "a.png")
    again: dict[str, Any] = json.loads(json.dumps(described, ensure_ascii=False, allow_nan=False))
    assert again == described


def test_real_faces_are_found_and_read_from_end_to_end(
    photo: Photo, classifier: Classifier
) -> None:
    analysis: Analysis = analyze(photo, classifier, MtcnnDetector())
    centers = [x + w / 2 for x, _, w, _ in (reading.face.box for reading in analysis.readings)]
    assert centers == pytest.approx([100, 300, 500], abs=20)
