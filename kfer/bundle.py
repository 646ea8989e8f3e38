"""Read, check and write a model bundle: a folder in timm's own Hub layout.

``config.json`` is timm's (architecture, model_args, label_names, pretrained_cfg) with our own keys
under ``kfer``; ``model.safetensors`` holds the weights; ``README.md`` is the model card;
``action_units.json``, where there is one, explains the answers. Weights in any other form are
refused: unpickling a file runs whatever code it brings.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kfer.errors import BundleError, TaxonomyError
from kfer.faces import CropSpec
from kfer.labels import Mapping as LabelMapping
from kfer.labels import Taxonomy, get_mapping, get_taxonomy
from kfer.surrogate import Surrogate, load_surrogate

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
OF_A_RUN = "bundle"  # the folder in a run's folder that its bundle goes to
EXPLANATION = "action_units.json"
PREPROCESSING = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


@dataclass(frozen=True)
class Head:
    """The logits ``start`` to ``stop`` (exclusive) answer in one taxonomy.

    The softmax runs over them alone, after a division by ``temperature``.
    """

    taxonomy: Taxonomy
    start: int
    stop: int
    temperature: float


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. The first head is the default one; ``name`` and ``revision`` identify it.

    ``revision`` is the Hub's commit, or the first 12 hexadecimal digits of the weights' sha256.
    ``unsure_below`` is the probability under which an answer is called "not sure", or None.
    """

    folder: Path
    name: str
    revision: str
    heads: tuple[Head, ...]
    crop: CropSpec
    pretrained_cfg: Mapping[str, Any]
    num_classes: int
    unsure_below: float | None
    surrogate: Surrogate | None = None

    @property
    def identity(self) -> str:
        return f"{self.name}@{self.revision}"

    @property
    def default_taxonomy(self) -> Taxonomy:
        return self.heads[0].taxonomy

    def get_head(self, taxonomy: Taxonomy) -> Head:
        """The head that answers in ``taxonomy`` itself, else the first that can be mapped to it.

        Raises TaxonomyError when no head can.
        """
        for head in self.heads:
            if head.taxonomy == taxonomy:
                return head
        for head in self.heads[:-1]:
            try:
                get_mapping(head.taxonomy, taxonomy)
            except TaxonomyError:
                continue
            return head
        get_mapping(self.heads[-1].taxonomy, taxonomy)
        return self.heads[-1]

    def get_mapping(self, taxonomy: Taxonomy) -> LabelMapping:
        """From the labels of ``get_head`` to ``taxonomy``; raises TaxonomyError as that does."""
        return get_mapping(self.get_head(taxonomy).taxonomy, taxonomy)


def load_bundle(folder: Path, name: str | None = None, revision: str | None = None) -> Bundle:
    """Called as its folder is, or, where that is a run's folder ``bundle``, as the run is.

    Raises BundleError when the folder is no bundle of ours, saying which part is not.
    """
    config = _read_config(folder)
    weights = _find_weights(folder)
    own = config.get("kfer")
    if not isinstance(own, dict):
        raise BundleError(
            f"{_name(folder / CONFIG)} has no 'kfer' part, so it is not a KFER model; expected "
            "heads and crop there. Make one with: python -m training train, or use the bundled "
            "model."
        )
    try:
        num_classes = int(config["num_classes"])
        bundle = Bundle(
            folder=folder,
            name=name or _find_name(folder.resolve()),
            revision=revision or hash_file(weights)[:12],
            heads=tuple(_read_head(head) for head in own["heads"]),
            crop=_read_crop(own["crop"]),
            pretrained_cfg={**config["pretrained_cfg"]},
            num_classes=num_classes,
            unsure_below=_read_share(own.get("unsure_below")),
            surrogate=_find_surrogate(folder, weights),
        )
        built = dict(config.get("model_args") or {}).get("num_classes", num_classes)
        if built != num_classes:  # timm would fill the last layer with random numbers
            raise ValueError(f"model_args build {built} outputs, but num_classes is {num_classes}")
        for key in PREPROCESSING:
            bundle.pretrained_cfg[key]
    except OSError as error:
        raise BundleError(f"{_name(weights)} cannot be read ({error.strerror}).") from None
    except (KeyError, TypeError, ValueError, TaxonomyError) as error:
        detail = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(
            f"{_name(folder / CONFIG)} is not a valid KFER model description: {detail}."
        ) from None
    _check(bundle, config)
    return bundle


