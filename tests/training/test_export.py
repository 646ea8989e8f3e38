"""The weights of a run as a bundle: what is in it, and that it is whole or not there."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from kfer.bundle import CARD, CONFIG, WEIGHTS, Bundle, Head, build_label_names, load_bundle
from kfer.faces import CropSpec
from kfer.labels import get_taxonomy
from tests.training.synthetic import FER7, FERPLUS8, NETWORK, build_faces, relabel
from tests.training.synthetic import TRAINED as SETTINGS
from training import export
from training.calibrate import fit_temperature
from training.errors import CheckpointError, ConfigError, DataError, TrainingError
from training.export import EVALUATION, compute_logits, export_bundle, select
from training.face_set import transform_faces
from training.network import build_model, build_pretrained_cfg

VALIDATION = build_faces(5, seed=1)


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    """The bundle in a folder of its own, with a card and figures beside the weights."""
    folder = tmp_path / "models" / "small"
    shutil.copytree(bundle.folder, folder)
    (folder / CARD).write_text("card of the old weights")
    (folder / EVALUATION).write_text("{}")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def halve(weights: Path) -> torch.nn.Module:
    """The run's network with its weights rounded to fp16, as the bundle stores them."""
    network = build_model(SETTINGS)
    network.load_state_dict(torch.load(weights, weights_only=True)["model"])
    return network.half().float().eval()


LOAD_BY_TIMM = """
import sys, timm, torch
network = timm.create_model(f"local-dir:{sys.argv[1]}", pretrained=True).eval()
images = torch.load(sys.argv[2], weights_only=True)
with torch.inference_mode():
    torch.save(network(images), sys.argv[3])
print("kfer" in sys.modules, "training" in sys.modules)
"""


