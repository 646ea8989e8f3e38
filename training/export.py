"""The best weights of a run -> a bundle: fp16 weights, one temperature per head, threshold.

A bundle is written beside its place and checked there, then the folders change names: neither an
interrupt nor a full disk leaves new weights with an old description, or a card of other weights.
"""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import timm
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import nn

from kfer.bundle import (
    CARD,
    CONFIG,
    EXPLANATION,
    WEIGHTS,
    Bundle,
    Head,
    build_label_names,
    hash_file,
    load_bundle,
    save_bundle_config,
)
from kfer.classifier import Classifier
from kfer.faces import crop_whole
from kfer.files import UNFINISHED
from training.calibrate import choose_threshold, cross_fit, fit_temperature
from training.checkpoint import load_checkpoint
from training.config import TrainConfig
from training.errors import CheckpointError, ConfigError, DataError, TrainingError
from training.face_set import FaceSet
from training.files import check_folder
from training.network import build_model, build_pretrained_cfg, describe_error

EVALUATION = "evaluation.json"
FILES = (CONFIG, WEIGHTS, CARD, EVALUATION, EXPLANATION)  # all that a bundle of ours can hold

SURE_ACCURACY = 0.9  # what "sure" promises: right in nine of ten faces of the raters' test


def check_target(folder: Path, flag: str = "--bundle") -> None:
    """Raises ConfigError where a bundle would take the place of something else."""
    check_folder(folder, flag)
    left_over = {path.name for path in folder.glob(UNFINISHED)}
    foreign = sorted({path.name for path in folder.glob("*")} - set(FILES) - left_over)
    if foreign:
        raise ConfigError(
            f"{flag} {folder}: holds what belongs to no bundle ({', '.join(foreign[:5])}) and is "
            "not replaced; name a new folder or that of a bundle."
        )
    if any(folder.glob("*")) and not (folder / WEIGHTS).exists():
        raise ConfigError(
            f"{flag} {folder}: holds files but no bundle's {WEIGHTS} and is not replaced; name a "
            "new folder or that of a bundle."
        )


def export_bundle(
    config: TrainConfig,
    weights: Path,
    validation: FaceSet,
    folder: Path,
) -> Bundle:
    """Write the bundle of ``weights`` (best.pt of a run) to ``folder``, replacing what is there.

    Temperatures are fitted on ``validation`` with the stored fp16 weights. A bundle that is already
    right is left alone, with its card; otherwise the old card goes with the old weights.

    Raises:
        CheckpointError: the weights belong to another configuration or do not fit it.
        ConfigError: something other than a bundle stands at ``folder``.
        DataError: there is nothing to fit a temperature on.
        TrainingError: the bundle cannot be written.
    """
    folder = folder.resolve()
    check_target(folder)
    fresh, old = (folder.with_name(f".{folder.name}.{part}") for part in ("new", "old"))
    if old.is_dir() and not folder.exists():
        old.rename(folder)  # killed between the two renames of the last time
    for left_over in (fresh, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        _write_bundle(config, weights, validation, fresh)
        if not _is_same(fresh, folder):
            _swap(fresh, folder, old)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"--bundle {folder}: could not be written ({error}); what stood there still stands. "
            "Free some space or name another folder, and start the same command again."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return load_bundle(folder)


def _write_bundle(config: TrainConfig, weights: Path, validation: FaceSet, folder: Path) -> None:
    model, state = _load_network(config, weights)
    heads = build_heads(config)
    timm.models.save_for_hf(
        model.half(),
        str(folder),
        model_config={"label_names": build_label_names(heads)},
        model_args=dict(config.model_args),
        safe_serialization=True,
    )
    timm_config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    timm_config["pretrained_cfg"] = _describe_weights(model, config)
    # safetensors writes for the owner's eyes only; a server may run as somebody else.
    (folder / WEIGHTS).chmod((folder / CONFIG).stat().st_mode)
    notes: dict[str, Any] = {
        "training": {
            "data": validation.source,
            **(state.get("learned") or {}),  # what the run says itself of what it learned
            "calibrated_on": validation.hash_pixels(),
            "settings": dataclasses.asdict(config),
            "best_epoch": state["epoch"],
            "origin": state.get("origin"),  # the bundles that it learned from and began with
            "averaged": state.get("averaged"),  # the runs that it is the mean of, if so
            "git_revision": _find_git_revision(),
        }
    }
    save_bundle_config(folder, timm_config, heads, validation.crop, notes)
    logits = compute_logits(load_bundle(folder), validation)
    heads = tuple(
        dataclasses.replace(head, temperature=fit_temperature(*select(logits, head, validation)))
        for head in heads
    )
    scores, truth = select(logits, heads[0], validation)
    notes["unsure_below"] = choose_threshold(cross_fit(scores, truth), truth, SURE_ACCURACY)
    save_bundle_config(folder, timm_config, heads, validation.crop, notes)


def build_heads(config: TrainConfig) -> tuple[Head, ...]:
    """The bundle's heads, the default one first, at temperature 1."""
    return tuple(
        Head(spec.taxonomy, spec.start, spec.stop, 1.0) for spec in reversed(config.head_specs)
    )


def _load_network(config: TrainConfig, weights: Path) -> tuple[nn.Module, dict[str, Any]]:
    state = load_checkpoint(weights, config.to_dict())
    model = build_model(config)
    try:
        model.load_state_dict(state["model"])
        return model, state
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{weights}: its weights do not fit architecture {config.architecture!r} "
            f"({describe_error(error)})."
        ) from error


