"""The law of imports, read from the modules' own text, and the ratchets on size.

app > kfer, survey; training > kfer; survey > kfer's light side; kfer > nothing of ours.
Imports inside functions and by ``importlib.import_module`` count like all others.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("kfer", "survey", "training")
OURS = ("app", *PACKAGES)
LIGHT_SIDE = tuple(
    f"kfer.{name}" for name in ("labels", "photos", "metrics", "errors", "files", "version")
)
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80

# Importer -> what of ours it may import; the first line that fits the importer holds.
ALLOWED_OURS: list[tuple[str, tuple[str, ...]]] = [
    (r"app", ("kfer", "survey")),
    (r"kfer(\..+)?", ("kfer",)),
    (r"survey\.cli", ("survey", *LIGHT_SIDE, "kfer.faces", "kfer.recognizer")),
    (r"survey(\..+)?", ("survey", *LIGHT_SIDE)),
    (r"training(\..+)?", ("training", "kfer")),
]

CLASSIFIER_SIDE = r"kfer\.classifier|kfer\.faces(_\w+|\..+)?|training(\..+)?"
# Library -> who may import it.
ALLOWED_IMPORTERS: dict[str, str] = {
    "gradio": r"app|(kfer|survey)\.ui(_\w+|\..+)?",
    "sqlalchemy": r"survey(\..+)?",
    "torch": CLASSIFIER_SIDE,
    "torchvision": CLASSIFIER_SIDE,
    "timm": CLASSIFIER_SIDE,
    "facenet_pytorch": r"kfer\.faces(_\w+|\..+)?",
}


def find_modules(root: Path) -> list[Path]:
    """The app and every module of our packages, relative to the root."""
    candidates = [
        root / "app.py",
        *(path for name in PACKAGES for path in root.glob(f"{name}/**/*.py")),
    ]
    return sorted(path.relative_to(root) for path in candidates if path.is_file())


def name_module(path: Path) -> str:
    """kfer/faces/mtcnn.py -> kfer.faces.mtcnn; kfer/__init__.py -> kfer."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports(root: Path, path: Path) -> Iterator[str]:
    """Every dotted name that the module imports, wherever in it."""
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_base(path, node)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if is_module(root, name) else base
        elif isinstance(node, ast.Call):
            yield from read_dynamic_import(node)


def resolve_base(path: Path, node: ast.ImportFrom) -> str:
    """The module after ``from``, with leading dots counted from the importer's package."""
    package = path.parent.parts
    kept = package[: len(package) - node.level + 1] if node.level else ()
    return ".".join([*kept, *([node.module] if node.module else [])])


def is_module(root: Path, name: str) -> bool:
    place = root.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or place.is_dir()


def read_dynamic_import(call: ast.Call) -> Iterator[str]:
    called = ast.unparse(call.func).rpartition(".")[2]
    if called not in ("import_module", "__import__"):
        return
    for argument in call.args[:1]:
        # A name that is only known at run time could be anything: no way round the law.
        yield ast.literal_eval(argument) if isinstance(argument, ast.Constant) else "?"


def find_violations(root: Path, path: Path) -> list[str]:
    importer = name_module(path)
    return [
        f"{importer} imports {imported}"
        for imported in read_imports(root, path)
        if not is_lawful(importer, imported)
    ]


def is_lawful(importer: str, imported: str) -> bool:
    library = imported.partition(".")[0]
    if imported == "?":
        return False
    if library in OURS:
        allowed = next(names for who, names in ALLOWED_OURS if re.fullmatch(who, importer))
        return any(imported == name or imported.startswith(f"{name}.") for name in allowed)
    importers = ALLOWED_IMPORTERS.get(library)
    return importers is None or re.fullmatch(importers, importer) is not None


def find_long_functions(source: str, limit: int) -> list[str]:
    return [
        f"{node.name}: {lines} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > limit
    ]


MODULES = find_modules(ROOT)
SOURCES = sorted([*MODULES, *(path.relative_to(ROOT) for path in ROOT.glob("tests/**/*.py"))])


