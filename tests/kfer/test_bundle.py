"""A real, tiny bundle is read as it was written; every damaged one is refused in clear words."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from kfer.bundle import (
    CONFIG,
    WEIGHTS,
    Bundle,
    Head,
    build_label_names,
    hash_file,
    load_bundle,
    save_bundle_config,
)
from kfer.classifier import Classifier
from kfer.errors import BundleError, TaxonomyError
from kfer.labels import TAXONOMIES, get_taxonomy
from tests.kfer.fakes import CROP, HEADS

Config = dict[str, Any]


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """One that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def read_config(folder: Path) -> Config:
    config: Config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config


def change_config(folder: Path, change: Callable[[Config], object]) -> None:
    config = read_config(folder)
    change(config)
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")


def test_a_bundle_is_read_as_it_was_written(tiny_bundle: Path) -> None:
    bundle = load_bundle(tiny_bundle)
    assert bundle.heads == HEADS
    assert bundle.crop == CROP
    assert bundle.num_classes == 15
    assert bundle.unsure_below is None
    assert bundle.default_taxonomy.name == "ferplus8"
    assert bundle.pretrained_cfg["input_size"] == [1, 32, 32]
    assert bundle.pretrained_cfg["mean"] == [0.5]
    assert read_config(tiny_bundle)["kfer"]["data"] == "none: random weights"


def test_plain_timm_builds_the_network_without_code_of_ours(tiny_bundle: Path) -> None:
    network = timm.create_model(f"local-dir:{tiny_bundle}", pretrained=True).eval()
    again = timm.create_model(f"local-dir:{tiny_bundle}", pretrained=True).eval()
    with torch.inference_mode():
        image = torch.linspace(-1, 1, 1024).view(1, 1, 32, 32)
        logits = network(image)
        assert logits.shape == (1, 15)
        assert torch.equal(logits, again(image))
    assert network.pretrained_cfg["label_names"][0] == "fer7:분노"


def test_a_bundle_is_named_by_its_folder_and_its_weights(tiny_bundle: Path) -> None:
    digest = hash_file(tiny_bundle / WEIGHTS)
    assert len(digest) == 64
    bundle = load_bundle(tiny_bundle)
    assert bundle.identity == f"tiny@{digest[:12]}"
    assert load_bundle(tiny_bundle, "owner/faces", "a" * 40).identity == f"owner/faces@{'a' * 40}"


def test_the_bundle_of_a_run_is_called_as_the_run(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "mine" / "bundle"))
    assert load_bundle(folder).name == "bundle"  # whatever is called so
    (folder.parent / "config.json").touch()
    assert load_bundle(folder).name == "mine"


def test_other_weights_are_another_revision(bundle_copy: Path) -> None:
    before = load_bundle(bundle_copy).revision
    data = bytearray((bundle_copy / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (bundle_copy / WEIGHTS).write_bytes(data)
    assert load_bundle(bundle_copy).revision != before


def test_label_names_stand_in_the_order_of_the_logits() -> None:
    names = build_label_names(HEADS)
    assert names[:7] == [f"fer7:{label}" for label in TAXONOMIES["fer7"].labels]
    assert names[7:] == [f"ferplus8:{label}" for label in TAXONOMIES["ferplus8"].labels]


def test_config_keeps_timms_part_and_readable_korean(bundle_copy: Path) -> None:
    before = read_config(bundle_copy)
    colder = (replace(HEADS[0], temperature=0.5), HEADS[1])
    save_bundle_config(bundle_copy, before, colder, CROP, {"unsure_below": 0.4})
    after = read_config(bundle_copy)
    assert {**after, "kfer": None} == {**before, "kfer": None}
    assert "fer7:분노" in (bundle_copy / CONFIG).read_text(encoding="utf-8")
    bundle = load_bundle(bundle_copy)
    assert bundle.heads == colder
    assert bundle.unsure_below == 0.4


@pytest.mark.parametrize(
    ("wanted", "answering"),
    [
        ("ferplus8", "ferplus8"),
        ("fer7", "fer7"),  # its own head, though ferplus8 comes first and could be mapped
        ("korean5", "ferplus8"),
        ("aihub7", "ferplus8"),
        ("openface6", "ferplus8"),
    ],
)
def test_the_head_of_the_taxonomy_itself_answers_before_one_that_is_mapped(
    wanted: str, answering: str, tiny_bundle: Path
) -> None:
    head = load_bundle(tiny_bundle).get_head(get_taxonomy(wanted))
    assert head.taxonomy.name == answering


def test_a_later_head_answers_where_the_first_cannot(tiny_bundle: Path) -> None:
    heads = (Head(get_taxonomy("korean5"), 0, 5, 1.0), Head(get_taxonomy("fer7"), 5, 12, 1.0))
    bundle = replace(load_bundle(tiny_bundle), heads=heads)
    assert bundle.get_head(get_taxonomy("openface6")).taxonomy.name == "fer7"


def test_a_taxonomy_that_no_head_can_answer_in_is_refused(tiny_bundle: Path) -> None:
    only = Head(get_taxonomy("korean5"), 0, 5, 1.0)
    bundle: Bundle = replace(load_bundle(tiny_bundle), heads=(only,))
    with pytest.raises(TaxonomyError, match="'korean5' cannot be shown as 'fer7'; choose one of"):
        bundle.get_head(get_taxonomy("fer7"))


def test_a_folder_that_does_not_exist_is_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a model folder: it has no config\.json.*download"):
        load_bundle(tmp_path / "none")


def test_a_folder_without_a_config_is_no_model_folder(bundle_copy: Path) -> None:
    (bundle_copy / CONFIG).unlink()
    with pytest.raises(BundleError, match=r"not a model folder: it has no config\.json"):
        load_bundle(bundle_copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe{}", "cannot be read as JSON"),
        (b"[]", "not in timm's layout: it names no architecture"),
        (b"3", "not in timm's layout"),
        (b"{}", "not in timm's layout"),
    ],
)
def test_a_config_that_is_no_description_is_refused(
    text: bytes, message: str, bundle_copy: Path
) -> None:
    (bundle_copy / CONFIG).write_bytes(text)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle_copy)


