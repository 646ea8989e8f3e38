"""A recognizer without a network: it finds and reads what it is told, and takes its time."""

import time
from collections.abc import Sequence
from pathlib import Path

from kfer.bundle import Bundle
from kfer.faces import Face
from kfer.labels import get_taxonomy
from kfer.photos import Photo
from kfer.pipeline import NO_FACE, Analysis, FaceReading
from kfer.predictions import Prediction
from kfer.recognizer import Recognizer
from tests.kfer.fakes import CROP, HEADS

FAKE_BUNDLE = Bundle(
    folder=Path("no-such-folder"),
    name="fake",
    revision="0123456789ab",
    heads=HEADS,
    crop=CROP,
    pretrained_cfg={},
    num_classes=15,
    unsure_below=0.5,
)


def build_reading(
    box: tuple[float, float, float, float], label: str = "기쁨", confidence: float = 0.9
) -> FaceReading:
    """A face in ferplus8: ``label`` with that confidence, the rest shared out evenly."""
    taxonomy = get_taxonomy("ferplus8")
    rest = (1 - confidence) / (len(taxonomy.labels) - 1)
    probabilities = tuple(confidence if name == label else rest for name in taxonomy.labels)
    unsure = confidence < (FAKE_BUNDLE.unsure_below or 0)
    return FaceReading(Face(box, 0.99), Prediction(taxonomy, probabilities), unsure)


class FakeRecognizer(Recognizer):
    """Answers every photo with the same readings after ``seconds``, or raises ``error``."""

    def __init__(
        self,
        readings: Sequence[FaceReading] = (),
        *,
        seconds: float = 0.0,
        error: Exception | None = None,
    ) -> None:
        super().__init__([FAKE_BUNDLE])
        self.readings = tuple(readings)
        self.seconds = seconds
        self.error = error
        self.asked: list[tuple[str | None, str, str | None]] = []

    def analyze(
        self,
        photo: Photo,
        model: str | None = None,
        detector: str = "mtcnn",
        taxonomy: str | None = None,
    ) -> Analysis:
        self.asked.append((model, detector, taxonomy))
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        whole = (build_reading((0.0, 0.0, float(photo.width), float(photo.height))),)
        return Analysis(
            photo=photo,
            model=FAKE_BUNDLE.identity,
            taxonomy=get_taxonomy("ferplus8"),
            approximate=False,
            readings=self.readings or whole,
            note=None if self.readings else NO_FACE,
        )
