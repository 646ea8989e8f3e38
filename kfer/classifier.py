"""Bundle -> calibrated probabilities."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from kfer.bundle import PREPROCESSING, Bundle
from kfer.errors import BundleError
from kfer.labels import Taxonomy
from kfer.predictions import Prediction

BATCH = 16
BRIGHT = 200  # grey level, of 255, that the brightest hundredth of a crop is brought to
MOST_GAIN = 4.0  # two stops; beyond that there is more noise than face


def build_transform(pretrained_cfg: Mapping[str, Any]) -> Callable[[Image.Image], Tensor]:
    """The one way from a crop to a tensor, for training's evaluation and for serving alike."""
    transform: Callable[[Image.Image], Tensor] = create_transform(
        **{key: pretrained_cfg[key] for key in PREPROCESSING}, is_training=False
    )
    return lambda crop: transform(brighten(crop))


def brighten(crop: Image.Image) -> Image.Image:
    """A dark crop as a camera would have exposed it; any other as it is.

    Faces that networks learn from are well lit: only in one of five of FER2013's is the brightest
    hundredth darker than ``BRIGHT``. Colours keep their proportions.
    """
    brightest = float(np.percentile(np.asarray(crop.convert("L")), 99))
    if brightest >= BRIGHT:
        return crop
    gain = min(BRIGHT / max(brightest, 1.0), MOST_GAIN)
    levels = [min(round(level * gain), 255) for level in range(256)]
    return crop.point(levels * len(crop.getbands()))


def load_network(bundle: Bundle) -> nn.Module:
    """The stored weights in full precision, in evaluation mode."""
    network: nn.Module = timm.create_model(f"local-dir:{bundle.folder}", pretrained=True)
    return network.float().eval().to(memory_format=torch.channels_last)


class Classifier:
    """A bundle's network, ready to read crops. Thread-safe: it holds no state between calls."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises BundleError when timm cannot build the network or the weights do not fit it."""
        self.bundle = bundle
        crop = Image.new("L" if bundle.crop.grey else "RGB", (bundle.crop.size,) * 2)
        try:
            self._transform = build_transform(bundle.pretrained_cfg)
            self._network = load_network(bundle)
            # One crop now, so that a description that does not fit fails here, not at a photo.
            self.compute_logits([crop])
        except Exception as error:  # timm and safetensors raise many types for bad files
            raise BundleError(
                f"{bundle.name}: the network cannot be built from config.json and "
                f"model.safetensors ({type(error).__name__}: {error})."
            ) from error

    def predict(
        self, crops: Sequence[Image.Image], taxonomy: Taxonomy | None = None
    ) -> list[Prediction]:
        """Read crops cut by ``bundle.crop``, in ``taxonomy`` or the bundle's default one.

        Raises TaxonomyError when no head of the bundle can answer in ``taxonomy``.
        """
        wanted = taxonomy or self.bundle.default_taxonomy
        head = self.bundle.get_head(wanted)
        mapping = self.bundle.get_mapping(wanted)
        predictions = []
        for start in range(0, len(crops), BATCH):
            logits = self.compute_logits(crops[start : start + BATCH])
            scaled = logits[:, head.start : head.stop].double() / head.temperature
            for row in scaled.softmax(dim=1).tolist():
                predictions.append(Prediction(head.taxonomy, tuple(row)).mapped(mapping))
        return predictions

    def compute_logits(self, crops: Sequence[Image.Image]) -> Tensor:
        """(crops, outputs) float32, uncalibrated."""
        images = torch.stack([self._transform(crop) for crop in crops])
        with torch.inference_mode():
            logits: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        return logits

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._network.parameters())
