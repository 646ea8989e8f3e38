"""What kfer's tests share: rendered faces, a photograph and a tiny but real bundle."""

from pathlib import Path

import pytest
import skimage.data
from PIL import Image

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all tests of a worker: copy it before changing it."""
    from tests.kfer.fakes import build_tiny_bundle  # noqa: PLC0415 - loads torch and timm

    return build_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def face_paths() -> list[Path]:
    """Six rendered faces, 512 x 512 px, one in each."""
    return sorted(DATA.glob("*.webp"))


@pytest.fixture(scope="session")
def face_images(face_paths: list[Path]) -> dict[str, Image.Image]:
    return {path.stem: Image.open(path).convert("RGB") for path in face_paths}


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """NASA's portrait of Eileen Collins, 512 x 512 px, as scikit-image ships it."""
    return Image.fromarray(skimage.data.astronaut())
