"""Every recipe can be run: two steps on a few faces, then a bundle that is measured."""

import json
import math
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from kfer.bundle import CARD, load_bundle
from tests.commands import ROOT, call
from tests.training.synthetic import NETWORK, build_faces, write_fer2013
from training import download, recipe
from training.cli import app
from training.config import TrainConfig
from training.errors import ConfigError
from training.export import compute_logits, export_bundle
from training.face_set import FaceSet, Labels
from training.history import Epoch
from training.loop import Teach, train
from training.network import build_model
from training.origin import read_training
from training.recipe import list_recipes, load_recipe, read_recipe
from training.sources.aihub import TSV_COLUMNS

RECIPES = list_recipes()
NETWORKS = [recipe.name for recipe in RECIPES if recipe.config]
STEPS = [
    pytest.param(step, id=f"{recipe.name}-{number}")
    for recipe in RECIPES
    if recipe.about
    for number, step in enumerate(recipe.about.steps, start=1)
]


def build_teachers(config: TrainConfig) -> Teach:
    """They do not know."""
    sizes = [spec.stop - spec.start for spec in config.head_specs]
    return lambda images: [torch.full((len(images), size), 1 / size) for size in sizes]


def build_faces_for(config: TrainConfig, seed: int) -> FaceSet:
    """Four faces, with the labels that its heads learn."""
    faces = build_faces(1, seed).chosen(np.arange(7) < 4)
    labels = {}
    for spec in config.head_specs:
        truths = np.arange(4) % len(spec.taxonomy.labels)
        targets = np.eye(len(spec.taxonomy.labels), dtype=np.float32)[truths]
        labels[spec.taxonomy.name] = Labels(targets, truths)
    pixels = faces.pixels
    if config.channels == 3:
        pixels = np.repeat(pixels[..., None], 3, axis=3)
    return replace(
        faces, pixels=pixels, labels=labels, twin_of_held_out=np.zeros(4, dtype=bool),
        crop=replace(faces.crop, grey=config.channels == 1),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_recipe_runs_and_gives_a_bundle(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    config = replace(
        recipe, epochs=1, warmup_epochs=0, early_epochs=0, plain_epochs=0, batch_size=2,
        input_size=min(recipe.input_size, 96),
        pretrained=False,  # the Hub is not asked here
        bf16=False,  # which some processors compute at a crawl
    )  # fmt: skip
    epochs: list[Epoch] = []
    faces, validation = (build_faces_for(config, seed) for seed in (0, 1))
    best = train(
        config, faces, validation, tmp_path / "run", torch.device("cpu"), epochs.append,
        teachers=build_teachers(config) if config.distillation else None,
        start=build_model(config).state_dict() if config.linear_probe else None,
    )  # fmt: skip
    assert 0 < epochs[0].loss < math.inf
    bundle = export_bundle(config, best, validation, tmp_path / "bundle")
    assert load_bundle(bundle.folder).heads == bundle.heads
    names = {spec.taxonomy.name for spec in config.head_specs}
    assert {head.taxonomy.name for head in bundle.heads} == names
    assert compute_logits(bundle, validation).shape == (4, config.head_specs[-1].stop)


@pytest.mark.parametrize("step", STEPS)
def test_the_steps_of_a_recipe_can_be_typed(step: str) -> None:
    command, *arguments = shlex.split(step)
    group = typer.main.get_command(app)
    found = group.commands[command]  # type: ignore[attr-defined]
    found.make_context(command, arguments)  # raises for a flag or a value that is unknown
    if "--recipe" in arguments:
        chosen = arguments[arguments.index("--recipe") + 1]
        assert read_recipe(chosen).config is not None


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES if recipe.about])
def test_every_system_names_what_to_compare_with(name: str) -> None:
    about = read_recipe(name).about
    assert about is not None
    assert "%" in about.figure or "none" in about.figure
    assert "{" not in "".join(about.steps)


