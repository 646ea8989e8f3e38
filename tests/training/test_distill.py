"""What teachers say of the pictures they are shown, and what becomes of it in the targets."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from scipy.special import softmax
from torch import Tensor, nn

from kfer.bundle import CONFIG as BUNDLE_CONFIG
from kfer.bundle import WEIGHTS, Bundle, load_bundle
from tests.training.synthetic import CONFIG, FER7, FERPLUS8, PLAIN, TRAINED, build_faces
from training import distill
from training.config import TrainConfig
from training.distill import Teachers, load_parent, read_start
from training.errors import ConfigError, DataError
from training.export import compute_logits
from training.face_set import transform_faces
from training.loop import check_parents, train
from training.losses import blend, build_targets
from training.network import build_model, build_pretrained_cfg, predict_logits

CPU = torch.device("cpu")
TAXONOMIES = (FER7, FERPLUS8)


@pytest.fixture
def other(bundle: Bundle, tmp_path: Path) -> Bundle:
    """Another network, in colour and for larger pictures."""
    settings = replace(
        TRAINED,
        model_args={**TRAINED.model_args, "in_chans": 3},
        input_size=40,
    )
    network = build_model(settings)
    folder = tmp_path / "other"
    timm.models.save_for_hf(
        network, str(folder), model_args=dict(settings.model_args), safe_serialization=True
    )
    config = json.loads((bundle.folder / BUNDLE_CONFIG).read_text(encoding="utf-8"))
    config["model_args"]["in_chans"] = 3
    config["kfer"]["crop"]["grey"] = False
    config["pretrained_cfg"] |= {
        "input_size": [3, 40, 40],
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.4],
    }
    (folder / BUNDLE_CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return load_bundle(folder)


def test_teachers_answer_to_the_pictures_that_they_are_shown(bundle: Bundle, other: Bundle) -> None:
    faces = build_faces(1)
    images = torch.from_numpy(faces.pixels)[:, None] / 255
    taught = Teachers([bundle, other], TAXONOMIES, CPU)(images)
    first, second = (compute_logits(each, faces) for each in (bundle, other))
    for answer, head in zip(taught, (slice(0, 7), slice(7, 15)), strict=True):
        one, two = softmax(first[:, head], axis=1), softmax(second[:, head], axis=1)
        assert np.allclose(answer, (one + two) / 2, atol=0.02)  # bf16
        assert np.abs(one - two).max() > 0.1
        assert torch.allclose(answer.sum(dim=1), torch.ones(7), atol=1e-5)


def test_a_grey_teacher_sees_colours_as_bright_as_the_app_makes_them(bundle: Bundle) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 48, 48, 3), dtype=np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(face).convert("L")) for face in pixels])
    teachers = Teachers([bundle], TAXONOMIES, CPU, bf16=False)
    shown = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    for seen, meant in zip(
        teachers(shown), teachers(torch.from_numpy(grey)[:, None] / 255), strict=True
    ):
        assert torch.allclose(seen, meant, atol=0.01)  # Pillow rounds to whole grey levels


@pytest.mark.parametrize(("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_teachers_compute_as_the_recipe_says(
    bf16: bool, dtype: torch.dtype, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[torch.dtype] = []
    load = distill.load_network

    def listen(chosen: Bundle) -> nn.Module:
        network = load(chosen)
        network.register_forward_hook(lambda *seen: computed.append(seen[2].dtype))
        return network

    monkeypatch.setattr(distill, "load_network", listen)
    Teachers([bundle], TAXONOMIES, CPU, bf16=bf16)(torch.rand(2, 1, 48, 48))
    assert computed == [dtype]


def test_a_teacher_of_one_head_is_asked_for_that_alone(bundle: Bundle, other: Bundle) -> None:
    faces = build_faces(1)
    images = torch.from_numpy(faces.pixels)[:, None] / 255
    only = replace(other, heads=tuple(each for each in other.heads if each.taxonomy == FER7))
    fer7, ferplus8 = Teachers([bundle, only], TAXONOMIES, CPU)(images)
    assert torch.equal(fer7, Teachers([bundle, other], TAXONOMIES, CPU)(images)[0])
    assert torch.equal(ferplus8, Teachers([bundle], TAXONOMIES, CPU)(images)[1])


def test_every_head_needs_a_teacher_and_every_teacher_a_head(bundle: Bundle) -> None:
    only = replace(bundle, heads=bundle.heads[:1])
    with pytest.raises(ConfigError, match="none has a head fer7, which the student has"):
        Teachers([only], TAXONOMIES, CPU)
    with pytest.raises(
        ConfigError, match="has the heads ferplus8, and its student has fer7; it needs one"
    ):
        Teachers([bundle, only], (FER7,), CPU)


def test_targets_take_the_teachers_share() -> None:
    faces = build_faces(1)
    targets = build_targets(replace(CONFIG, label_smoothing=0.0), faces)
    even = torch.full((7, 7), 1 / 7), torch.full((7, 8), 1 / 8)
    hard, soft = blend(targets, even, 0.25)
    for row, label in enumerate(faces.labels["fer7"].truths):
        expected = np.full(7, 0.25 / 7)
        expected[label] += 0.75
        assert np.allclose(hard[row], expected)
    assert np.allclose(soft[1], 0.75 * faces.labels["ferplus8"].targets[1] + 0.25 / 8)
    # Every fifth picture has no votes: no teacher makes up for raters who saw no emotion.
    assert torch.equal(soft[0], torch.zeros(8))
    assert np.allclose(soft.sum(1), (faces.labels["ferplus8"].targets.sum(1) > 0).astype(float))


def test_teachers_see_what_the_student_sees_and_are_heeded(tmp_path: Path) -> None:
    """Teachers who always say 중립 make a student who does, whatever the labels say."""
    shapes: list[tuple[int, ...]] = []

    def teach(images: Tensor) -> tuple[Tensor, Tensor]:
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        shapes.append(tuple(images.shape))
        return torch.eye(7)[[6] * len(images)], torch.eye(8)[[6] * len(images)]

    settings = replace(TRAINED, distillation=1.0)
    faces, validation = build_faces(8), build_faces(5, seed=1)
    best = train(settings, faces, validation, tmp_path, CPU, lambda _: None, teachers=teach)
    assert shapes == [(8, 1, 32, 32)] * (7 * 3)
    student = build_model(settings)
    student.load_state_dict(torch.load(best, weights_only=True)["model"])
    shown = transform_faces(validation, build_pretrained_cfg(settings))
    assert (predict_logits(student, shown, CPU)[:, :7].argmax(dim=1) == 6).all()


def test_teachers_see_the_picture_before_it_is_spoilt(tmp_path: Path) -> None:
    """Turned, erased and mixed as the student's; bad light, JPEG, blur and noise are his alone."""
    spoiling = {"exposure": 1.0, "jpeg": 1.0, "blur": 0.5, "noise": 0.1}
    plain = replace(
        TRAINED, distillation=0.5, mixup=0.4, cutmix=0.4, rotation=15.0, erasing=0.4, contrast=0.3
    )

    def record(settings: TrainConfig, out: Path) -> tuple[list[Tensor], Tensor]:
        seen: list[Tensor] = []

        def teach(images: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(images.clone())
            return torch.eye(7)[[6] * len(images)], torch.eye(8)[[6] * len(images)]

        validation = build_faces(5, seed=1)
        best = train(settings, build_faces(8), validation, out, CPU, lambda _: None, teachers=teach)
        return seen, torch.load(best, weights_only=True)["model"]["fc.weight"]

    clear, without = record(plain, tmp_path / "plain")
    shown, student = record(replace(plain, **spoiling), tmp_path / "spoilt")
    assert all(torch.equal(*pair) for pair in zip(clear, shown, strict=True))
    assert not torch.equal(student, without)


@pytest.mark.parametrize("distillation", [0.0, 0.5])
def test_teachers_and_their_share_come_together(distillation: float) -> None:
    with pytest.raises(ConfigError, match="give both or neither"):
        check_parents(
            replace(CONFIG, distillation=distillation), taught=not distillation, started=False
        )


def test_a_run_starts_from_the_bundles_weights(bundle: Bundle, tmp_path: Path) -> None:
    still = replace(TRAINED, epochs=1, warmup_epochs=0, learning_rate=1e-12, ema_decay=0.0)
    faces, validation = build_faces(8), build_faces(5, seed=1)
    start = read_start(bundle, CONFIG.head_specs)
    best = train(still, faces, validation, tmp_path, CPU, lambda _: None, start=start)
    trained = torch.load(best, weights_only=True)["model"]
    for name, parameter in build_model(still).named_parameters():
        assert torch.allclose(trained[name], start[name], atol=1e-6), name
        assert parameter.dtype == start[name].dtype


def test_weights_of_another_network_are_no_start(bundle: Bundle, tmp_path: Path) -> None:
    wider = replace(PLAIN, model_args={**PLAIN.model_args, "channels": [16, 16, 32, 64]})
    with pytest.raises(ConfigError, match=r"--start: its weights do not fit architecture"):
        train(
            wider, build_faces(8), build_faces(5, seed=1), tmp_path / "run", CPU, print,
            start=read_start(bundle, CONFIG.head_specs),
        )  # fmt: skip


FAULTS = {
    "no folder": r"is not a model folder: it has no config\.json.* download a model of the Hugging",
    "a file": r"cannot be read as JSON \(Not a directory\)",
    "no weights": r"has no model\.safetensors; download or copy the folder again",
    "a folder as weights": r"has no model\.safetensors",
    "truncated weights": r"the network cannot be built .*SafetensorError",
    "empty weights": r"the network cannot be built .*SafetensorError",
    "text as weights": r"the network cannot be built .*SafetensorError",
    "weights of another network": r"the network cannot be built .*RuntimeError",
    "text as config": r"cannot be read as JSON",
    "another tool's config": r"has no 'kfer' part, so it is not a KFER model",
    "unknown architecture": r"the network cannot be built .*no-such-network",
}


@pytest.mark.parametrize("flag", ["--teacher", "--start"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_bundle_that_cannot_be_used_is_named_with_its_flag(
    fault: str, flag: str, bundle: Bundle, tmp_path: Path
) -> None:
    folder = shutil.copytree(bundle.folder, tmp_path / "broken")
    weights, config = folder / WEIGHTS, folder / BUNDLE_CONFIG
    settings = json.loads(config.read_text(encoding="utf-8"))
    if fault == "no folder":
        folder = tmp_path / "nowhere"
    elif fault == "a file":
        folder = config
    elif fault.endswith("weights") and fault.split()[0] in ("no", "a"):
        weights.unlink()
        if fault.startswith("a "):
            weights.mkdir()
    elif fault == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "empty weights":
        weights.write_bytes(b"")
    elif fault == "text as weights":
        weights.write_text("no tensors")
    elif fault == "weights of another network":
        settings["model_args"]["channels"] = [16, 16, 32, 64]
        config.write_text(json.dumps(settings), encoding="utf-8")
    elif fault == "text as config":
        config.write_text("no JSON")
    elif fault == "another tool's config":
        del settings["kfer"]
        config.write_text(json.dumps(settings), encoding="utf-8")
    else:
        settings["architecture"] = "no-such-network"
        config.write_text(json.dumps(settings), encoding="utf-8")
    said = rf"(?s)^{flag} {re.escape(str(folder))}: cannot be used: .*{FAULTS[fault]}"
    with pytest.raises(DataError, match=said):
        load_parent(folder, flag)


def test_a_whole_bundle_is_loaded(bundle: Bundle) -> None:
    assert load_parent(bundle.folder, "--teacher").revision == bundle.revision
