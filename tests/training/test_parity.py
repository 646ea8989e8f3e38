"""Training, evaluation and the app look at the same pixels, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kfer.bundle import Bundle
from kfer.classifier import Classifier, build_transform
from kfer.faces import CropSpec, Face, crop_face, crop_whole
from tests.training.synthetic import CONFIG, PLAIN, build_faces
from training.augment import augment
from training.distributed import Draws
from training.export import compute_logits
from training.face_set import transform_faces
from training.network import MEAN, STD, build_pretrained_cfg
from training.sources.fer2013 import CROP

FACES = build_faces(1)


def draw_noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width), dtype=np.uint8)


def place(face: NDArray[np.uint8], left: int, top: int) -> tuple[Image.Image, Face]:
    """A photo with the picture in it, and the face whose crop by CROP is exactly that picture."""
    pixels = draw_noise(200, 300)
    pixels[top : top + 48, left : left + 48] = face
    # The margin is taken off a box that is larger than the picture.
    side = 48 / (1 + CROP.margin)
    x, y = left + 24 - side / 2, top + 24 - side / 2
    eyes = ((left + 16.0, top + 18.0), (left + 32.0, top + 18.0))
    mouth = ((left + 24.0, top + 28.0), (left + 18.0, top + 36.0), (left + 30.0, top + 36.0))
    photo = Image.fromarray(np.stack([pixels] * 3, axis=2))
    return photo, Face((x, y, side, side), 0.99, (*eyes, *mouth))


PICTURES = [*FACES.pixels, draw_noise(48, 48)]


@pytest.mark.parametrize(("left", "top"), [(0, 0), (101, 37), (252, 152)])
def test_the_apps_crop_of_a_fer2013_picture_is_that_picture(left: int, top: int) -> None:
    for picture in PICTURES:
        crop = crop_face(*place(picture, left, top), CROP)
        assert crop.mode == "L"
        assert (np.asarray(crop) == picture).all()


def test_a_crop_with_another_margin_is_another_picture() -> None:
    photo, face = place(PICTURES[-1], 101, 37)
    wider = CropSpec(margin=0.0, size=48, grey=True, align=True)
    assert (np.asarray(crop_face(photo, face, wider)) != PICTURES[-1]).any()


def test_a_fer2013_picture_read_whole_is_that_picture() -> None:
    for picture in PICTURES:
        grey = Image.fromarray(picture)
        for photo in (grey, grey.convert("RGB")):
            assert (np.asarray(crop_whole(photo, CROP)) == picture).all()


@pytest.mark.parametrize("size", [32, 48, 64, 80, 96])
def test_the_apps_tensor_is_the_one_that_training_evaluates_on(size: int) -> None:
    settings = build_pretrained_cfg(CONFIG) | {"input_size": (1, size, size)}
    # As it comes back from the bundle's JSON.
    stored = {key: list(v) if isinstance(v, tuple) else v for key, v in settings.items()}
    transform = build_transform(stored)
    trained_on = transform_faces(FACES, settings)
    assert trained_on.shape == (len(FACES), 1, size, size)
    for index, picture in enumerate(FACES.pixels):
        crop = crop_face(*place(picture, 101, 37), CROP)
        assert torch.equal(transform(crop), trained_on[index])


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The tensors that a classifier's network is fed."""
    tensors: list[Tensor] = []
    make: Callable[..., None] = Classifier.__init__

    def listen(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        tensors.append(inputs[0])

    def build(self: Classifier, bundle: Bundle) -> None:
        make(self, bundle)
        self._network.register_forward_pre_hook(listen)

    monkeypatch.setattr(Classifier, "__init__", build)
    return tensors


def test_the_network_is_fed_the_same_in_training_in_measuring_and_in_the_app(
    seen: list[Tensor], bundle: Bundle
) -> None:
    expected = transform_faces(FACES, build_pretrained_cfg(CONFIG))
    compute_logits(bundle, FACES)
    crops = [crop_face(*place(picture, 101, 37), bundle.crop) for picture in FACES.pixels]
    Classifier(bundle).predict(crops)
    measured, served = seen
    assert torch.equal(measured, expected)
    assert torch.equal(served, expected)


def test_an_unchanged_training_picture_is_the_evaluated_one_but_for_rounding() -> None:
    # Without any augmentation but the mirror; evaluation rounds to whole grey levels in between.
    config = replace(PLAIN, input_size=80)
    pixels = torch.from_numpy(FACES.pixels)[:, None].float() / 255
    trained = augment(pixels, config, Draws(torch.Generator().manual_seed(0)))
    evaluated = transform_faces(FACES, build_pretrained_cfg(config)) * STD + MEAN
    gaps = [(trained - view).abs().amax(dim=(1, 2, 3)) for view in (evaluated, evaluated.flip(3))]
    assert (torch.minimum(*gaps) < 1 / 255).all()
