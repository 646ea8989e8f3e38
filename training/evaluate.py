"""Bundle + labelled faces -> figures, by the very path that serves photos."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from kfer.bundle import WEIGHTS, Bundle, Head, hash_file
from kfer.classifier import Classifier
from kfer.faces import Detector, crop_whole
from kfer.metrics import (
    ClassFigures,
    Estimate,
    compute_brier,
    compute_class_figures,
    compute_confusion,
    compute_ece,
    compute_macro_f1,
    estimate_accuracy,
)
from training.calibrate import cross_fit
from training.config import DEFAULT_HEADS, LABEL, HeadSpec, parse_heads
from training.dataset import FaceSet
from training.detection import PhotoFigures
from training.export import compute_logits, select
from training.origin import read_training
from training.robustness import Robustness, measure_robustness

TIMING_REPEATS = 60


@dataclass(frozen=True)
class HeadFigures:
    """How one head does on validation.

    ``ece_before`` is at temperature 1; ``ece_after`` and ``brier`` are cross-fitted, so that no
    picture is measured with a temperature that was fitted on it. ``accuracy_mirrored`` is that of
    the mean of the probabilities of a picture and of its mirror image.
    """

    taxonomy: str
    accuracy: Estimate
    accuracy_without_twins: Estimate
    accuracy_mirrored: Estimate
    macro_f1: float
    temperature: float
    ece_before: float
    ece_after: float
    brier: float
    classes: dict[str, ClassFigures]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Sureness:
    """What share of faces the default head answers with ``threshold`` or more, how often rightly.

    On cross-fitted probabilities, as ``HeadFigures.ece_after``.
    """

    threshold: float
    covered: float
    accuracy_when_sure: float


@dataclass(frozen=True)
class Evaluation:
    """All figures of the card, measured on ``data``.

    ``milliseconds`` per face: one thread, batch 1, median.

    ``sureness`` is None where the bundle has no threshold, or no face reaches it.
    """

    data: str
    weights_sha256: str
    megabytes: float
    parameters: int
    milliseconds: float
    heads: list[HeadFigures]
    sureness: Sureness | None
    robustness: list[Robustness]
    photos: PhotoFigures | None


def evaluate(
    bundle: Bundle,
    faces: FaceSet,
    data: str,
    detector: Detector | None = None,
    photos: PhotoFigures | None = None,
) -> Evaluation:
    """Measure the stored file on ``data``, as its card will call the faces.

    Raises DataError for a head that these faces hold no truth for.
    """
    logits, mirrored = (compute_logits(bundle, each) for each in (faces, faces.mirrored()))
    weights = bundle.folder / WEIGHTS
    classifier = Classifier(bundle)
    return Evaluation(
        data=data,
        weights_sha256=hash_file(weights),
        megabytes=weights.stat().st_size / 1e6,
        parameters=classifier.count_parameters(),
        milliseconds=_time_one_face(classifier, faces),
        heads=[_measure_head(logits, mirrored, head, faces) for head in bundle.heads],
        sureness=_measure_sureness(bundle, logits, faces),
        robustness=measure_robustness(bundle, faces, logits, detector),
        photos=photos,
    )


def find_head_specs(bundle: Bundle) -> tuple[HeadSpec, ...]:
    """What each of the bundle's heads learned, as its recipe says; labels where none does."""
    settings = read_training(bundle).get("settings") or {}
    learned = {spec.taxonomy: spec for spec in parse_heads(settings.get("heads") or DEFAULT_HEADS)}
    return tuple(
        learned.get(head.taxonomy, HeadSpec(head.taxonomy, LABEL, head.start))
        for head in bundle.heads
    )


def _measure_head(
    logits: NDArray[np.float32], mirrored: NDArray[np.float32], head: Head, faces: FaceSet
) -> HeadFigures:
    scores, truth = select(logits, head, faces, held_out_twins=True)
    turned, _ = select(mirrored, head, faces, held_out_twins=True)
    labels = head.taxonomy.labels
    predicted = scores.argmax(axis=1)
    calibrated = cross_fit(scores, truth)
    clean_scores, clean_truth = select(logits, head, faces)
    return HeadFigures(
        taxonomy=head.taxonomy.name,
        accuracy=estimate_accuracy(truth, predicted),
        accuracy_without_twins=estimate_accuracy(clean_truth, clean_scores.argmax(axis=1)),
        accuracy_mirrored=estimate_accuracy(
            truth, (softmax(scores, axis=1) + softmax(turned, axis=1)).argmax(axis=1)
        ),
        macro_f1=compute_macro_f1(truth, predicted, len(labels)),
        temperature=head.temperature,
        ece_before=compute_ece(truth, softmax(scores.astype(np.float64), axis=1)),
        ece_after=compute_ece(truth, calibrated),
        brier=compute_brier(truth, calibrated),
        classes=dict(
            zip(labels, compute_class_figures(truth, predicted, len(labels)), strict=True)
        ),
        confusion=compute_confusion(truth, predicted, len(labels)).tolist(),
    )


def _measure_sureness(
    bundle: Bundle, logits: NDArray[np.float32], faces: FaceSet
) -> Sureness | None:
    if bundle.unsure_below is None:
        return None
    scores, truth = select(logits, bundle.heads[0], faces, held_out_twins=True)
    probabilities = cross_fit(scores, truth)
    sure = probabilities.max(axis=1) >= bundle.unsure_below
    right = probabilities.argmax(axis=1) == truth
    if not sure.any():
        return None
    return Sureness(bundle.unsure_below, float(sure.mean()), float(right[sure].mean()))


def _time_one_face(classifier: Classifier, faces: FaceSet) -> float:
    crop = [crop_whole(Image.fromarray(faces.pixels[0]), classifier.bundle.crop)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        classifier.compute_logits(crop)
        times = []
        for _ in range(TIMING_REPEATS):
            started = time.perf_counter()
            classifier.compute_logits(crop)
            times.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(times) * 1000
