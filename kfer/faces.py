"""Find the faces of an image, and cut them out the way the network was trained.

Three detectors behind one Protocol. Each brings its own heavy library, imported when it is built.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kfer.errors import DetectorError

MIN_FACE = 20  # px
# No face as large as both is lost, in pixels of the photo and in shares of its long side.
NEEDED_PX, NEEDED_SHARE = 40, 0.02
DETECTION_SIDE = 800  # px; smaller copies are not worth the blurrier boxes


@dataclass(frozen=True)
class Face:
    """A face in an image.

    ``box`` is (x, y, width, height) in pixels, possibly across the border; ``score`` 0-1;
    ``landmarks`` are five (x, y): eye, eye, nose, mouth corner, mouth corner, left ones of the
    image first, or None where the detector gives none.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None

    @property
    def area(self) -> float:
        """Of the box, square pixels."""
        return self.box[2] * self.box[3]

    def scaled(self, factor: float) -> "Face":
        x, y, w, h = (value * factor for value in self.box)
        marks = self.landmarks
        if marks is not None:
            marks = tuple((px * factor, py * factor) for px, py in marks)
        return replace(self, box=(x, y, w, h), landmarks=marks)


@dataclass(frozen=True)
class CropSpec:
    """How a face is cut out; stored in the bundle.

    ``margin`` is added to the longer side of the box as a share of it; ``size`` is the side of the
    square crop in pixels; ``align`` turns the crop until the eyes are level.
    """

    margin: float
    size: int
    grey: bool
    align: bool


class Detector(Protocol):
    """Anything that finds faces in an RGB image, best score first. Safe to call from threads."""

    def detect(self, image: Image.Image) -> list[Face]: ...


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016) with facenet-pytorch's weights, which are inside its wheel."""

    def __init__(self) -> None:
        try:
            from kfer.faces_mtcnn import Cascade  # noqa: PLC0415  # imports torch
        except ImportError as error:
            raise DetectorError(
                f"MTCNN needs facenet-pytorch, which cannot be loaded ({error}): "
                "pip install -r requirements.txt; or choose haar."
            ) from error
        self._cascade = Cascade()

    def detect(self, image: Image.Image) -> list[Face]:
        boxes, scores, landmarks = self._cascade.detect(image)
        return [
            Face((x0, y0, x1 - x0, y1 - y0), score, tuple((px, py) for px, py in marks))
            for (x0, y0, x1, y1), score, marks in zip(
                boxes.tolist(), scores.tolist(), landmarks.tolist(), strict=True
            )
        ]