def test_every_module_is_seen() -> None:
    assert {Path("kfer/__init__.py"), Path("training/__init__.py")} <= set(MODULES)
    assert {path.name for path in ROOT.glob("*.py")} <= {"app.py"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_module_keeps_the_law(path: Path) -> None:
    assert find_violations(ROOT, path) == []


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_file_and_functions_stay_short(path: Path) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    lines = source.count("\n")
    assert lines <= MAX_FILE_LINES
    if "versions" not in path.parts:  # a migration is one list of steps
        assert find_long_functions(source, MAX_FUNCTION_LINES) == []


@pytest.fixture
def write_module(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a module into a small house of its own; returns its relative path."""

    def write(path: str, source: str) -> Path:
        for name in (path, "kfer/labels.py", "kfer/pipeline.py", "kfer/recognizer.py"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / path).write_text(source, encoding="utf-8")
        return Path(path)

    return write


@pytest.mark.parametrize(
    ("path", "source", "violation"),
    [
        ("kfer/photos.py", "import survey.store", "kfer.photos imports survey.store"),
        ("kfer/photos.py", "import app", "kfer.photos imports app"),
        ("kfer/photos.py", "def f():\n    import torch.nn", "kfer.photos imports torch.nn"),
        ("kfer/cli.py", "import gradio as gr", "kfer.cli imports gradio"),
        ("kfer/uis.py", "import gradio as gr", "kfer.uis imports gradio"),
        ("kfer/hub.py", "from timm import create_model", "kfer.hub imports timm"),
        ("kfer/labels.py", "from sqlalchemy import Table", "kfer.labels imports sqlalchemy"),
        ("survey/store.py", "from kfer import pipeline", "survey.store imports kfer.pipeline"),
        ("survey/store.py", "from kfer import labels, x", "survey.store imports kfer"),
        ("survey/ui.py", "from training.votes import x", "survey.ui imports training.votes"),
        ("survey/cli.py", "from kfer.classifier import x", "survey.cli imports kfer.classifier"),
        ("training/loop.py", "from survey import store", "training.loop imports survey"),
        ("training/crop.py", "import facenet_pytorch", "training.crop imports facenet_pytorch"),
        ("training/ui.py", "import gradio", "training.ui imports gradio"),
        ("app.py", "import training", "app imports training"),
        ("app.py", "import torch", "app imports torch"),
        ("kfer/cli.py", "import_module('training.cli')", "kfer.cli imports training.cli"),
        ("kfer/cli.py", "importlib.import_module(name)", "kfer.cli imports ?"),
    ],
)  # fmt: skip
def test_breach_is_caught(
    tmp_path: Path,
    write_module: Callable[[str, str], Path],
    path: str,
    source: str,
    violation: str,
) -> None:
    assert find_violations(tmp_path, write_module(path, source)) == [violation]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("app.py", "import gradio\nimport kfer.ui\nfrom survey import ui"),
        ("kfer/ui_cards.py", "import gradio"),
        ("kfer/ui/cards.py", "import gradio\nfrom ..labels import COLORS"),
        ("kfer/faces/mtcnn.py", "import torch\nfrom facenet_pytorch import MTCNN"),
        ("kfer/classifier.py", "import timm, torch"),
        ("survey/store.py", "from kfer import labels\nfrom . import models\nimport sqlalchemy"),
        ("survey/cli.py", "from kfer import recognizer"),
        ("training/loop.py", "import torch\nfrom kfer.classifier import build_transform"),
    ],
)
def test_lawful_import_passes(
    tmp_path: Path, write_module: Callable[[str, str], Path], path: str, source: str
) -> None:
    assert find_violations(tmp_path, write_module(path, source)) == []


def test_long_function_is_caught() -> None:
    source = "class C:\n    async def f(self):\n" + "        x = 1\n" * 3
    assert find_long_functions(source, 3) == ["f: 4 lines"]
    assert find_long_functions(source, 4) == []


def load_and_list(*arguments: str) -> set[str]:
    """Run Python, return the top-level names of everything that was imported."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = result.stderr.splitlines()
    errors = [line for line in lines if not line.startswith("import time:")]
    assert result.returncode == 0, "\n".join(errors)
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_light_side_loads_no_torch() -> None:
    loaded = load_and_list("-c", f"import {', '.join(LIGHT_SIDE)}")
    assert "kfer" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "gradio", "facenet_pytorch"}


def test_help_loads_neither_torch_nor_gradio() -> None:
    loaded = load_and_list("-m", "kfer", "--help")
    assert "typer" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "gradio", "facenet_pytorch"}
