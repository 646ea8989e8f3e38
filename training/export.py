"""The best weights of a run -> a bundle: fp16 weights, one temperature per head, threshold."""

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

from kfer.bundle import (
    CONFIG,
    WEIGHTS,
    Bundle,
    Head,
    build_label_names,
    load_bundle,
    save_bundle_config,
)
from kfer.classifier import Classifier
from kfer.faces import CropSpec
from training.calibrate import choose_threshold, cross_fit, fit_temperature
from training.checkpoint import load_checkpoint
from training.config import TrainConfig
from training.dataset import FER7, FERPLUS8, FaceSet
from training.loop import build_model, build_pretrained_cfg

# FER2013's pictures are the network's only idea of a crop. MTCNN's box on 350 of them, enlarged,
# has a median height of 50.5 of their 48 px and sits at their centre: hence the negative margin.
CROP = CropSpec(margin=-0.05, size=48, grey=True, align=True)
SURE_ACCURACY = 0.9  # what "sure" promises: right in nine of ten faces of the raters' test
DEFAULT_HEAD = "ferplus8"


def export_bundle(config: TrainConfig, weights: Path, validation: FaceSet, folder: Path) -> Bundle:
    """Write the bundle of ``weights`` (best.pt of a run) to ``folder``, replacing what is there.

    Temperatures are fitted on ``validation`` with the stored fp16 weights.
    Raises CheckpointError when the weights belong to another configuration.
    """
    state = load_checkpoint(weights, json.loads(config.to_json()))
    model = build_model(config)
    model.load_state_dict(state["model"])
    fresh = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    heads: tuple[Head, ...] = (Head(FERPLUS8, 7, 15, 1.0), Head(FER7, 0, 7, 1.0))
    timm.models.save_for_hf(
        model.half(),
        str(fresh),
        model_config={"label_names": build_label_names(heads)},
        safe_serialization=True,
        data_config=build_pretrained_cfg(config),
    )
    timm_config = json.loads((fresh / CONFIG).read_text(encoding="utf-8"))
    for inherited in ("tag", "license", "origin_url", "paper_ids"):
        # timm copies these from its own pretrained weights, none of which are in here.
        timm_config["pretrained_cfg"].pop(inherited, None)
    notes: dict[str, Any] = {
        "training": {
            "data": "FER2013 training part with FER+ votes",
            "settings": dataclasses.asdict(config),
            "best_epoch": state["epoch"],
            "git_revision": _find_git_revision(),
        }
    }
    save_bundle_config(fresh, timm_config, heads, CROP, notes)
    logits = compute_logits(load_bundle(fresh), validation)
    heads = tuple(
        dataclasses.replace(head, temperature=fit_temperature(*select(logits, head, validation)))
        for head in heads
    )
    scores, truth = select(logits, heads[0], validation)
    notes["unsure_below"] = choose_threshold(cross_fit(scores, truth), truth, SURE_ACCURACY)
    save_bundle_config(fresh, timm_config, heads, CROP, notes)
    _replace_files(fresh, folder)
    return load_bundle(folder)


def compute_logits(bundle: Bundle, faces: FaceSet) -> NDArray[np.float32]:
    """(faces, outputs) by the path that serves photos: PIL crop, transform, stored weights."""
    classifier = Classifier(bundle)
    chunks = [
        classifier.compute_logits([Image.fromarray(face) for face in chunk]).numpy()
        for chunk in np.array_split(faces.pixels, max(len(faces) // 128, 1))
    ]
    return np.concatenate(chunks)


def select(
    logits: NDArray[np.float32], head: Head, faces: FaceSet, *, held_out_twins: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A head's logits and truths, of the pictures that have a truth in its taxonomy.

    Fitting leaves out pictures with a pixel-identical twin in FER2013's third split, so that
    nothing is chosen on what is measured there; reporting keeps them (``held_out_twins``).
    """
    truth = faces.fer7 if head.taxonomy == FER7 else faces.plurality
    usable = truth >= 0
    if not held_out_twins:
        usable &= ~faces.twin_of_held_out
    return logits[usable, head.start : head.stop], truth[usable]


def _replace_files(fresh: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CONFIG):
        (fresh / name).replace(folder / name)
    shutil.rmtree(fresh)


def _find_git_revision() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None