def save_bundle_config(
    folder: Path,
    config: Mapping[str, Any],
    heads: tuple[Head, ...],
    crop: CropSpec,
    notes: Mapping[str, Any],
) -> None:
    """Add our own keys to timm's ``config``, which must lie in ``folder``, and write it.

    ``notes`` go beside heads and crop as they are (training data, git revision, thresholds).
    """
    own = {
        **notes,
        "crop": asdict(crop),
        "heads": [
            {
                "taxonomy": head.taxonomy.name,
                "start": head.start,
                "stop": head.stop,
                "temperature": head.temperature,
            }
            for head in heads
        ],
    }
    text = json.dumps({**config, "kfer": own}, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def build_label_names(heads: tuple[Head, ...]) -> list[str]:
    """``fer7:분노`` ...: unique names in the order of the logits."""
    ordered = sorted(heads, key=lambda head: head.start)
    return [f"{head.taxonomy.name}:{label}" for head in ordered for label in head.taxonomy.labels]


def hash_file(path: Path) -> str:
    """sha256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(path: Path) -> str:
    """A file for a message: where the folder lies is nobody's business but the host's."""
    return f"{path.parent.name}/{path.name}"


def _find_name(folder: Path) -> str:
    of_a_run = folder.name == OF_A_RUN and (folder.parent / CONFIG).exists()  # the run's settings
    return folder.parent.name if of_a_run else folder.name


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            f"{folder.name} is not a model folder: it has no {CONFIG}. Name a folder with {CONFIG} "
            f"and {WEIGHTS}; download a model of the Hugging Face Hub into one first."
        ) from None
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"{_name(path)} cannot be read as JSON ({detail}).") from None
    if not isinstance(config, dict) or "architecture" not in config:
        raise BundleError(f"{_name(path)} is not in timm's layout: it names no architecture.")
    return config


def _find_weights(folder: Path) -> Path:
    weights = folder / WEIGHTS
    if weights.is_file():
        return weights
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
    if pickles:
        raise BundleError(
            f"{folder.name} holds only pickled weights ({', '.join(pickles)}), which can run any "
            f"code when opened and are refused; convert them to {WEIGHTS}."
        )
    raise BundleError(f"{folder.name} has no {WEIGHTS}; download or copy the folder again.")


def _find_surrogate(folder: Path, weights: Path) -> Surrogate | None:
    path = folder / EXPLANATION
    if not path.exists():
        return None
    surrogate = load_surrogate(path)
    if surrogate.weights_sha256 != hash_file(weights):
        raise BundleError(
            f"{_name(path)} explains other answers than those of {_name(weights)}. Delete it, and "
            "make it again with: python -m training explain --bundle."
        )
    return surrogate


def _read_head(head: Mapping[str, Any]) -> Head:
    return Head(
        get_taxonomy(head["taxonomy"]),
        int(head["start"]),
        int(head["stop"]),
        float(head["temperature"]),
    )


def _read_crop(crop: Mapping[str, Any]) -> CropSpec:
    spec = CropSpec(**crop)
    return replace(spec, margin=float(spec.margin), size=int(spec.size))


def _read_share(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"unsure_below is {value!r}; it must be a number from 0 to 1, or null")
    return float(value)


def _check(bundle: Bundle, config: Mapping[str, Any]) -> None:
    where = _name(bundle.folder / CONFIG)
    if not bundle.heads:
        raise BundleError(f"{where} lists no heads; at least one is needed.")
    for head in bundle.heads:
        labels = len(head.taxonomy.labels)
        if not (head.start >= 0 and head.stop - head.start == labels):
            raise BundleError(
                f"{where}: head {head.taxonomy.name} spans outputs {head.start} to {head.stop}, "
                f"but has {labels} labels."
            )
        if not 0 < head.temperature < math.inf:
            raise BundleError(
                f"{where}: head {head.taxonomy.name} has temperature {head.temperature}; "
                "it must be a number above 0."
            )
    spans = sorted((head.start, head.stop) for head in bundle.heads)
    if [start for start, _ in spans] + [bundle.num_classes] != [0] + [stop for _, stop in spans]:
        listed = ", ".join(f"{start} to {stop}" for start, stop in spans)
        raise BundleError(
            f"{where}: the heads span outputs {listed}; together they must cover the network's "
            f"{bundle.num_classes} outputs, each once."
        )
    crop = bundle.crop
    if crop.size < 1 or not -1 < crop.margin < math.inf:
        raise BundleError(
            f"{where}: crops of size {crop.size} with margin {crop.margin} cannot be cut; "
            "the size must be at least 1, the margin above -1."
        )
    channels = 1 if crop.grey else 3
    input_size = bundle.pretrained_cfg["input_size"]
    if not isinstance(input_size, list) or len(input_size) != 3 or input_size[0] != channels:
        raise BundleError(
            f"{where}: input_size {input_size} does not fit crops with {channels} channel(s)."
        )
    if config.get("label_names") != build_label_names(bundle.heads):
        raise BundleError(f"{where}: label_names do not match the heads.")
