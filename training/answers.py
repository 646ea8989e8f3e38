"""What a bundle answers to labelled faces: everything that figures and reports are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kfer.bundle import Bundle, Head
from kfer.labels import Taxonomy
from training.calibrate import cross_fit
from training.export import compute_logits, select
from training.face_set import FaceSet
from training.manifest import VALIDATION
from training.origin import read_training
from training.sources.fer2013 import FER2013

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """One head's, to the n faces that have a truth in its label set.

    ``probabilities`` are (n, classes): ``raw`` at temperature 1, ``calibrated``, and ``mirrored``,
    raw of the mirror image. ``models`` say which bundle answered.
    """

    taxonomy: Taxonomy
    models: list[str]
    paths: list[str]
    persons: list[str]
    truth: NDArray[np.int64]
    raw: Floats
    calibrated: Floats
    mirrored: Floats
    twin_of_held_out: NDArray[np.bool_]

    @property
    def predicted(self) -> NDArray[np.int64]:
        top: NDArray[np.int64] = self.raw.argmax(axis=1)  # a temperature does not change it
        return top


def is_fitted_on(bundle: Bundle, faces: FaceSet, part: str) -> bool:
    """Whether the bundle's temperatures and threshold were chosen on these faces.

    By their pixels, whatever the file is called now. PublicTest is always the same pictures, and
    the first bundles do not name its pixels.
    """
    training = read_training(bundle)
    public_test = part == VALIDATION and training.get("data") == faces.source == FER2013
    return public_test or training.get("calibrated_on") == faces.hash_pixels()


def collect_answers(
    bundle: Bundle, faces: FaceSet, logits: NDArray[np.float32], *, cross_fitted: bool
) -> list[Answers]:
    """A list entry per head, in the bundle's order; ``logits`` are those of the faces.

    Calibrated by the bundle's temperatures or, ``cross_fitted``, by some that never saw the face.
    Raises DataError for a head that these faces hold no truth for.
    """
    mirrored = compute_logits(bundle, faces.mirrored())
    return [
        _collect(bundle.identity, head, faces, logits, mirrored, cross_fitted)
        for head in bundle.heads
    ]


def _collect(
    model: str,
    head: Head,
    faces: FaceSet,
    logits: NDArray[np.float32],
    mirrored: NDArray[np.float32],
    cross_fitted: bool,
) -> Answers:
    scores, truth = select(logits, head, faces, held_out_twins=True)
    turned, _ = select(mirrored, head, faces, held_out_twins=True)
    known = faces.labels[head.taxonomy.name].truths >= 0
    return Answers(
        taxonomy=head.taxonomy,
        models=[model] * len(truth),
        paths=list(compress(faces.paths, known)),
        persons=list(compress(faces.persons, known)),
        truth=truth,
        raw=_to_probabilities(scores),
        calibrated=(
            cross_fit(scores, truth)
            if cross_fitted
            else _to_probabilities(scores, head.temperature)
        ),
        mirrored=_to_probabilities(turned),
        twin_of_held_out=faces.twin_of_held_out[known],
    )


def pool_answers(parts: Sequence[Answers]) -> Answers:
    """Those of several bundles to different faces, as if one had given them all."""
    return Answers(
        taxonomy=parts[0].taxonomy,
        models=list(chain.from_iterable(part.models for part in parts)),
        paths=list(chain.from_iterable(part.paths for part in parts)),
        persons=list(chain.from_iterable(part.persons for part in parts)),
        truth=np.concatenate([part.truth for part in parts]),
        raw=np.concatenate([part.raw for part in parts]),
        calibrated=np.concatenate([part.calibrated for part in parts]),
        mirrored=np.concatenate([part.mirrored for part in parts]),
        twin_of_held_out=np.concatenate([part.twin_of_held_out for part in parts]),
    )


def _to_probabilities(logits: NDArray[np.float32], temperature: float = 1.0) -> Floats:
    probabilities: Floats = softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities
