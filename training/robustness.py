"""How much accuracy pictures cost that are worse than FER2013's own, as photos in the app are."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kfer.bundle import Bundle
from kfer.faces import Detector
from training.augment import compress
from training.detection import frame_faces
from training.errors import DataError
from training.export import compute_logits, select
from training.face_set import FaceSet

_log = logging.getLogger(__name__)

Face = NDArray[np.uint8]  # (h, w) grey or (h, w, 3)
JPEG_QUALITY = 30
ROLL = 15.0  # degrees
SMALL = 24  # px
CAST = (1.0, 0.85, 0.6)  # of red, green and blue: an incandescent lamp
DARK = 0.5  # of the brightness
FRAMING_GOAL = 4


@dataclass(frozen=True)
class Condition:
    """``goal`` is the loss in points that is allowed; several ways to worsen count alike."""

    name: str
    goal: float
    worsen: Sequence[Callable[[Face], Face]]


@dataclass(frozen=True)
class Robustness:
    """``losses`` in percentage points of accuracy, by head; below 0 where nothing was lost."""

    condition: str
    goal: float
    losses: dict[str, float]


def roll(face: Face, degrees: float) -> Face:
    """Turned about the centre, as a face that was not aligned; what comes in is mirrored."""
    border = len(face) // 4  # more than a turn by 15 degrees brings in
    sides = [(border, border)] * 2 + [(0, 0)] * (face.ndim - 2)
    wide = Image.fromarray(np.pad(face, sides, mode="reflect"))
    turned = np.asarray(wide.rotate(degrees, Image.Resampling.BICUBIC))
    return turned[border:-border, border:-border]


def shrink(face: Face) -> Face:
    """As a face of 24 px is drawn larger."""
    small = Image.fromarray(face).resize((SMALL, SMALL), Image.Resampling.BOX)
    return np.asarray(small.resize(face.shape[1::-1], Image.Resampling.BICUBIC))


def darken(face: Face) -> Face:
    """Half as bright and in warm light; what was grey is grey again, as the app makes it."""
    grey = face.ndim == 2
    coloured = (face[..., None] if grey else face) * np.array(CAST) * DARK
    light = Image.fromarray(coloured.astype(np.uint8))
    return np.asarray(light.convert("L") if grey else light)


CONDITIONS = (
    Condition(f"JPEG of quality {JPEG_QUALITY}", 3, (partial(compress, quality=JPEG_QUALITY),)),
    Condition(
        f"turned by {ROLL:.0f} degrees, not aligned", 5,
        (partial(roll, degrees=ROLL), partial(roll, degrees=-ROLL)),
    ),
    Condition("half as bright, warm light", 3, (darken,)),
    Condition(f"{SMALL} px, drawn larger", 8, (shrink,)),
)  # fmt: skip


def measure_robustness(
    bundle: Bundle,
    faces: FaceSet,
    logits: NDArray[np.float32],
    detector: Detector | None,
    *,
    for_photos: bool = False,
) -> list[Robustness]:
    """``logits`` are those of the faces as they are.

    With a detector, what its own frame costs those faces that it finds. Where it is there
    ``for_photos``, it need not find any of these; else DataError is raised.
    """
    clean = _measure(bundle, faces, logits)
    framing = _measure_framing(bundle, faces, logits, detector) if detector else None
    if detector and not framing:
        if not for_photos:
            raise DataError("--detector: finds none of these faces; choose another, or none.")
        _log.warning("warning: the detector finds none of these faces; what it costs is left out")
    results = [framing] if framing else []
    for condition in CONDITIONS:
        worse = [
            _measure(bundle, faces, compute_logits(bundle, _worsen(faces, worsen)))
            for worsen in condition.worsen
        ]
        losses = {
            name: 100 * (clean[name] - float(np.mean([each[name] for each in worse])))
            for name in clean
        }
        results.append(Robustness(condition.name, condition.goal, losses))
    return results


def _measure_framing(
    bundle: Bundle, faces: FaceSet, logits: NDArray[np.float32], detector: Detector
) -> Robustness | None:
    framed, found = frame_faces(bundle, detector, faces)
    if not found.any():
        return None
    seen = faces.chosen(found)
    before, after = (_measure(bundle, seen, each[found]) for each in (logits, framed))
    losses = {name: 100 * (before[name] - after[name]) for name in before}
    name = f"framed by the detector, of the {found.mean():.0%} that it finds"
    return Robustness(name.replace("%", " %"), FRAMING_GOAL, losses)


def _worsen(faces: FaceSet, worsen: Callable[[Face], Face]) -> FaceSet:
    return replace(faces, pixels=np.stack([worsen(face) for face in faces.pixels]))


def _measure(bundle: Bundle, faces: FaceSet, logits: NDArray[np.float32]) -> dict[str, float]:
    """Accuracy of every head."""
    accuracies = {}
    for head in bundle.heads:
        scores, truth = select(logits, head, faces, held_out_twins=True)
        accuracies[head.taxonomy.name] = float(np.mean(scores.argmax(axis=1) == truth))
    return accuracies
