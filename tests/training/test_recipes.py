"""Every recipe can be run: two steps on a few faces, then a bundle that is measured."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kfer.bundle import load_bundle
from tests.training.synthetic import build_faces
from training.config import RECIPES, load_recipe
from training.export import compute_logits, export_bundle
from training.history import Epoch
from training.loop import train

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))


def uniform(images: torch.Tensor) -> list[torch.Tensor]:
    """Teachers who do not know."""
    return [torch.full((len(images), classes), 1 / classes) for classes in (7, 8)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs_and_gives_a_bundle(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    config = replace(
        recipe, epochs=1, warmup_epochs=0, early_epochs=0, plain_epochs=0, batch_size=7,
        pretrained=False,  # the Hub is not asked here
    )  # fmt: skip
    epochs: list[Epoch] = []
    faces, validation = build_faces(2), build_faces(3, seed=1)
    best = train(
        config, faces, validation, tmp_path / "run", torch.device("cpu"), epochs.append,
        teachers=uniform if config.distillation else None,
    )  # fmt: skip
    assert 0 < epochs[0].loss < 20
    bundle = export_bundle(config, best, validation, tmp_path / "bundle")
    assert load_bundle(bundle.folder).heads == bundle.heads
    names = {spec.taxonomy.name for spec in config.head_specs}
    assert {head.taxonomy.name for head in bundle.heads} == names
    assert compute_logits(bundle, validation).shape == (21, config.head_specs[-1].stop)
