"""Detectors on rendered faces, on a photograph and on images without a face."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kfer.errors import DetectorError
from kfer.faces import (
    CropSpec,
    Detector,
    Face,
    HaarDetector,
    MtcnnDetector,
    YoloDetector,
    build_detector,
    crop_face,
    detect_faces,
)
from tests.kfer.conftest import DATA
from tests.kfer.fakes import FakeDetector

RENDERED = sorted(path.stem for path in DATA.glob("*.webp"))
ASTRONAUT_BOX = (181, 62, 87, 110)
Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def mtcnn() -> MtcnnDetector:
    return MtcnnDetector()


@pytest.fixture(scope="module")
def haar() -> HaarDetector:
    return HaarDetector()


def measure_overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = first, second
    width = max(0.0, min(ax + aw, bx + bw) - max(ax, bx))
    height = max(0.0, min(ay + ah, by + bh) - max(ay, by))
    return width * height / (aw * ah + bw * bh - width * height)


def test_there_are_rendered_faces_to_test_with() -> None:
    assert len(RENDERED) == 6


@pytest.mark.parametrize("name", RENDERED)
def test_mtcnn_finds_the_one_face_of_a_rendering(
    name: str, mtcnn: MtcnnDetector, face_images: dict[str, Image.Image]
) -> None:
    (face,) = detect_faces(mtcnn, face_images[name])
    x, y, w, h = face.box
    assert (x + w / 2, y + h / 2) == pytest.approx((256, 250), abs=40)
    assert 200 < w < 270 < h < 380
    assert 0.95 < face.score <= 1


@pytest.mark.parametrize("name", RENDERED)
def test_mtcnns_landmarks_come_in_the_promised_order(
    name: str, mtcnn: MtcnnDetector, face_images: dict[str, Image.Image]
) -> None:
    (face,) = detect_faces(mtcnn, face_images[name])
    assert face.landmarks is not None
    eye, other_eye, nose, mouth, other_mouth = face.landmarks
    assert eye[0] < nose[0] < other_eye[0]
    assert mouth[0] < nose[0] < other_mouth[0]
    assert max(eye[1], other_eye[1]) < nose[1] < min(mouth[1], other_mouth[1])


@pytest.mark.parametrize("name", RENDERED)
def test_haar_finds_the_face_of_a_rendering_where_mtcnn_does(
    name: str,
    mtcnn: MtcnnDetector,
    haar: HaarDetector,
    face_images: dict[str, Image.Image],
) -> None:
    best = detect_faces(haar, face_images[name])[0]
    (expected,) = detect_faces(mtcnn, face_images[name])
    assert measure_overlap(best.box, expected.box) > 0.5
    assert best.landmarks is None
    assert 0.5 < best.score < 1


@pytest.mark.parametrize("name", ["mtcnn", "haar"])
def test_the_astronaut_is_found(name: str, astronaut: Image.Image) -> None:
    detector = build_detector(name)
    assert detector is not None
    (face,) = detect_faces(detector, astronaut)
    assert measure_overlap(face.box, ASTRONAUT_BOX) > 0.7


def test_the_astronaut_is_found_in_pixels_of_a_photo_four_times_as_large(
    mtcnn: MtcnnDetector, astronaut: Image.Image
) -> None:
    (small,) = detect_faces(mtcnn, astronaut)
    (large,) = detect_faces(mtcnn, astronaut.resize((2048, 2048)))
    assert measure_overlap(large.box, small.scaled(4).box) > 0.85


@pytest.mark.parametrize("name", ["mtcnn", "haar"])
def test_faces_of_a_group_come_with_the_best_score_first(
    name: str, face_images: dict[str, Image.Image]
) -> None:
    group = Image.new("RGB", (900, 520), "white")
    for i, side in enumerate((120, 260, 180, 240, 150, 200)):
        face = face_images[RENDERED[i]].resize((side, side))
        group.paste(face, (10 + i % 3 * 300, i // 3 * 260))
    detector = build_detector(name)
    assert detector is not None
    scores = [face.score for face in detect_faces(detector, group)]
    assert len(scores) >= 6
    assert scores == sorted(scores, reverse=True)


def check_two_threads(detector: Detector, *images: Image.Image) -> None:
    """Each, again and again beside the other, gives what it gives alone."""
    alone = [detector.detect(image) for image in images]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(len(images)) as pool:
        together = pool.map(lambda image: [detector.detect(image) for _ in range(5)], images)
    assert list(together) == [[faces] * 5 for faces in alone]


def test_haar_reads_two_photos_at_a_time(
    haar: HaarDetector, face_images: dict[str, Image.Image]
) -> None:
    beside = Image.new("RGB", (900, 520), "white")
    beside.paste(face_images["s050"].resize((300, 300)), (550, 100))
    check_two_threads(haar, face_images["s008"], beside)


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (20, 20), (1000, 20), (2560, 1), (300, 200)])
@pytest.mark.parametrize("name", ["mtcnn", "haar"])
def test_an_image_without_a_face_gives_none_however_small(name: str, size: tuple[int, int]) -> None:
    detector = build_detector(name)
    assert detector is not None
    assert detect_faces(detector, Image.new("RGB", size, "grey")) == []


def test_a_face_cut_by_the_border_is_found(
    mtcnn: MtcnnDetector, face_images: dict[str, Image.Image]
) -> None:
    cut = face_images["s070"].crop((200, 0, 512, 512))
    (face,) = detect_faces(mtcnn, cut)
    assert face.box[0] < 10
    assert crop_face(cut, face, CropSpec(0.3, 48, grey=True, align=True)).size == (48, 48)


@pytest.mark.parametrize(
    ("size", "scale", "seen"),
    [
        ((640, 480), 1, (640, 480)),
        ((800, 800), 1, (800, 800)),
        ((1000, 1000), 1, (800, 800)),
        ((1600, 1200), 1, (800, 600)),  # 40 px become 20
        ((1600, 1200), 2, (1000, 750)),  # 2 % of the long side, which count here, become 20 px
        ((2000, 1500), 1, (1000, 750)),
        ((1280, 2560), 1, (500, 1000)),
    ],
)
def test_detectors_see_a_reduced_copy_and_boxes_come_back_in_pixels_of_the_image(
    size: tuple[int, int], scale: float, seen: tuple[int, int]
) -> None:
    found = Face((10.0, 20.0, 30.0, 40.0), 0.9, tuple((i + 1.0, i + 2.0) for i in range(5)))
    detector = FakeDetector([found])
    image = Image.new("RGB", size)
    (face,) = detect_faces(detector, image, scale)
    assert detector.sizes == [seen]
    factor = max(size) / max(seen)
    assert face.box == (10 * factor, 20 * factor, 30 * factor, 40 * factor)
    assert face.landmarks == tuple(((i + 1) * factor, (i + 2) * factor) for i in range(5))
    assert face.score == 0.9
    assert image.size == size


def test_an_unknown_detector_is_answered_with_the_choices() -> None:
    with pytest.raises(
        DetectorError, match=r"no detector 'dlib'; choose one of mtcnn, haar, yolo, none\."
    ):
        build_detector("dlib")


def test_the_detector_none_is_no_detector() -> None:
    assert build_detector("none") is None


def test_mtcnn_without_its_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "kfer.faces_mtcnn", raising=False)
    monkeypatch.setitem(sys.modules, "facenet_pytorch.models.mtcnn", None)
    with pytest.raises(DetectorError, match=r"MTCNN needs facenet-pytorch.*or choose haar"):
        build_detector("mtcnn")


def test_yolo_without_weights_says_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(
        DetectorError, match=r"needs a weights file; there is none at .*face\.pt.*--detector-weight"
    ):
        build_detector("yolo", tmp_path / "face.pt")


def test_yolo_without_its_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)  # makes the import fail
    weights = tmp_path / "face.pt"
    weights.touch()
    with pytest.raises(DetectorError, match=r"optional package ultralytics.*pip install"):
        build_detector("yolo", weights)


class FakeYolo:
    """Answers in the shape of ultralytics' results: corners, confidences, keypoints."""

    landmarks: NDArray[np.float32] | None = None

    def __init__(self, weights: str, task: str) -> None:
        self.settings = (Path(weights).name, task)
        self.width = 0  # kept between the steps of a prediction, as ultralytics keeps its batch

    def predict(self, image: Image.Image, *, verbose: bool, save: bool) -> list[SimpleNamespace]:
        assert image.mode == "RGB"
        assert (verbose, save) == (False, False)
        self.width = image.width
        time.sleep(0.01)  # another thread's turn
        boxes = _Boxes([[10, 20, 40, 70], [5, 5, 15, 15]], [0.9, 0.6])
        boxes.xyxy[:, 2] *= self.width / 100
        points = None if self.landmarks is None else SimpleNamespace(xy=self.landmarks)
        found = SimpleNamespace(boxes=boxes, keypoints=points)
        return [SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: found))]