class HaarDetector:
    """Viola and Jones (2001), OpenCV's frontal cascade: quick, frontal faces only, no landmarks."""

    def __init__(self) -> None:
        import cv2  # noqa: PLC0415  # 150 ms that other detectors need not pay

        self._cascade = cv2.CascadeClassifier(
            str(Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml")  # type: ignore[attr-defined]
        )
        self._busy = threading.Lock()  # the cascade keeps the picture that it is at

    def detect(self, image: Image.Image) -> list[Face]:
        with self._busy:
            boxes, _, weights = self._cascade.detectMultiScale3(
                np.asarray(image.convert("L")),
                scaleFactor=1.1,
                minNeighbors=5,
                minSize=(MIN_FACE, MIN_FACE),
                outputRejectLevels=True,
            )
        faces = [
            # The cascade's last stage weight is open-ended; this brings it between 0 and 1.
            Face(tuple(float(value) for value in box), weight / (1 + weight))  # type: ignore[arg-type]
            for box, weight in zip(boxes, np.ravel(weights).tolist(), strict=True)
            if weight > 0
        ]
        return sorted(faces, key=lambda face: -face.score)


class YoloDetector:
    """A YOLO-face network through ultralytics. Both are AGPL: bring the package and the weights."""

    def __init__(self, weights: Path) -> None:
        if not weights.is_file():
            raise DetectorError(
                f"YOLO-face needs a weights file; there is none at {weights}. "
                "Name one with --detector-weights, or choose mtcnn or haar."
            )
        try:
            from ultralytics import YOLO  # noqa: PLC0415  # optional extra
        except ImportError:
            raise DetectorError(
                "YOLO-face needs the optional package ultralytics (AGPL-3.0), which is not "
                "installed: pip install -r requirements-yolo.txt; or choose mtcnn or haar."
            ) from None
        self._yolo = YOLO(str(weights), task="pose")
        self._busy = threading.Lock()  # its predictor keeps the batch that it is at

    def detect(self, image: Image.Image) -> list[Face]:
        with self._busy:
            found = self._yolo.predict(image, verbose=False, save=False)[0].cpu().numpy()
        marks = found.keypoints.xy if found.keypoints is not None else [None] * len(found.boxes)
        return [
            Face(
                box=(float(x0), float(y0), float(x1 - x0), float(y1 - y0)),
                score=float(score),
                landmarks=None
                if points is None or len(points) != 5
                else tuple((float(px), float(py)) for px, py in points),
            )
            for (x0, y0, x1, y1), score, points in zip(
                found.boxes.xyxy, found.boxes.conf, marks, strict=True
            )
        ]


DETECTORS = ("mtcnn", "haar", "yolo", "none")
BUILT_IN = ("mtcnn", "haar", "none")  # YOLO-face needs weights that the host brings


def build_detector(name: str, weights: Path | None = None) -> Detector | None:
    """The detector of that name; None for "none", which reads the whole photo as one face.

    Raises DetectorError for another name, or when YOLO-face's parts are missing.
    """
    builders: dict[str, Callable[[], Detector | None]] = {
        "mtcnn": MtcnnDetector,
        "haar": HaarDetector,
        "yolo": lambda: YoloDetector(weights or Path("yolo-face.pt")),
        "none": lambda: None,
    }
    if name not in builders:
        raise DetectorError(f"There is no detector {name!r}; choose one of {', '.join(DETECTORS)}.")
    return builders[name]()


def detect_faces(detector: Detector, image: Image.Image, scale: float = 1.0) -> list[Face]:
    """Faces in the pixels of ``image``, which are ``scale`` pixels of the photo each.

    MTCNN's time grows with the picture's area, so they are looked for on a copy: as small as leaves
    MIN_FACE px of a face of NEEDED_PX in the photo and NEEDED_SHARE of its long side.
    """
    long_side = max(image.size)
    needed = max(NEEDED_PX / scale, NEEDED_SHARE * long_side)
    factor = max(min(needed / MIN_FACE, long_side / DETECTION_SIDE), 1.0)
    if factor > 1:
        size = (max(round(image.width / factor), 1), max(round(image.height / factor), 1))
        # The gap lets Pillow halve and quarter first, which is quicker.
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
    return [face.scaled(factor) for face in detector.detect(image)]


def crop_face(image: Image.Image, face: Face, spec: CropSpec) -> Image.Image:
    """A square of ``spec.size`` px round the face; what lies outside repeats the border."""
    x, y, w, h = face.box
    side = max(w, h) * (1 + spec.margin)
    return _cut(image, (x + w / 2, y + h / 2), side, _roll(face) if spec.align else 0.0, spec)


def crop_whole(image: Image.Image, spec: CropSpec) -> Image.Image:
    """The whole picture as one face: its largest central square, without a margin."""
    return _cut(image, (image.width / 2, image.height / 2), min(image.size), 0.0, spec)


def _roll(face: Face) -> float:
    """How far the line of the eyes leans, in radians; 0 without landmarks."""
    if face.landmarks is None:
        return 0.0
    (x0, y0), (x1, y1) = face.landmarks[:2]
    return math.atan2(y1 - y0, x1 - x0)


def _cut(
    image: Image.Image, center: tuple[float, float], side: float, roll: float, spec: CropSpec
) -> Image.Image:
    reach = side / 2 * (abs(math.cos(roll)) + abs(math.sin(roll))) + 2
    left, top = math.floor(center[0] - reach), math.floor(center[1] - reach)
    right, bottom = math.ceil(center[0] + reach), math.ceil(center[1] + reach)
    region = _crop_padded(image, left, top, right, bottom).convert("L" if spec.grey else "RGB")
    # A face much larger than the crop is averaged down before it is turned: ten times as fast.
    shrink = max(int(side / (2 * spec.size)), 1)
    region = region.reduce(shrink)
    side /= shrink
    pixels = max(round(side), 1)
    cos, sin = math.cos(roll) * side / pixels, math.sin(roll) * side / pixels
    x0 = (center[0] - left) / shrink - (cos - sin) * pixels / 2
    y0 = (center[1] - top) / shrink - (sin + cos) * pixels / 2
    square = region.transform(
        (pixels, pixels),
        Image.Transform.AFFINE,
        (cos, -sin, x0, sin, cos, y0),
        Image.Resampling.BILINEAR,
    )
    # Pillow's resize averages when it shrinks, so large faces do not alias.
    return square.resize((spec.size, spec.size), Image.Resampling.BILINEAR)


def _crop_padded(image: Image.Image, left: int, top: int, right: int, bottom: int) -> Image.Image:
    box = (
        min(max(left, 0), image.width - 1),
        min(max(top, 0), image.height - 1),
        max(min(right, image.width), 1),
        max(min(bottom, image.height), 1),
    )
    if box == (left, top, right, bottom):
        return image.crop(box)
    pixels: NDArray[np.uint8] = np.asarray(image.crop(box))
    rows = np.clip(np.arange(top, bottom) - box[1], 0, box[3] - box[1] - 1)
    columns = np.clip(np.arange(left, right) - box[0], 0, box[2] - box[0] - 1)
    return Image.fromarray(pixels[rows][:, columns])
