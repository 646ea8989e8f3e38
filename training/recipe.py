"""Recipes: TOML files of settings, each a system of this field and the figure to compare with."""

import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import TrainConfig, build_config
from training.errors import ConfigError

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class About:
    """Whose system a recipe is: ``figure`` is what to compare with, ``steps`` how to come by it.

    Steps are arguments of ``python -m training``, in order.
    """

    system: str
    figure: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """One TOML file; ``config`` is None for a system that is no network."""

    name: str
    about: About | None
    config: TrainConfig | None


def list_recipes() -> list[Recipe]:
    return [read_recipe(path.stem) for path in sorted(RECIPES.glob("*.toml"))]


def load_recipe(name_or_path: str) -> TrainConfig:
    """Raises ConfigError, also for a system that is no network."""
    recipe = read_recipe(name_or_path)
    if recipe.config is None:
        raise ConfigError(
            f"--recipe {recipe.name}: is no network to train; "
            f"`python -m training recipes {recipe.name}` shows its steps."
        )
    return recipe.config


def read_recipe(name_or_path: str) -> Recipe:
    """A recipe by its name in ``training/recipes``, or any TOML file by its path.

    Raises ConfigError.
    """
    path = _find(name_or_path)
    settings = _extend(path)
    source = f"--recipe {path.name}"
    about = _read_about(settings.pop("about", None), path, source)
    config = build_config(settings, source) if settings or about is None else None
    return Recipe(path.stem, about, config)


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path)
    return path if path.suffix == ".toml" else RECIPES / f"{name_or_path}.toml"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise ConfigError(
            f"--recipe {path.stem if path.parent == RECIPES else path}: no such recipe; choose one "
            f"of {names}, or a .toml file."
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--recipe {path}: not valid TOML: {error}.") from None
    except OSError as error:
        raise ConfigError(f"--recipe {path}: cannot be read ({error.strerror}).") from None


def _extend(path: Path, *seen: Path) -> dict[str, Any]:
    """What a recipe says, and what it does not say itself from the one that it ``extends``."""
    settings = _read_toml(path)
    base = settings.pop("extends", None)
    if base is None:
        return settings
    if not isinstance(base, str) or _find(base) in (path, *seen):
        raise ConfigError(f"--recipe {path.name}: extends must name another recipe, not {base!r}.")
    other = _extend(_find(base), path, *seen)
    if not isinstance(settings.get("about", {}), dict):
        return settings  # to be refused by name
    return {**other, **settings, "about": {**other.get("about", {}), **settings.get("about", {})}}


def _read_about(table: Any, path: Path, source: str) -> About | None:
    if not table:
        return None
    try:
        texts = [table["system"], table["figure"], *table["steps"]]
        recipe = shlex.quote(path.stem if path.parent == RECIPES else str(path))
        name = shlex.quote(path.stem)
        system, figure, *steps = (
            text.replace("{name}", name).replace("{recipe}", recipe) for text in texts
        )
    except (AttributeError, KeyError, TypeError):
        raise ConfigError(
            f"{source}: [about] needs system and figure, which are texts, and steps, a list of "
            "texts."
        ) from None
    return About(system, figure, tuple(steps))