def _describe_weights(model: nn.Module, config: TrainConfig) -> dict[str, Any]:
    """What timm's ``pretrained_cfg`` says of ours.

    Built anew: timm would copy the licence, the paper and the test size of its own pretrained
    weights of that architecture, none of which are in here.
    """
    kept = ("first_conv", "classifier", "fixed_input_size")
    timms: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return {
        **build_pretrained_cfg(config),
        "num_classes": config.head_specs[-1].stop,
        **{key: timms.get(key) for key in kept if key in timms},
    }


def compute_logits(bundle: Bundle, faces: FaceSet) -> NDArray[np.float32]:
    """(faces, outputs) by the path that serves photos: PIL crop, transform, stored weights."""
    classifier = Classifier(bundle)
    chunks = [
        classifier.compute_logits(
            [crop_whole(Image.fromarray(face), bundle.crop) for face in chunk]
        ).numpy()
        for chunk in np.array_split(faces.pixels, max(len(faces) // 128, 1))
    ]
    return np.concatenate(chunks)


def select(
    logits: NDArray[np.float32], head: Head, faces: FaceSet, *, held_out_twins: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A head's logits and truths, of the pictures that have a truth in its taxonomy.

    Fitting leaves out pictures with a pixel-identical twin in FER2013's third split, so that
    nothing is chosen on what is measured there; reporting keeps them (``held_out_twins``).
    Raises DataError when no picture is left, or when the data know nothing of the taxonomy.
    """
    name = head.taxonomy.name
    if name not in faces.labels:
        raise DataError(
            f"--bundle: its head {name} cannot be fitted or measured on these pictures, whose "
            f"labels are in {', '.join(faces.labels)}."
        )
    truth = faces.labels[name].truths
    usable = truth >= 0
    if not held_out_twins:
        usable &= ~faces.twin_of_held_out
    if not usable.any():
        raise DataError(
            f"No validation picture has a label, or a clear plurality of votes, for head {name}."
        )
    return logits[usable, head.start : head.stop], truth[usable]


def _is_same(fresh: Path, folder: Path) -> bool:
    """Same weights and description; a later commit may have written the same bundle again."""
    try:
        described = [_read_description(place) for place in (fresh, folder)]
        hashes = [hash_file(place / WEIGHTS) for place in (fresh, folder)]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # there is no whole bundle
    return described[0] == described[1] and hashes[0] == hashes[1]


def _read_description(folder: Path) -> dict[str, Any]:
    """Without what says nothing of the network, or what older bundles do not say."""
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    del config["kfer"]["training"]["git_revision"]
    for key in ("calibrated_on", "excluded", "trained_on"):
        config["kfer"]["training"].pop(key, None)
    return config


def _swap(fresh: Path, folder: Path, old: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except BaseException:  # an interrupt too
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _find_git_revision() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
