"""Faces in memory: pixels, and by label set what is learned and what is measured by."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kfer.classifier import build_transform
from kfer.faces import CropSpec
from training.errors import DataError


@dataclass(frozen=True)
class Labels:
    """What one label set says of n faces.

    ``targets`` (n, classes) are distributions to learn, rows of zeros where there is none;
    ``truths`` (n,) are class indices to be measured by, -1 where there is none.
    """

    targets: NDArray[np.float32]
    truths: NDArray[np.int64]

    def chosen(self, mask: NDArray[np.bool_]) -> "Labels":
        return Labels(self.targets[mask], self.truths[mask])


@dataclass(frozen=True)
class FaceSet:
    """Faces of one part of a manifest, all in memory.

    ``persons`` are "" where nobody knows who it is. ``pixels`` are (n, h, w), or (n, h, w, 3) with
    colour; ``labels`` stand by taxonomy. ``crop`` is how the faces were cut out, ``source`` says in
    words what data set they are of.
    """

    paths: list[str]
    persons: list[str]
    pixels: NDArray[np.uint8]
    labels: dict[str, Labels]
    twin_of_held_out: NDArray[np.bool_]
    crop: CropSpec
    source: str

    def __len__(self) -> int:
        return len(self.paths)

    def chosen(self, mask: NDArray[np.bool_]) -> "FaceSet":
        return replace(
            self,
            paths=list(compress(self.paths, mask)),
            persons=list(compress(self.persons, mask)),
            pixels=self.pixels[mask],
            labels={name: labels.chosen(mask) for name, labels in self.labels.items()},
            twin_of_held_out=self.twin_of_held_out[mask],
        )

    def list_digests(self) -> list[bytes]:
        """Of each picture."""
        faces = np.ascontiguousarray(self.pixels)
        return [hashlib.sha256(face.data).digest() for face in faces]

    def hash_pixels(self) -> str:
        """Of all pictures, in whatever order."""
        return hashlib.sha256(b"".join(sorted(self.list_digests()))).hexdigest()

    def mirrored(self) -> "FaceSet":
        return replace(self, pixels=np.ascontiguousarray(self.pixels[:, :, ::-1]))


def check_distinct(parts: Sequence[FaceSet]) -> None:
    """Whatever the manifest knows of its pictures: none may be in two parts. Raises DataError."""
    seen: dict[bytes, str] = {}
    for faces in parts:
        own = dict(zip(faces.list_digests(), faces.paths, strict=True))
        if both := seen.keys() & own.keys():
            first = min(both, key=lambda digest: own[digest])
            raise DataError(
                f"--manifest: {seen[first]} and {own[first]} are the same picture in different "
                f"parts, as are {len(both) - 1} others; leave copies out by --exclude, or deal the "
                "parts anew by `training split`."
            )
        seen |= own


def iterate_batches(
    n: int, batch_size: int, generator: torch.Generator, odds: Tensor | None = None
) -> Iterator[Tensor]:
    """Shuffled indices of full batches; what is left over comes up in another epoch's shuffle.

    With ``odds`` (n,) they are drawn with replacement.
    """
    if odds is None:
        order = torch.randperm(n, generator=generator)
    else:
        order = torch.multinomial(odds, n, replacement=True, generator=generator)
    for start in range(0, n - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """(n, h, w) or (n, h, w, 3) -> (n, channels, h, w) bytes."""
    tensor = torch.from_numpy(pixels)
    return tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()


def place(pixels: Tensor, device: torch.device) -> Tensor:
    """On the device, unless they take more than half of a GPU's free memory."""
    if device.type == "cuda" and 2 * pixels.nbytes > torch.cuda.mem_get_info(device)[0]:
        return pixels
    return pixels.to(device)


def transform_faces(faces: FaceSet, pretrained_cfg: Mapping[str, Any]) -> Tensor:
    """(n, channels, size, size) normalised floats, made by the transform that the app uses."""
    transform = build_transform(pretrained_cfg)
    images = torch.empty(len(faces), *pretrained_cfg["input_size"])
    for image, face in zip(images, faces.pixels, strict=True):
        image.copy_(transform(Image.fromarray(face)))
    return images
