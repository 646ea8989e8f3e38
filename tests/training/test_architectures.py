"""The field's own networks: as large as they were described, trained and stored like any other."""

from pathlib import Path

import pytest
import timm
import torch

from training import architectures

# Trainable parameters with one grey channel and 7 classes. mini-Xception's is what its authors'
# Keras model counts; the others stand for the sizes of the files that the reference code publishes.
PARAMETERS = {
    "emotionnet": 4_742_222,
    "resemotionnet": 1_977_287,
    "face_resnet18": 11_171_271,
    "face_vgg19": 20_037_831,
    "face_vgg22_wide": 24_907_335,
    "face_vgg24_deep_wide": 53_231_687,
    "mini_xception": 56_951,
}


def test_these_are_all() -> None:
    assert set(architectures.default_cfgs) == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_has_its_size_and_reads_pictures_of_several(name: str) -> None:
    network = timm.create_model(name, num_classes=7, in_chans=1)
    assert sum(each.numel() for each in network.parameters()) == PARAMETERS[name]
    with torch.inference_mode():
        for size in (48, 64):
            assert network.eval()(torch.rand(2, 1, size, size)).shape == (2, 7)
        colour = timm.create_model(name, num_classes=5).eval()
        assert colour(torch.rand(1, 3, 48, 48)).shape == (1, 5)


def test_the_first_stage_of_a_face_resnet_keeps_every_pixel() -> None:
    network = timm.create_model("face_resnet18", num_classes=7, in_chans=1)
    shapes = []
    network.layer1.register_forward_hook(lambda *seen: shapes.append(seen[2].shape))
    network(torch.rand(2, 1, 48, 48))
    assert shapes == [(2, 64, 48, 48)]


@pytest.mark.parametrize("name", ["face_resnet18", "emotionnet", "resemotionnet", "mini_xception"])
def test_a_network_is_stored_and_loaded_as_timms_own(name: str, tmp_path: Path) -> None:
    network = timm.create_model(name, num_classes=7, in_chans=1).eval()
    timm.models.save_for_hf(
        network,
        str(tmp_path),
        model_args={"num_classes": 7, "in_chans": 1},
        safe_serialization=True,
    )
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    faces = torch.rand(3, 1, 48, 48)
    with torch.inference_mode():
        assert torch.equal(network(faces), loaded(faces))