def test_a_plain_timm_model_is_not_ours(bundle_copy: Path) -> None:
    change_config(bundle_copy, lambda config: config.pop("kfer"))
    assert timm.create_model(f"local-dir:{bundle_copy}", pretrained=True).num_classes == 15
    with pytest.raises(BundleError, match=r"no 'kfer' part.*bundled model"):
        load_bundle(bundle_copy)


def set_head(index: int, **values: Any) -> Callable[[Config], object]:
    return lambda config: config["kfer"]["heads"][index].update(values)


def set_own(**values: Any) -> Callable[[Config], object]:
    return lambda config: config["kfer"].update(values)


def set_top(**values: Any) -> Callable[[Config], object]:
    return lambda config: config.update(values)


def drop(*path: str) -> Callable[[Config], object]:
    def change(config: Config) -> None:
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return change


CROP_JSON = {"margin": 0.1, "size": 24, "grey": True, "align": True}
SPANS = r"spans? outputs {}.*cover the network's {} outputs, each once"
FAULTS: list[tuple[str, Callable[[Config], object], str]] = [
    ("kfer is a list", set_top(kfer=[]), "no 'kfer' part"),
    ("no heads", set_own(heads=[]), "lists no heads; at least one"),
    ("heads are missing", drop("kfer", "heads"), "missing 'heads'"),
    ("heads are null", set_own(heads=None), "not a valid KFER model description"),
    ("heads are words", set_own(heads=["fer7"]), "not a valid KFER model description"),
    ("unknown taxonomy", set_head(0, taxonomy="fer9"), "no taxonomy 'fer9'; choose one of aihub7"),
    ("taxonomy is a list", set_head(0, taxonomy=[]), "not a valid KFER model description"),
    ("start is a word", set_head(0, start="x"), "not a valid KFER model description"),
    (
        "no temperature",
        lambda config: config["kfer"]["heads"][0].pop("temperature"),
        "missing 'temperature'",
    ),
    ("temperature 0", set_head(0, temperature=0), r"has temperature 0\.0; it must be a number"),
    ("temperature -1", set_head(1, temperature=-1), r"head fer7 has temperature -1\.0"),
    ("temperature NaN", set_head(0, temperature=float("nan")), "has temperature nan"),
    ("temperature infinite", set_head(0, temperature=float("inf")), "has temperature inf"),
    ("head too long", set_head(1, stop=8), "head fer7 spans outputs 0 to 8, but has 7 labels"),
    ("head before 0", set_head(1, start=-1, stop=6), "fer7 spans outputs -1 to 6"),
    ("heads overlap", set_head(0, start=5, stop=13), SPANS.format("0 to 7, 5 to 13", 15)),
    ("heads leave a gap", set_top(num_classes=16, model_args={}), SPANS.format("0 to 7", 16)),
    ("head past the end", set_head(0, start=8, stop=16), SPANS.format("0 to 7, 8 to 16", 15)),
    (
        "head twice",
        set_own(
            heads=[
                {**read_head, "temperature": 1.0}
                for read_head in ({"taxonomy": "fer7", "start": 0, "stop": 7},) * 2
            ]
        ),
        SPANS.format("0 to 7, 0 to 7", 15),
    ),
    (
        "fewer outputs",
        set_top(num_classes=14),
        "model_args build 15 outputs, but num_classes is 14",
    ),
    ("no num_classes", drop("num_classes"), "missing 'num_classes'"),
    ("model_args is a word", set_top(model_args="x"), "not a valid KFER model description"),
    ("no crop", drop("kfer", "crop"), "missing 'crop'"),
    ("crop without size", drop("kfer", "crop", "size"), "not a valid KFER model .*'size'"),
    ("crop with more", set_own(crop={**CROP_JSON, "blur": 1}), "not a valid KFER .*'blur'"),
    ("crop of size 0", set_own(crop={**CROP_JSON, "size": 0}), "crops of size 0 .*cannot be cut"),
    ("crop of a word", set_own(crop={**CROP_JSON, "size": "big"}), "not a valid KFER model"),
    ("negative margin", set_own(crop={**CROP_JSON, "margin": -2}), r"margin -2\.0 cannot be cut"),
    (
        "colour crops",
        set_own(crop={**CROP_JSON, "grey": False}),
        r"input_size \[1, 32, 32\] does not fit crops with 3 channel",
    ),
    (
        "input_size of colour",
        lambda config: config["pretrained_cfg"].update(input_size=[3, 32, 32]),
        r"input_size \[3, 32, 32\] does not fit crops with 1 channel",
    ),
    (
        "input_size a number",
        lambda config: config["pretrained_cfg"].update(input_size=32),
        "input_size 32 does not fit",
    ),
    ("no pretrained_cfg", drop("pretrained_cfg"), "missing 'pretrained_cfg'"),
    ("no input_size", drop("pretrained_cfg", "input_size"), "missing 'input_size'"),
    ("no mean", drop("pretrained_cfg", "mean"), "missing 'mean'"),
    ("no label_names", drop("label_names"), "label_names do not match the heads"),
    (
        "labels in another order",
        lambda config: config["label_names"].reverse(),
        "label_names do not match the heads",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"),
    [(change, message) for _, change, message in FAULTS],
    ids=[name for name, _, _ in FAULTS],
)
def test_a_description_with_a_fault_is_refused(
    change: Callable[[Config], object], message: str, bundle_copy: Path
) -> None:
    change_config(bundle_copy, change)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle_copy)