@pytest.mark.slow
def test_plain_timm_loads_the_bundle_and_computes_the_same(
    bundle: Bundle, trained_weights: Path, tmp_path: Path
) -> None:
    images = transform_faces(VALIDATION, build_pretrained_cfg(SETTINGS))
    files = [tmp_path / "images.pt", tmp_path / "logits.pt"]
    torch.save(images, files[0])
    result = subprocess.run(
        [sys.executable, "-c", LOAD_BY_TIMM, str(bundle.folder), *map(str, files)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["False", "False"]
    with torch.inference_mode():
        expected = halve(trained_weights)(images)
    found = torch.load(files[1], weights_only=True)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert compute_logits(bundle, VALIDATION) == pytest.approx(found.numpy(), abs=1e-4)


def test_the_weights_are_the_runs_in_half_precision(bundle: Bundle, trained_weights: Path) -> None:
    stored = load_file(bundle.folder / WEIGHTS)
    best = torch.load(trained_weights, weights_only=True)["model"]
    assert stored.keys() == best.keys()
    for name, tensor in stored.items():
        floating = tensor.is_floating_point()
        assert tensor.dtype == (torch.float16 if floating else best[name].dtype)
        assert torch.equal(tensor, best[name].half() if floating else best[name])


def test_heads_and_labels_are_those_of_the_network(bundle: Bundle) -> None:
    assert [(h.taxonomy.name, h.start, h.stop) for h in bundle.heads] == [
        ("ferplus8", 7, 15),
        ("fer7", 0, 7),
    ]
    names = read_config(bundle.folder)["label_names"]
    assert names == build_label_names(bundle.heads)
    assert names[:2] == ["fer7:분노", "fer7:혐오"]
    assert names[7:] == [f"ferplus8:{label}" for label in FERPLUS8.labels]
    assert bundle.crop == CropSpec(margin=-0.05, size=48, grey=True, align=True)


def test_temperatures_are_fitted_on_the_stored_weights_without_held_out_twins(
    bundle: Bundle, trained_weights: Path
) -> None:
    with torch.inference_mode():
        images = transform_faces(VALIDATION, build_pretrained_cfg(SETTINGS))
        logits = halve(trained_weights)(images).numpy()
    own = ~VALIDATION.twin_of_held_out
    clear = own & (VALIDATION.labels["ferplus8"].truths >= 0)
    assert 0 < clear.sum() < own.sum() < len(VALIDATION)
    ferplus8 = fit_temperature(logits[clear, 7:], VALIDATION.labels["ferplus8"].truths[clear])
    fer7 = fit_temperature(logits[own, :7], VALIDATION.labels["fer7"].truths[own])
    assert [head.temperature for head in bundle.heads] == pytest.approx([ferplus8, fer7], rel=1e-3)
    assert abs(ferplus8 - fer7) > 0.01
    assert bundle.unsure_below is not None
    assert 0 < bundle.unsure_below <= 1


def test_the_description_says_what_it_was_trained_with(bundle: Bundle) -> None:
    training = read_config(bundle.folder)["kfer"]["training"]
    assert training["settings"] == json.loads(SETTINGS.to_json())
    assert training["best_epoch"] in range(1, SETTINGS.epochs + 1)
    assert training["git_revision"] is None or len(training["git_revision"]) >= 40


def test_nothing_of_timms_own_weights_is_left_in_the_description(bundle: Bundle) -> None:
    config = read_config(bundle.folder)
    assert config["pretrained_cfg"] == {
        "input_size": [1, 32, 32],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": [0.5],
        "std": [0.25],
        "num_classes": 15,
        "first_conv": "conv1",
        "classifier": "fc",
        "fixed_input_size": False,
    }
    assert config["architecture"] == "resnet18"
    assert {key: config["model_args"][key] for key in NETWORK} == NETWORK
    text = (bundle.folder / CONFIG).read_text(encoding="utf-8")
    for foreign in ("in1k", "license", "arXiv", "huggingface", "tag"):
        assert foreign not in text
    assert timm.get_pretrained_cfg("resnet18").paper_ids  # which timm would have copied


def test_everybody_who_may_read_the_description_may_read_the_weights(bundle: Bundle) -> None:
    modes = [(bundle.folder / name).stat().st_mode & 0o777 for name in (CONFIG, WEIGHTS)]
    assert modes[0] == modes[1]


def test_a_bundle_that_is_already_right_keeps_its_card(
    copy: Path, trained_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_all(copy)
    monkeypatch.setattr(export, "_find_git_revision", lambda: "a later commit")
    export_bundle(SETTINGS, trained_weights, VALIDATION, copy)
    assert read_all(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == ["small"]


def test_a_card_goes_with_the_weights_that_it_describes(copy: Path, tmp_path: Path) -> None:
    weights = make_other_weights(tmp_path)
    written = export_bundle(SETTINGS, weights, VALIDATION, copy)
    assert sorted(path.name for path in copy.iterdir()) == [CONFIG, WEIGHTS]
    assert [path.name for path in copy.parent.iterdir()] == ["small"]
    best = torch.load(weights, weights_only=True)["model"]
    assert torch.equal(load_file(copy / WEIGHTS)["fc.weight"], best["fc.weight"].half())
    assert written == load_bundle(copy)


def make_other_weights(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    state = build_model(SETTINGS).state_dict()
    settings = json.loads(SETTINGS.to_json())
    torch.save({"config": settings, "epoch": 2, "model": state}, tmp_path / "other.pt")
    return tmp_path / "other.pt"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("owner", "function", "call"),
    [
        (Path, "rename", 1),  # the old folder is still in its place
        (Path, "rename", 2),  # it is away, and the new one not yet there
        (export, "save_bundle_config", 1),
        (export, "save_bundle_config", 2),  # temperatures are known, but not written
        (export, "compute_logits", 1),
    ],
)
def test_a_broken_off_export_leaves_the_old_bundle_whole(
    owner: Any,
    function: str,
    call: int,
    error: BaseException,
    copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights, before = make_other_weights(tmp_path), read_all(copy)
    original, calls = getattr(owner, function), []

    def broken(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == call:
            raise error
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, function, broken)
        expected = TrainingError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected) as caught:
            export_bundle(SETTINGS, weights, VALIDATION, copy)
    if isinstance(error, OSError):
        assert "No space left on device" in str(caught.value)
        assert f"--bundle {copy}: could not be written" in str(caught.value)
    assert read_all(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == ["small"]
    export_bundle(SETTINGS, weights, VALIDATION, copy)
    assert read_all(copy)[WEIGHTS] != before[WEIGHTS]


def test_a_full_disk_while_the_weights_are_written_is_said(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, before = make_other_weights(tmp_path), read_all(copy)
    error = export.SafetensorError("I/O error: No space left on device (os error 28)")

    def save(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(timm.models, "save_for_hf", save)
    with pytest.raises(TrainingError, match=r"--bundle .*No space left.*Free some space"):
        export_bundle(SETTINGS, weights, VALIDATION, copy)
    assert read_all(copy) == before


def test_an_export_killed_between_the_two_renames_is_mended_by_the_next(
    copy: Path, trained_weights: Path
) -> None:
    before = read_all(copy)
    copy.rename(copy.with_name(".small.old"))
    shutil.copytree(copy.with_name(".small.old"), copy.with_name(".small.new"))
    export_bundle(SETTINGS, trained_weights, VALIDATION, copy)
    assert read_all(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == ["small"]


def test_an_export_killed_after_the_renames_is_tidied_by_the_next(
    copy: Path, tmp_path: Path
) -> None:
    shutil.copytree(copy, copy.with_name(".small.old"))
    copy.with_name(".small.new").mkdir()
    (copy.with_name(".small.new") / "half-written").touch()
    export_bundle(SETTINGS, make_other_weights(tmp_path), VALIDATION, copy)
    assert sorted(path.name for path in copy.iterdir()) == [CONFIG, WEIGHTS]
    assert [path.name for path in copy.parent.iterdir()] == ["small"]


def test_a_folder_with_other_things_in_it_is_not_replaced(
    trained_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(ConfigError, match=r"--bundle .*belongs to no bundle \(thesis\.txt\)"):
        export_bundle(SETTINGS, trained_weights, VALIDATION, tmp_path)
    with pytest.raises(ConfigError, match=r"--bundle .*thesis\.txt: is a file; name a folder"):
        export_bundle(SETTINGS, trained_weights, VALIDATION, tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_weights_of_other_settings_are_refused(trained_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"other settings \(input_size was 32, is 48\)"):
        export_bundle(replace(SETTINGS, input_size=48), trained_weights, VALIDATION, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    weights = make_other_weights(tmp_path)
    state = torch.load(weights, weights_only=True)
    del state["model"]["fc.bias"]
    torch.save(state, weights)
    with pytest.raises(CheckpointError, match=r"other\.pt: its weights do not fit .*fc\.bias"):
        export_bundle(SETTINGS, weights, VALIDATION, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["other.pt"]


def test_each_head_is_measured_on_the_pictures_that_have_its_truth() -> None:
    logits = np.arange(35 * 15, dtype=np.float32).reshape(35, 15)
    scores, truth = select(logits, Head(FERPLUS8, 7, 15, 1.0), VALIDATION, held_out_twins=True)
    clear = VALIDATION.labels["ferplus8"].truths >= 0
    assert (scores == logits[clear][:, 7:15]).all()
    assert (truth == VALIDATION.labels["ferplus8"].truths[clear]).all()
    scores, truth = select(logits, Head(FER7, 0, 7, 1.0), VALIDATION)
    own = ~VALIDATION.twin_of_held_out
    assert (scores == logits[own][:, :7]).all()
    assert (truth == VALIDATION.labels["fer7"].truths[own]).all()


def test_a_head_that_the_data_cannot_judge_is_refused() -> None:
    logits = np.zeros((35, 15), dtype=np.float32)
    korean = Head(get_taxonomy("korean5"), 0, 5, 1.0)
    with pytest.raises(DataError, match="head korean5 cannot be fitted or measured"):
        select(logits, korean, VALIDATION)
    unclear = relabel(VALIDATION, "ferplus8", truths=np.full(35, -1))
    with pytest.raises(DataError, match=r"No validation picture has a label, .* for head ferp"):
        select(logits, Head(FERPLUS8, 7, 15, 1.0), unclear)
