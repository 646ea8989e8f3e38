"""Bundle + labelled faces -> figures, by the very path that serves photos."""

import statistics
import time
from collections.abc import Set
from dataclasses import dataclass

import torch
from PIL import Image

from kfer.bundle import WEIGHTS, Bundle, hash_file
from kfer.classifier import Classifier
from kfer.faces import Detector, crop_whole
from kfer.metrics import (
    ClassFigures,
    Estimate,
    ReliabilityBin,
    compute_averages,
    compute_brier,
    compute_class_figures,
    compute_confusion,
    compute_ece,
    compute_reliability,
)
from training.answers import Answers, collect_answers
from training.calibrate import cross_choose
from training.config import DEFAULT_HEADS, LABEL, HeadSpec, parse_heads
from training.detection import PhotoFigures
from training.export import SURE_ACCURACY, compute_logits
from training.face_set import FaceSet
from training.intervals import estimate_accuracy, estimate_macro_f1, number_persons
from training.origin import read_training
from training.robustness import Robustness, measure_robustness

TIMING_REPEATS = 60


@dataclass(frozen=True)
class HeadFigures:
    """How one head does; averages over classes are named as in scikit-learn.

    ``ece_before`` is at temperature 1, ``ece_after``, its ``bins`` and ``brier`` are of calibrated
    probabilities. ``accuracy_mirrored`` is that of the mean of the probabilities of a picture and
    of its mirror image. ``persons`` is how many are known to be on the pictures, ``shared_persons``
    how many of them on pictures that were learned, ``unnamed`` on how many pictures nobody is;
    intervals are by person where ``by_person``. ``temperature`` is the bundle's, or the mean of
    several bundles'.
    """

    taxonomy: str
    accuracy: Estimate
    accuracy_without_twins: Estimate
    accuracy_mirrored: Estimate
    persons: int
    shared_persons: int | None
    unnamed: int
    by_person: bool
    macro_precision: float
    macro_recall: float
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    temperature: float
    ece_before: float
    ece_after: float
    bins: list[ReliabilityBin]
    brier: float
    classes: dict[str, ClassFigures]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Sureness:
    """What share of faces the default head answers with ``threshold`` or more, how often rightly.

    On calibrated probabilities, as ``HeadFigures.ece_after``.
    """

    threshold: float
    covered: float
    accuracy_when_sure: float


@dataclass(frozen=True)
class Evaluation:
    """All figures of the card, measured on ``data``.

    ``cross_fitted`` where the bundle's temperatures and threshold were chosen on these faces:
    calibrated probabilities are then such that no picture is measured with a temperature that was
    fitted on it, else they are the bundle's own. ``milliseconds`` per face: one thread, batch 1,
    median.
    ``sureness`` is None where the bundle has no threshold, or no face reaches it.
    """

    data: str
    cross_fitted: bool
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
    *,
    cross_fitted: bool,
    trained_persons: Set[str] | None = frozenset(),
    detector: Detector | None = None,
    photos: PhotoFigures | None = None,
) -> tuple[Evaluation, list[Answers]]:
    """Measure the stored file on ``data``, as its card will call the faces.

    ``trained_persons`` are people whom it may have learned; None: that is not known.
    Raises DataError for a head that these faces hold no truth for.
    """
    logits = compute_logits(bundle, faces)
    answers = collect_answers(bundle, faces, logits, cross_fitted=cross_fitted)
    weights = bundle.folder / WEIGHTS
    classifier = Classifier(bundle)
    evaluation = Evaluation(
        data=data,
        cross_fitted=cross_fitted,
        weights_sha256=hash_file(weights),
        megabytes=weights.stat().st_size / 1e6,
        parameters=classifier.count_parameters(),
        milliseconds=_time_one_face(classifier, faces),
        heads=[
            measure_head(each, head.temperature, trained_persons)
            for each, head in zip(answers, bundle.heads, strict=True)
        ],
        sureness=_measure_sureness(bundle.unsure_below, answers[0], cross_fitted),
        robustness=measure_robustness(
            bundle, faces, logits, detector, for_photos=photos is not None
        ),
        photos=photos,
    )
    return evaluation, answers


def find_head_specs(bundle: Bundle) -> tuple[HeadSpec, ...]:
    """What each of the bundle's heads learned, as its recipe says; labels where none does."""
    settings = read_training(bundle).get("settings") or {}
    learned = {spec.taxonomy: spec for spec in parse_heads(settings.get("heads") or DEFAULT_HEADS)}
    return tuple(
        learned.get(head.taxonomy, HeadSpec(head.taxonomy, LABEL, head.start))
        for head in bundle.heads
    )


def measure_head(
    answers: Answers, temperature: float, trained_persons: Set[str] | None = frozenset()
) -> HeadFigures:
    truth, predicted = answers.truth, answers.predicted
    labels = answers.taxonomy.labels
    persons = number_persons(answers.persons)
    clean = ~answers.twin_of_held_out
    classes = len(labels)
    macro_f1 = estimate_macro_f1(truth, predicted, classes, persons)
    macro, weighted = (
        compute_averages(truth, predicted, classes, each) for each in ("macro", "weighted")
    )
    return HeadFigures(
        taxonomy=answers.taxonomy.name,
        accuracy=estimate_accuracy(truth, predicted, persons),
        accuracy_without_twins=estimate_accuracy(
            truth[clean], predicted[clean], None if persons is None else persons[clean]
        ),
        accuracy_mirrored=estimate_accuracy(
            truth, (answers.raw + answers.mirrored).argmax(axis=1), persons
        ),
        persons=len({*answers.persons} - {""}),
        shared_persons=(
            None if trained_persons is None else len({*answers.persons} & trained_persons)
        ),
        unnamed=answers.persons.count(""),
        by_person=persons is not None,
        macro_precision=macro.precision,
        macro_recall=macro.recall,
        macro_f1=macro.f1,
        macro_f1_interval=(macro_f1.low, macro_f1.high),
        weighted_precision=weighted.precision,
        weighted_recall=weighted.recall,
        weighted_f1=weighted.f1,
        temperature=temperature,
        ece_before=compute_ece(truth, answers.raw),
        ece_after=compute_ece(truth, answers.calibrated),
        bins=compute_reliability(truth, answers.calibrated),
        brier=compute_brier(truth, answers.calibrated),
        classes=dict(zip(labels, compute_class_figures(truth, predicted, classes), strict=True)),
        confusion=compute_confusion(truth, predicted, classes).tolist(),
    )


def _measure_sureness(
    threshold: float | None, answers: Answers, cross_fitted: bool
) -> Sureness | None:
    if threshold is None:
        return None
    if cross_fitted:  # where it was chosen, the accuracy asked for would be met by construction
        sure = cross_choose(answers.calibrated, answers.truth, SURE_ACCURACY)
    else:
        sure = answers.calibrated.max(axis=1) >= threshold
    if not sure.any():
        return None
    right = answers.predicted == answers.truth
    return Sureness(threshold, float(sure.mean()), float(right[sure].mean()))


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
