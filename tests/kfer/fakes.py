"""Stand-ins: a detector that finds what it is told, and a tiny but real bundle."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from kfer.bundle import CONFIG, Head, build_label_names, save_bundle_config
from kfer.faces import CropSpec, Face
from kfer.labels import get_taxonomy

HEADS = (Head(get_taxonomy("ferplus8"), 7, 15, 0.8), Head(get_taxonomy("fer7"), 0, 7, 1.5))
CROP = CropSpec(margin=0.1, size=24, grey=True, align=True)
PREPROCESSING: dict[str, Any] = {
    "input_size": (1, 32, 32),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "crop_mode": "squash",
    "mean": (0.5,),
    "std": (0.25,),
}


class FakeDetector:
    """Finds the faces it was given, and remembers the sizes of the images that it saw."""

    def __init__(self, faces: Sequence[Face] = ()) -> None:
        self.faces = list(faces)
        self.sizes: list[tuple[int, int]] = []

    def detect(self, image: Image.Image) -> list[Face]:
        self.sizes.append(image.size)
        return self.faces


def build_tiny_bundle(folder: Path, heads: tuple[Head, ...] = HEADS) -> Path:
    """timm's smallest ResNet with random weights."""
    model_args = {"in_chans": 1, "num_classes": max(head.stop for head in heads)}
    torch.manual_seed(20)
    network = timm.create_model("test_resnet", pretrained=False, **model_args)
    with torch.no_grad():  # larger weights, so that faces do not all read alike
        network.get_classifier().weight.mul_(30)
    save_for_hf(
        network,
        str(folder),
        model_config={"pretrained_cfg": PREPROCESSING, "label_names": build_label_names(heads)},
        model_args=model_args,
        safe_serialization=True,
    )
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    save_bundle_config(folder, config, heads, CROP, {"data": "none: random weights"})
    return folder
