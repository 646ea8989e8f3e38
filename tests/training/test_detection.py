"""Faces as a detector frames them: of FER2013's pictures, and of whole photos with their labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kfer.bundle import Bundle
from kfer.classifier import Classifier
from kfer.faces import Face, build_detector, crop_face, crop_whole
from kfer.labels import get_taxonomy
from tests.training.synthetic import build_answered, build_faces
from training import robustness
from training.detection import ENLARGED, frame_faces, measure_photos
from training.errors import DataError
from training.robustness import measure_robustness

KOREAN5 = get_taxonomy("korean5")


class LightDetector:
    """Finds a small and a large face in a picture whose mean is above a level, else none."""

    def __init__(self, level: float, box: tuple[float, float, float, float]) -> None:
        self.level = level
        self.large = Face(box, 0.8)
        self.small = Face((0, 0, 20, 20), 0.9)

    def detect(self, image: Image.Image) -> list[Face]:
        assert image.mode == "RGB"
        return [self.small, self.large] if np.asarray(image).mean() > self.level else []


def test_a_found_face_is_cut_by_its_box_and_another_read_whole(bundle: Bundle) -> None:
    faces = build_faces(1)
    faces.pixels[3] = 0
    detector = LightDetector(1, (20, 30, 100, 110))
    logits, found = frame_faces(bundle, detector, faces)
    assert found.tolist() == [index != 3 for index in range(7)]
    pictures = [Image.fromarray(pixels) for pixels in faces.pixels]
    enlarged = pictures[0].resize((ENLARGED,) * 2, Image.Resampling.BICUBIC).convert("RGB")
    expected = Classifier(bundle).compute_logits(
        [crop_face(enlarged, detector.large, bundle.crop), crop_whole(pictures[3], bundle.crop)]
    )
    assert np.allclose(logits[[0, 3]], expected, atol=1e-5)


def test_a_loss_to_framing_is_counted_among_the_faces_that_were_found(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces, logits = build_answered()
    framed = logits.copy()
    framed[:3, :7] = np.roll(logits[:3, :7], 1, axis=1)  # wrong in fer7
    found = np.arange(28) >= 1
    monkeypatch.setattr(robustness, "frame_faces", lambda *_: (framed, found))
    monkeypatch.setattr(robustness, "compute_logits", lambda *_: logits)
    first = measure_robustness(bundle, faces, logits, build_detector("haar"))[0]
    assert first.condition == "framed by the detector, of the 96 % that it finds"
    assert first.goal == 4
    assert first.losses == pytest.approx({"ferplus8": 0, "fer7": 100 * 2 / 27})


def test_a_detector_that_finds_nothing_measures_nothing(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    faces, logits = build_answered()
    blind = LightDetector(255, (0, 0, 9, 9))
    with pytest.raises(DataError, match="--detector: finds none of these faces"):
        measure_robustness(bundle, faces, logits, blind)
    found = measure_robustness(bundle, faces, logits, blind, for_photos=True)
    assert found == measure_robustness(bundle, faces, logits, None)
    assert "finds none of these faces; what it costs is left out" in caplog.text


def write_photos(folder: Path, labels: list[str]) -> None:
    lines = ["filename,label"]
    for index, label in enumerate(labels):
        grey = np.full((64, 64), 40 * index + 20, dtype=np.uint8)
        Image.fromarray(grey).save(folder / f"{index}.png")
        lines.append(f"{index}.png,{label}")
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")


def test_photos_are_counted_by_truth_and_answer(bundle: Bundle, tmp_path: Path) -> None:
    write_photos(tmp_path, list(KOREAN5.labels))
    detector = LightDetector(50, (10, 10, 30, 30))  # the first photo is darker
    figures = measure_photos(bundle, detector, tmp_path, KOREAN5)
    assert (figures.folder, figures.taxonomy) == (tmp_path.name, "korean5")
    assert figures.found == 4 / 5
    images = [Image.open(tmp_path / f"{index}.png").convert("RGB") for index in range(5)]
    crops = [crop_whole(images[0], bundle.crop)]
    crops += [crop_face(image, detector.large, bundle.crop) for image in images[1:]]
    answers = [reading.label for reading in Classifier(bundle).predict(crops, KOREAN5)]
    expected = [[int(answer == label) for label in KOREAN5.labels] for answer in answers]
    assert figures.confusion == expected
    assert figures.accuracy.value == np.trace(expected) / 5
    assert figures.accuracy.n == 5


def test_the_largest_face_of_a_photo_counts(bundle: Bundle, tmp_path: Path) -> None:
    pixels = np.kron(build_faces(1).pixels[2], np.ones((3, 3), dtype=np.uint8))
    Image.fromarray(pixels).save(tmp_path / "face.png")
    detector = LightDetector(0, (5, 5, 130, 130))
    crop = crop_face(Image.open(tmp_path / "face.png").convert("RGB"), detector.large, bundle.crop)
    [answer] = Classifier(bundle).predict([crop], KOREAN5)
    (tmp_path / "manifest.csv").write_text(f"filename,label\nface.png,{answer.label}\n")
    assert measure_photos(bundle, detector, tmp_path, KOREAN5).accuracy.value == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"its manifest\.csv cannot be read \(.*No such file"),
        ("filename,label\n", "needs the columns filename and label, and a row"),
        ("file,label\na.png,기쁨\n", "needs the columns filename and label, and a row"),
        (
            "filename,label\na.png,기쁨\nb.png,공포\n",
            "line 3 of manifest.csv says '공포'; korean5 has",
        ),
        ("filename,label\n/a.png,기쁨\n", r"its manifest\.csv: /a\.png lies outside of the image"),
        ("filename,label\n../a.png,기쁨\n", r"\.\./a\.png lies outside of the image folder"),
        ("label,filename\n기쁨\n", "'' is no file's name"),
        ("filename,label\na.png,기쁨\na.png,분노\n", r"its manifest\.csv: names a\.png twice"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(
    text: str | None, message: str, bundle: Bundle, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        measure_photos(bundle, LightDetector(0, (0, 0, 9, 9)), tmp_path, KOREAN5)