def test_a_bundle_without_weights_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / WEIGHTS).unlink()
    with pytest.raises(BundleError, match=r"has no model\.safetensors; download or copy"):
        load_bundle(bundle_copy)


class Bomb:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.pkl", "model.pickle"])
def test_pickled_weights_are_refused_and_never_opened(name: str, bundle_copy: Path) -> None:
    (bundle_copy / WEIGHTS).unlink()
    trace = bundle_copy / "unpickled"
    (bundle_copy / name).write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(BundleError, match=rf"only pickled weights \({name}\).*are refused"):
        load_bundle(bundle_copy)
    assert not trace.exists()


def test_a_pickle_beside_the_safetensors_is_left_alone(bundle_copy: Path) -> None:
    trace = bundle_copy / "unpickled"
    (bundle_copy / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(trace)))
    Classifier(load_bundle(bundle_copy))
    assert not trace.exists()


@pytest.mark.parametrize("size", [0, 5, 700_000])
def test_truncated_weights_are_refused_when_the_network_is_built(
    size: int, bundle_copy: Path
) -> None:
    data = (bundle_copy / WEIGHTS).read_bytes()
    (bundle_copy / WEIGHTS).write_bytes(data[:size])
    bundle = load_bundle(bundle_copy)
    with pytest.raises(BundleError, match=r"network cannot be built from config\.json and model\."):
        Classifier(bundle)


@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet_of_mine", ""])
def test_weights_of_another_architecture_are_refused_when_the_network_is_built(
    architecture: str, bundle_copy: Path
) -> None:
    change_config(bundle_copy, set_top(architecture=architecture))
    bundle = load_bundle(bundle_copy)
    with pytest.raises(BundleError, match="network cannot be built"):
        Classifier(bundle)