class _Boxes:
    def __init__(self, corners: list[list[float]], scores: list[float]) -> None:
        self.xyxy = np.array(corners, dtype=np.float32)
        self.conf = np.array(scores, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.conf)


@pytest.fixture
def yolo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Detector]:
    package = ModuleType("ultralytics")
    package.YOLO = FakeYolo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ultralytics", package)
    weights = tmp_path / "face.pt"
    weights.touch()
    yield YoloDetector(weights)


def test_yolos_corners_become_boxes(yolo: Detector) -> None:
    first, second = yolo.detect(Image.new("RGB", (100, 100)))
    assert first.box == (10, 20, 30, 50)
    assert first.score == pytest.approx(0.9)
    assert first.landmarks is None
    assert second.box == (5, 5, 10, 10)


def test_yolo_reads_two_photos_at_a_time(yolo: Detector) -> None:
    check_two_threads(yolo, Image.new("RGB", (100, 100)), Image.new("RGB", (200, 100)))


@pytest.mark.parametrize(("points", "kept"), [(5, True), (17, False)])
def test_yolos_keypoints_are_landmarks_only_when_they_are_five(
    points: int, kept: bool, yolo: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    keypoints = np.arange(2 * points * 2, dtype=np.float32).reshape(2, points, 2)
    monkeypatch.setattr(FakeYolo, "landmarks", keypoints)
    first, _ = yolo.detect(Image.new("RGB", (100, 100)))
    expected = tuple((2.0 * i, 2.0 * i + 1) for i in range(points))
    assert first.landmarks == (expected if kept else None)
