"""The models and detectors that a program offers, each built once, when first asked for."""

import threading
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from kfer.bundle import Bundle, load_bundle
from kfer.classifier import Classifier
from kfer.errors import BundleError, DetectorError
from kfer.faces import BUILT_IN, DETECTORS, Detector, build_detector
from kfer.hub import locate_model
from kfer.labels import Taxonomy, get_taxonomy
from kfer.photos import Photo
from kfer.pipeline import Analysis, analyze


def locate_bundle(reference: str | None) -> Bundle:
    """The checked bundle that a model reference means. Raises BundleError or HubError."""
    source = locate_model(reference)
    return load_bundle(source.folder, source.name, source.revision)


class Recognizer:
    """Reads photos with any of the offered models. Safe to call from several threads."""

    def __init__(self, bundles: Sequence[Bundle], detector_weights: Path | None = None) -> None:
        """The first bundle is the default. Only with ``detector_weights`` is yolo offered."""
        self.bundles = {bundle.identity: bundle for bundle in bundles}
        self._detector_weights = detector_weights
        self._offered_detectors = DETECTORS if detector_weights else BUILT_IN
        self._classifiers: dict[str, Classifier] = {}
        self._detectors: dict[str, Detector | None] = {}
        self._building = threading.Lock()

    def get_bundle(self, model: str | None) -> Bundle:
        """By identity or by name; None is the default. Raises BundleError for any other."""
        bundles = list(self.bundles.values())
        if not model:
            return bundles[0]
        for bundle in bundles:
            if model in (bundle.identity, bundle.name):
                return bundle
        offered = ", ".join(bundle.name for bundle in bundles)
        raise BundleError(
            f"The model {model!r} is not offered here; choose one of {offered}. In the page: "
            "reload it.",
            "이 모델은 더 이상 없어요. 페이지를 새로고침해 주세요.",
        )

    def analyze(
        self,
        photo: Photo,
        model: str | None = None,
        detector: str = "mtcnn",
        taxonomy: str | None = None,
    ) -> Analysis:
        """Raises BundleError, DetectorError or TaxonomyError for what is not to be had."""
        bundle = self.get_bundle(model)
        wanted = get_taxonomy(taxonomy) if taxonomy else None
        bundle.get_head(wanted or bundle.default_taxonomy)
        return analyze(photo, self._classifier(bundle), self._detector(detector), wanted)

    def predict(
        self, images: Sequence[Image.Image], taxonomy: Taxonomy, model: str | None = None
    ) -> list[dict[str, float]]:
        """Probabilities by label for each RGB image: of its largest face, or of the whole image.

        Raises BundleError or TaxonomyError for what is not to be had.
        """
        bundle = self.get_bundle(model)
        bundle.get_head(taxonomy)
        classifier, detector = self._classifier(bundle), self._detector("mtcnn")
        answers = []
        for image in images:
            photo = Photo(image, *image.size)
            largest = analyze(photo, classifier, detector, taxonomy).largest
            probabilities = largest.prediction.probabilities
            answers.append(dict(zip(taxonomy.labels, probabilities, strict=True)))
        return answers

    def warm_up(self) -> None:
        """Build the default model and detector now, so that the first photo need not wait."""
        self._classifier(self.get_bundle(None))
        self._detector("mtcnn")

    def _classifier(self, bundle: Bundle) -> Classifier:
        with self._building:
            if bundle.identity not in self._classifiers:
                self._classifiers[bundle.identity] = Classifier(bundle)
            return self._classifiers[bundle.identity]

    def _detector(self, name: str) -> Detector | None:
        if name not in self._offered_detectors:
            offered = ", ".join(self._offered_detectors)
            raise DetectorError(
                f"The detector {name!r} is not offered here; choose one of {offered}."
            )
        with self._building:
            if name not in self._detectors:
                self._detectors[name] = build_detector(name, self._detector_weights)
            return self._detectors[name]
