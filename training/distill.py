"""Knowledge distillation (Hinton et al. 2015): what trained bundles see in the training pictures.

A teacher may be the network's own predecessor (Furlanello et al. 2018, "Born Again Neural
Networks"); its answers to a picture and to its mirror image are averaged, which no single pass of
the student could do.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.special import softmax
from torch import Tensor

from kfer.bundle import WEIGHTS, Bundle
from training.dataset import FER7, FERPLUS8, FaceSet
from training.errors import ConfigError
from training.export import compute_logits


def teach(bundles: Sequence[Bundle], faces: FaceSet) -> tuple[Tensor, Tensor]:
    """Mean probabilities of all teachers, (n, 7) in fer7 and (n, 8) in ferplus8.

    Uncalibrated, because temperatures are fitted on pictures that the teachers have not learned.
    Raises ConfigError for a bundle without one of the heads.
    """
    for bundle in bundles:
        missing = {FER7, FERPLUS8} - {head.taxonomy for head in bundle.heads}
        if missing:
            names = ", ".join(sorted(taxonomy.name for taxonomy in missing))
            raise ConfigError(
                f"--teacher {bundle.name}: has no head {names}; a teacher needs fer7 and ferplus8."
            )
    answers = [_answer(bundle, faces) for bundle in bundles]
    first, second = (np.mean([answer[at] for answer in answers], axis=0) for at in (0, 1))
    return torch.from_numpy(first), torch.from_numpy(second)


def read_start(bundle: Bundle) -> dict[str, Tensor]:
    """A bundle's weights in full precision, to begin a run with."""
    return {name: value.float() for name, value in load_file(bundle.folder / WEIGHTS).items()}


def _answer(bundle: Bundle, faces: FaceSet) -> list[NDArray[np.float32]]:
    plain, mirrored = (compute_logits(bundle, face_set) for face_set in (faces, faces.mirrored()))
    slices = {head.taxonomy: slice(head.start, head.stop) for head in bundle.heads}
    return [
        (softmax(plain[:, place], axis=1) + softmax(mirrored[:, place], axis=1)) / 2
        for place in (slices[FER7], slices[FERPLUS8])
    ]
