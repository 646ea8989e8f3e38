"""Taxonomies as data: names in order, Korean and English, colours, and the mappings between them.

The Korean name is the canonical one: it is what predictions, exports and the database carry.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kfer.errors import TaxonomyError

# Eight hues, placed by search so that each stands out at 3:1 from both white and near-black and any
# two of a taxonomy stay apart (CIEDE2000 22 and more; 13 and more under simulated protanopia,
# deuteranopia and tritanopia). Emotions that the mappings merge, and that no taxonomy holds
# together, share one.
COLORS: dict[str, str] = {
    "기쁨": "#cd6f00",
    "당황": "#186f58",
    "놀람": "#186f58",
    "분노": "#b8271b",
    "불안": "#3b55ee",
    "공포": "#3b55ee",
    "상처": "#945086",
    "경멸": "#945086",
    "슬픔": "#0f9cd2",
    "중립": "#918b89",
    "혐오": "#819c67",
}


@dataclass(frozen=True)
class Taxonomy:
    """An ordered list of emotions. ``labels`` are Korean, ``english`` stands in the same order."""

    name: str
    labels: tuple[str, ...]
    english: tuple[str, ...]

    def to_english(self, label: str) -> str:
        return self.english[self.labels.index(label)]


@dataclass(frozen=True)
class Mapping:
    """How the classes of one taxonomy are summed into another's.

    ``table`` names the target of every source label; ``unreachable`` are the target labels that
    no source label leads to: their probability is always 0.
    """

    source: Taxonomy
    target: Taxonomy
    table: dict[str, str]

    @property
    def unreachable(self) -> tuple[str, ...]:
        return tuple(label for label in self.target.labels if label not in self.table.values())

    @property
    def approximate(self) -> bool:
        """True unless the target answers exactly what the source does."""
        return self.source != self.target

    def describe(self) -> str:
        """What is summed into what, and what cannot be answered, in one English sentence."""
        changed = ", ".join(f"{old} as {new}" for old, new in self.table.items() if old != new)
        missing = ", ".join(self.unreachable)
        return (
            f"{self.source.name} is shown as {self.target.name}, an approximation"
            + (f": {changed}" if changed else "")
            + (f"; it never answers {missing}" if missing else "")
            + "."
        )

    def apply(self, probabilities: Sequence[float]) -> tuple[float, ...]:
        """Sum source probabilities (in ``source.labels`` order) into ``target.labels`` order."""
        sums = dict.fromkeys(self.target.labels, 0.0)
        for label, probability in zip(self.source.labels, probabilities, strict=True):
            sums[self.table[label]] += probability
        return tuple(sums.values())


def _taxonomy(name: str, **english_by_label: str) -> Taxonomy:
    return Taxonomy(name, tuple(english_by_label), tuple(english_by_label.values()))


_FER7 = {
    "분노": "anger",
    "혐오": "disgust",
    "공포": "fear",
    "기쁨": "happiness",
    "슬픔": "sadness",
    "놀람": "surprise",
    "중립": "neutral",
}
_AIHUB7 = {
    "기쁨": "joy",
    "당황": "embarrassment",
    "분노": "anger",
    "불안": "anxiety",
    "상처": "hurt",
    "슬픔": "sadness",
    "중립": "neutral",
}

TAXONOMIES: dict[str, Taxonomy] = {
    taxonomy.name: taxonomy
    for taxonomy in (
        _taxonomy("aihub7", **_AIHUB7),
        _taxonomy("korean5", **{k: v for k, v in _AIHUB7.items() if k not in ("불안", "상처")}),
        _taxonomy("fer7", **_FER7),
        _taxonomy("ferplus8", **_FER7, 경멸="contempt"),
        _taxonomy("openface6", **{k: v for k, v in _FER7.items() if k != "공포"}),
    )
}

# Only what differs from the identity; a label that the target holds under the same name maps to it.
_RENAMED: dict[tuple[str, str], dict[str, str]] = {
    ("ferplus8", "korean5"): {"놀람": "당황", "공포": "당황", "혐오": "분노", "경멸": "분노"},
    ("fer7", "korean5"): {"놀람": "당황", "공포": "당황", "혐오": "분노"},
    ("openface6", "korean5"): {"놀람": "당황", "혐오": "분노"},
    ("aihub7", "korean5"): {"불안": "당황", "상처": "슬픔"},
    ("ferplus8", "aihub7"): {"놀람": "당황", "공포": "불안", "혐오": "분노", "경멸": "분노"},
    ("fer7", "aihub7"): {"놀람": "당황", "공포": "불안", "혐오": "분노"},
    ("openface6", "aihub7"): {"놀람": "당황", "혐오": "분노"},
    ("ferplus8", "fer7"): {"경멸": "혐오"},
    ("ferplus8", "openface6"): {"공포": "놀람", "경멸": "혐오"},
    ("fer7", "openface6"): {"공포": "놀람"},
    ("korean5", "aihub7"): {},
    ("fer7", "ferplus8"): {},
    ("openface6", "fer7"): {},
    ("openface6", "ferplus8"): {},
}


def get_taxonomy(name: str) -> Taxonomy:
    """Raises TaxonomyError when there is none of that name."""
    try:
        return TAXONOMIES[name]
    except KeyError:
        raise TaxonomyError(
            f"There is no taxonomy {name!r}; choose one of {', '.join(TAXONOMIES)}."
        ) from None


def get_mapping(source: Taxonomy, target: Taxonomy) -> Mapping:
    """The mapping from ``source`` to ``target``; raises TaxonomyError when none makes sense."""
    renamed = {} if source == target else _RENAMED.get((source.name, target.name))
    if renamed is None:
        raise TaxonomyError(
            f"Labels of {source.name!r} cannot be shown as {target.name!r}; "
            f"choose one of {', '.join(list_targets(source))}."
        )
    return Mapping(source, target, {label: renamed.get(label, label) for label in source.labels})


def list_targets(source: Taxonomy) -> list[str]:
    """Names of the taxonomies that ``source`` can be shown as, itself first."""
    return [source.name, *(target for origin, target in _RENAMED if origin == source.name)]
