"""Knowledge distillation (Hinton et al. 2015): trained bundles answer, a student learns from it.

A teacher may be the network's own predecessor (Furlanello et al. 2018, "Born Again Neural
Networks").
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from kfer.bundle import WEIGHTS, Bundle, Head, load_bundle
from kfer.classifier import Classifier, load_network
from kfer.errors import BundleError
from kfer.labels import Taxonomy
from training.config import HeadSpec
from training.errors import ConfigError, DataError
from training.network import find_classifier

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow makes grey of them (ITU-R 601)


def load_parent(folder: Path, flag: str) -> Bundle:
    """A bundle to learn from or to begin with; its network answers.

    Raises DataError, which names the flag and the folder.
    """
    try:
        bundle = load_bundle(folder)
        Classifier(bundle)  # reads a picture, so that damaged weights are found now
    except (BundleError, OSError) as error:
        raise DataError(f"{flag} {folder}: cannot be used: {error}") from error
    return bundle


class Teachers:
    """They see the very pictures that the student is shown, however turned, erased or mixed.

    But without what only spoils a picture (``TrainConfig.unspoilt``): the student is to answer to
    the spoilt one as they do to the good one. What they say of the training pictures themselves,
    which they know by heart, holds little of what they would say of new ones (Beyer et al. 2022,
    "Knowledge distillation: a good teacher is patient and consistent").
    """

    def __init__(
        self,
        bundles: Sequence[Bundle],
        taxonomies: Sequence[Taxonomy],
        device: torch.device,
        *,
        bf16: bool = True,
    ) -> None:
        """A bundle teaches those of the taxonomies that it has heads for.

        ``bf16``: as ``TrainConfig.bf16``. Raises ConfigError for one that has none of them, or a
        taxonomy that nobody teaches.
        """
        self._teachers = [_Teacher(bundle, taxonomies, device, bf16) for bundle in bundles]
        for index, taxonomy in enumerate(taxonomies):
            if not any(teacher.heads[index] for teacher in self._teachers):
                raise ConfigError(
                    f"--teacher: none has a head {taxonomy.name}, which the student has; name one "
                    "more that does."
                )

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Mean probabilities in every taxonomy, (n, classes), of (n, c, h, w) in 0-1.

        Uncalibrated, because temperatures are fitted on pictures that the teachers did not learn.
        """
        answers = zip(*(teacher.answer(images) for teacher in self._teachers), strict=True)
        known = [[answer for answer in each if answer is not None] for each in answers]
        return [torch.stack(each).mean(dim=0) for each in known]


class _Teacher:
    def __init__(
        self, bundle: Bundle, taxonomies: Sequence[Taxonomy], device: torch.device, bf16: bool
    ) -> None:
        self._bf16 = bf16
        self._luma = torch.tensor(LUMA, device=device).view(-1, 1, 1)
        self.heads = [_find_head(bundle, taxonomy) for taxonomy in taxonomies]
        if not any(self.heads):
            raise ConfigError(
                f"--teacher {bundle.name}: has the heads "
                f"{', '.join(head.taxonomy.name for head in bundle.heads)}, and its student has "
                f"{', '.join(taxonomy.name for taxonomy in taxonomies)}; it needs one of those."
            )
        self._network: nn.Module = load_network(bundle).to(device)
        self._shape: tuple[int, int, int] = tuple(bundle.pretrained_cfg["input_size"])
        self._mean, self._std = (
            torch.tensor(bundle.pretrained_cfg[key], device=device).view(-1, 1, 1)
            for key in ("mean", "std")
        )

    @torch.no_grad()
    def answer(self, images: Tensor) -> list[Tensor | None]:
        channels, *size = self._shape
        if list(images.shape[2:]) != size:
            images = interpolate(images, size=size, mode="bilinear", antialias=True)
        if channels < images.shape[1]:
            images = (images * self._luma).sum(dim=1, keepdim=True)
        shown = ((images - self._mean) / self._std).expand(-1, channels, -1, -1)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bf16):
            logits = self._network(shown.contiguous(memory_format=torch.channels_last))
        return [
            None if head is None else logits[:, head.start : head.stop].float().softmax(dim=1)
            for head in self.heads
        ]


def _find_head(bundle: Bundle, taxonomy: Taxonomy) -> Head | None:
    return next((head for head in bundle.heads if head.taxonomy == taxonomy), None)


def read_start(bundle: Bundle, specs: Sequence[HeadSpec]) -> dict[str, Tensor]:
    """A bundle's weights in full precision, to begin a run with.

    Without the classifier's, unless it answers the same labels in the same places.
    """
    weights = {
        name: value.float() if value.is_floating_point() else value
        for name, value in load_file(bundle.folder / WEIGHTS).items()
    }
    if {(head.taxonomy, head.start) for head in bundle.heads} == {
        (spec.taxonomy, spec.start) for spec in specs
    }:
        return weights
    layers = tuple(f"{name}." for name in find_classifier(load_network(bundle)))
    return {name: value for name, value in weights.items() if not name.startswith(layers)}