@pytest.mark.parametrize(
    ("name", "mirror"),
    [
        *((name, False) for name in NETWORKS if name.startswith(("aihub", "facereview"))),
        *((name, False) for name in NETWORKS if name.startswith(("korean35k", "six"))),
        *((name, True) for name in NETWORKS if name.startswith(("fer-", "transfer", "kfer"))),
    ],
)
def test_pictures_are_mirrored_only_where_a_system_does_so(name: str, mirror: bool) -> None:
    assert load_recipe(name).mirror == mirror


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write_recipe(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_recipe


def test_the_guides_recipe_is_one(write: Callable[[str, str], Path]) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    config = load_recipe(str(write("mine", example)))
    assert config.head_specs[-1].stop == config.model_args["num_classes"]


def test_a_recipe_may_have_a_blank_in_its_name(write: Callable[[str, str], Path]) -> None:
    path = write("my own", 'extends = "fer-vgg19"\n')
    about = read_recipe(str(path)).about
    assert about is not None
    words = shlex.split(about.steps[0])
    assert words[words.index("--recipe") + 1] == str(path)
    assert words[words.index("--out") + 1] == "runs/my own"


def test_a_recipe_may_extend_another(write: Callable[[str, str], Path]) -> None:
    first = write("first", 'extends = "fer-vgg19"\nepochs = 3\nwarmup_epochs = 1\n')
    second = write("second", f'extends = "{first}"\nseed = 4\n')
    expected = replace(load_recipe("fer-vgg19"), epochs=3, warmup_epochs=1, seed=4)
    assert load_recipe(str(second)) == expected
    about = read_recipe(str(second)).about
    assert about is not None
    assert about.system == read_recipe("fer-vgg19").about.system  # type: ignore[union-attr]
    assert f"--recipe {second} " in about.steps[0]
    assert about.steps[0].endswith("--out runs/second")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "fer-vgg20"', "--recipe fer-vgg20: no such recipe; choose one of aihub-"),
        ('extends = "{self}"', "extends must name another recipe"),
        ("extends = 3", "extends must name another recipe, not 3"),
        ('[about]\nsystem = "x"', r"mine\.toml: \[about\] needs system and figure"),
        ('[about]\nsystem = 3\nfigure = "x"\nsteps = []', "which are texts"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_refused(
    text: str, message: str, write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path = write("mine", text.replace("{self}", str(tmp_path / "mine.toml")))
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(path))


def test_a_recipe_that_extends_one_with_steps_says_about_in_a_table(
    write: Callable[[str, str], Path],
) -> None:
    path = write("mine", 'extends = "fer-vgg19"\nabout = "x"\n')
    with pytest.raises(ConfigError, match=r"mine\.toml: \[about\] needs system and figure"):
        load_recipe(str(path))


def test_recipes_that_extend_each_other_are_refused(write: Callable[[str, str], Path]) -> None:
    first = write("first", "")
    second = write("second", f'extends = "{first}"')
    write("first", f'extends = "{second}"')
    with pytest.raises(ConfigError, match="extends must name another recipe"):
        load_recipe(str(first))


def test_a_system_that_is_no_network_says_how_it_is_run() -> None:
    with pytest.raises(ConfigError, match=r"no network to train; .* recipes six-action-units"):
        load_recipe("six-action-units")


def test_recipes_are_listed_and_shown(tmp_path: Path) -> None:
    listed = call("training", "recipes", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines() if line[0] != " "] == [
        recipe.name for recipe in RECIPES
    ]
    shown = call("training", "recipes", "aihub-vgg22-wide", cwd=tmp_path).stdout
    assert "79.181 %" in shown
    assert "python -m training train --recipe aihub-vgg22-wide --manifest parts.csv" in shown
    assert '"learning_rate": 0.1' in shown


@pytest.mark.parametrize(
    "command",
    [
        ("reproduce", "fer-vgg19"),
        ("evaluate", "--bundle", "b"),
        ("crossval", "--manifest", "f.csv", "--images", ".", "--recipe", "fer-vgg19", "--out", "o"),
    ],
)
def test_what_is_no_work_for_several_processes_is_refused(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    refused = call("training", *command, cwd=tmp_path, WORLD_SIZE="2", RANK="1", LOCAL_RANK="1")
    assert refused.returncode == 2
    assert f"{command[0]}: is no work for several processes; only `train`" in refused.stderr


DEAD = """
[about]
system = "a test"
figure = "none"
steps = [
    "download --input emotions.tsv --out photos --workers 1",
    "votes --layout tsv --input emotions.tsv --out labels.csv",
]
"""


def test_a_picture_that_is_gone_does_not_end_a_reproduction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RETRIES", download.RETRIES.new(backoff_factor=0))
    (tmp_path / "dead.toml").write_text(DEAD, encoding="utf-8")
    box = json.dumps({"boxes": [{"minX": 1, "minY": 1, "maxX": 9, "maxY": 9}]})
    gone = "http://127.0.0.1:9/a.jpg"  # nobody listens there
    cells = ["abcdef0123_기쁨_1.jpg", gone, *["기쁨"] * 3, *["실내"] * 3, *[box] * 3]
    header = "\t".join(TSV_COLUMNS)
    (tmp_path / "emotions.tsv").write_text(f"{header}\n" + "\t".join(cells) + "\n", "utf-8")
    done = call("training", "reproduce", "dead.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning: going on without the files that could not be fetched" in done.stderr
    assert "기쁨" in (tmp_path / "labels.csv").read_text("utf-8")


TINY = """
architecture = "resnet18"
model_args = { in_chans = 1, num_classes = 15, layers = [1, 1, 1, 1], channels = [16, 16, 32, 32] }
input_size = 32
epochs = 1
batch_size = 16
warmup_epochs = 0

[about]
system = "a test"
figure = "none"
steps = [
    "train --recipe tiny.toml --data fer2013 --votes votes.csv --out runs/tiny --device cpu",
    "evaluate --bundle runs/tiny/bundle --data fer2013 --votes votes.csv",
]
"""


@pytest.mark.slow
def test_one_command_runs_all_steps_and_again_what_is_left(tmp_path: Path) -> None:
    data = write_fer2013(tmp_path, {"train": 3, "test": 2})
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    shutil.move(data.votes, tmp_path / "elsewhere.csv")
    failed = call("training", "reproduce", "tiny.toml", cwd=tmp_path)
    assert failed.returncode == 1
    assert "[1/2] python -m training train" in failed.stdout
    assert "[2/2]" not in failed.stdout
    assert "votes.csv" in failed.stderr
    shutil.move(tmp_path / "elsewhere.csv", data.votes)
    for again in (False, True):
        done = call("training", "reproduce", "tiny.toml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("epoch   1" in done.stdout) is not again
        assert "[2/2] python -m training evaluate" in done.stdout
    assert (tmp_path / "runs" / "tiny" / "bundle" / CARD).exists()
    without = call("training", "reproduce", "kfer-lite", cwd=tmp_path)
    assert without.returncode == 2
    assert "kfer-lite: has no steps; `train --recipe kfer-lite`" in without.stderr


@pytest.mark.slow
def test_the_whole_way_to_the_bundled_model_can_be_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its generations, with a small network, one epoch each and no weights from the Hub."""

    def shrink(name: str) -> TrainConfig:
        return replace(
            load_recipe(name), architecture="resnet18", model_args=NETWORK, pretrained=False,
            input_size=32, batch_size=8, epochs=1, warmup_epochs=0, early_epochs=0, plain_epochs=0,
        )  # fmt: skip

    monkeypatch.setattr(recipe, "load_recipe", shrink)
    data = write_fer2013(tmp_path, {"train": 3, "test": 2})
    data.votes.rename(tmp_path / "ferplus_votes.csv")
    data.exclude.rename(tmp_path / "exclude_from_training.csv")
    photos = tmp_path / "survey" / "demo"
    photos.mkdir(parents=True)
    shutil.copy(ROOT / "kfer" / "examples" / "happiness.webp", photos)
    (photos / "manifest.csv").write_text("filename,label\nhappiness.webp,기쁨\n", encoding="utf-8")
    alone = ["--data", "fer2013", "--votes", "ferplus_votes.csv", "--out", "runs/alone"]
    refused = call("training", "train", "--recipe", "kfer-default", *alone, cwd=tmp_path)
    assert refused.returncode == 2
    assert "or run: python -m training reproduce kfer-default" in refused.stderr
    done = call("training", "reproduce", "kfer-default", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "runs" / "kfer-default" / "bundle" / CARD).read_text(encoding="utf-8")
    assert "FER2013, 7 classes (head `fer7`)" in card
    assert "1 photos of `demo`, from the detector on" in card
    told = read_training(load_bundle(tmp_path / "runs" / "kfer-default" / "bundle"))
    assert [part["share"] for part in told["averaged"]] == [0.75, 0.25]
    mean, last = told["averaged"]
    assert [part["share"] for part in mean["averaged"]] == [0.65, 0.35]
    assert [len(part["origin"]["teachers"]) for part in (*mean["averaged"], last)] == [1, 2, 1]
