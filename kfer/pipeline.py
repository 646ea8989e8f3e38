"""The story on one screen: a photo -> faces -> crops -> predictions -> readings."""

from dataclasses import dataclass
from typing import Any

from kfer.classifier import Classifier
from kfer.faces import Detector, Face, crop_face, crop_whole, detect_faces
from kfer.labels import Taxonomy
from kfer.photos import Photo
from kfer.predictions import Prediction

NO_FACE = "no face found; the whole photo was read as one face"
NOT_LOOKED_FOR = "no face was looked for; the whole photo was read as one face"


@dataclass(frozen=True)
class FaceReading:
    """A face, in pixels of the upright original photo, and what was read in it.

    ``unsure`` when the answer is less probable than the model's threshold; None where it has none.
    """

    face: Face
    prediction: Prediction
    unsure: bool | None


@dataclass(frozen=True)
class Analysis:
    """All readings of one photo, left to right.

    ``approximate`` when none of the model's heads answers in ``taxonomy`` itself; ``note`` says why
    the photo was read as one face, if it was.
    """

    photo: Photo
    model: str
    taxonomy: Taxonomy
    approximate: bool
    readings: tuple[FaceReading, ...]
    note: str | None

    @property
    def whole(self) -> bool:
        """True when the photo itself was read."""
        return self.note is not None

    @property
    def largest(self) -> FaceReading:
        """That of the face whose box is the largest."""
        return max(self.readings, key=lambda reading: reading.face.area)


def analyze(
    photo: Photo,
    classifier: Classifier,
    detector: Detector | None,
    taxonomy: Taxonomy | None = None,
) -> Analysis:
    """Read every face. Without a detector, or without a face, the whole photo is read as one."""
    bundle = classifier.bundle
    spec = bundle.crop
    shown = taxonomy or bundle.default_taxonomy
    faces = detect_faces(detector, photo.image, photo.scale) if detector else []
    faces = sorted(faces, key=lambda face: face.box[0] + face.box[2] / 2)
    crops = [crop_face(photo.image, face, spec) for face in faces]
    note = None
    if not faces:
        note = NO_FACE if detector else NOT_LOOKED_FOR
        faces = [Face((0.0, 0.0, float(photo.width), float(photo.height)), 0.0)]
        crops = [crop_whole(photo.image, spec)]
    else:
        faces = [face.scaled(photo.scale) for face in faces]
    predictions = classifier.predict(crops, shown)
    return Analysis(
        photo=photo,
        model=bundle.identity,
        taxonomy=shown,
        approximate=bundle.get_mapping(shown).approximate,
        readings=tuple(
            FaceReading(face, prediction, _is_unsure(prediction, bundle.unsure_below))
            for face, prediction in zip(faces, predictions, strict=True)
        ),
        note=note,
    )


def _is_unsure(prediction: Prediction, threshold: float | None) -> bool | None:
    """In any label set: sums of calibrated probabilities are calibrated, too."""
    return None if threshold is None else prediction.confidence < threshold


def describe(analysis: Analysis, file: str) -> dict[str, Any]:
    """The JSON object that the command line, the API and the page's download all give."""
    photo = analysis.photo
    return {
        "file": file,
        "width": photo.width,
        "height": photo.height,
        "model": analysis.model,
        "taxonomy": analysis.taxonomy.name,
        "approximate": analysis.approximate,
        "faces": [_describe_reading(reading) for reading in analysis.readings],
        "note": analysis.note,
    }


def _describe_reading(reading: FaceReading) -> dict[str, Any]:
    prediction = reading.prediction
    return {
        "rect": [round(value, 1) for value in reading.face.box],
        "detection_score": round(reading.face.score, 4),
        "label": prediction.label,
        "label_en": prediction.taxonomy.to_english(prediction.label),
        "unsure": reading.unsure,
        "probs": dict(zip(prediction.taxonomy.labels, prediction.probabilities, strict=True)),
    }
