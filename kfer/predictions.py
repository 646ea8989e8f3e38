"""What a classifier says of a face: probabilities over a taxonomy."""

from dataclasses import dataclass

from kfer.labels import Mapping, Taxonomy


@dataclass(frozen=True)
class Prediction:
    """Calibrated probabilities in the order of ``taxonomy.labels``; they sum to 1."""

    taxonomy: Taxonomy
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The most probable label, in Korean."""
        return self.ranked[0][0]

    @property
    def confidence(self) -> float:
        return max(self.probabilities)

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Labels with their probabilities, most probable first."""
        pairs = zip(self.taxonomy.labels, self.probabilities, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])

    def mapped(self, mapping: Mapping) -> "Prediction":
        return Prediction(mapping.target, mapping.apply(self.probabilities))
