"""Settings refuse nonsense, each by its name; recipes are the same settings in TOML."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from training.config import TrainConfig, build_config
from training.errors import ConfigError
from training.recipe import list_recipes, load_recipe

NEEDED: dict[str, Any] = {
    "architecture": "resnet18",
    "model_args": {"in_chans": 1, "num_classes": 15, "channels": [8, 16, 32, 64]},
    "input_size": 48,
    "epochs": 5,
}
TOML = """
architecture = "resnet18"
model_args = { in_chans = 1, num_classes = 15, channels = [8, 16, 32, 64] }
input_size = 48
epochs = 5
"""
NAN = float("nan")

REFUSED: list[tuple[str, Any, str]] = [
    *(
        (name, value, "from 1 to 1024")
        for name in ("input_size", "early_size")
        for value in (0, 1025)
    ),
    *(("batch_size", value, "at least 2") for value in (-3, 1)),
    ("epochs", 0, "at least 1"),
    *(("seed", value, "from 0 to 4294967295") for value in (-1, 2**32)),
    *(("learning_rate", value, "above 0") for value in (0, -1e-3, NAN)),
    *(
        (name, value, "0 or more")
        for name in ("weight_decay", "mixup", "rotation", "translate", "contrast", "noise")
        for value in (-0.1, NAN)
    ),
    *(
        (name, value, "from 0 to below 1")
        for name in ("ema_decay", "label_smoothing", "scale")
        for value in (-0.1, 1, 1.5, NAN)
    ),
    *((name, value, "from 0 to 1") for name in ("erasing", "blur") for value in (-0.1, 1.1, NAN)),
    *(("warmup_epochs", value, "below epochs") for value in (-1, 5, 6)),
]
WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("architecture", 18, "a text"),
    ("model_args", "in_chans", "a table"),
    ("model_args", [1], "a table"),
    ("input_size", 48.0, "a whole number"),
    ("input_size", "48", "a whole number"),
    ("epochs", True, "a whole number"),
    ("batch_size", None, "a whole number"),
    ("learning_rate", "fast", "a number"),
    ("rotation", False, "a number"),
    ("seed", 0.5, "a whole number"),
    ("mirror", 1, "true or false"),
    ("heads", "fer7:label", "a list"),
]


def test_defaults_fill_what_is_not_given() -> None:
    config = build_config(NEEDED, "here")
    assert {name: getattr(config, name) for name in NEEDED} == NEEDED
    assert config.batch_size == 128
    assert config.seed == 0


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_an_impossible_value_is_refused_with_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^here: {name} must be {allowed}, but got {value!r}"):
        build_config({**NEEDED, name: value}, "here")


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_the_dataclass_itself_refuses_too(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} must be {allowed}"):
        TrainConfig(**{**NEEDED, name: value})


@pytest.mark.parametrize(("name", "value", "kind"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused(name: str, value: Any, kind: str) -> None:
    told = f"here: {name} has the wrong type: it must be {kind}, but got {value!r}."
    with pytest.raises(ConfigError, match=re.escape(told)):
        build_config({**NEEDED, name: value}, "here")


@pytest.mark.parametrize("heads", [[1], [None], ["fer7"], ["fer7:faces"], ["moods:label"]])
def test_heads_that_are_none_are_refused(heads: list[Any]) -> None:
    with pytest.raises(ConfigError, match="heads: must be TAXONOMY:label or TAXONOMY:votes"):
        build_config({**NEEDED, "heads": heads}, "here")


def test_an_integer_does_for_a_number() -> None:
    assert build_config({**NEEDED, "rotation": 0, "mixup": 1}, "here").mixup == 1


def test_unknown_settings_are_named_with_those_that_are_known() -> None:
    with pytest.raises(
        ConfigError, match=r"here: unknown setting epoch, lr; allowed are architecture, model_args"
    ):
        build_config({**NEEDED, "lr": 1, "epoch": 2}, "here")


def test_missing_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"here: missing setting architecture, epochs\."):
        build_config({"model_args": {}, "input_size": 48}, "here")


def test_a_config_cannot_be_changed() -> None:
    config = build_config(NEEDED, "here")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 6  # type: ignore[misc]


def test_json_leads_back_to_the_same_config() -> None:
    config = build_config({**NEEDED, "seed": 7, "learning_rate": 1.5e-3}, "here")
    assert build_config(json.loads(config.to_json()), "json") == config
    assert json.loads(config.to_json())["model_args"] == NEEDED["model_args"]


def test_a_run_begins_small_and_ends_plain() -> None:
    config = TrainConfig(
        **NEEDED, early_epochs=2, early_size=32, plain_epochs=1, cutmix=1.0, jpeg=0.2, exposure=0.5
    )
    last = config.epochs - 1
    sizes = [config.at_epoch(epoch).input_size for epoch in range(config.epochs)]
    assert sizes == [32, 32] + [config.input_size] * (config.epochs - 2)
    assert config.at_epoch(last - 1) == config
    plain = config.at_epoch(last)
    assert (plain.mixup, plain.cutmix, plain.erasing, plain.blur, plain.jpeg, plain.noise) == (
        0,
    ) * 6
    kept = (config.rotation, config.contrast, config.exposure)
    assert (plain.rotation, plain.contrast, plain.exposure) == kept


@pytest.mark.parametrize("name", [recipe.name for recipe in list_recipes() if recipe.config])
def test_every_recipe_loads_by_its_name(name: str) -> None:
    config = load_recipe(name)
    assert build_config(json.loads(config.to_json()), "json") == config


def test_the_default_recipe_is_the_one_of_the_bundled_model() -> None:
    config = load_recipe("kfer-default")
    assert config.architecture == "resnet18"
    assert config.model_args["num_classes"] == 15  # 7 of FER2013, 8 of FER+
    assert config.model_args["in_chans"] == 1


def test_a_recipe_may_lie_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for encoding in ("utf-8", "utf-8-sig"):  # Windows' editor puts a mark in front
        path.write_text(TOML, encoding=encoding)
        assert load_recipe(str(path)) == build_config(NEEDED, "here")


@pytest.mark.parametrize("name", ["kfer-defautl", "nowhere/mine.toml"])
def test_a_recipe_that_does_not_exist_is_answered_with_the_choices(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"--recipe {name}: no such recipe; choose one of .*kfer-default"
    ):
        load_recipe(name)


def test_a_recipe_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs: 5", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.toml: not valid TOML"):
        load_recipe(str(path))


def test_a_recipes_fault_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML + "blur = 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"--recipe mine\.toml: blur must be from 0 to 1, but"):
        load_recipe(str(path))
