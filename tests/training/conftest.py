"""What training's tests share: a FER2013 in small on disk, a short run and its bundle."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kfer.bundle import Bundle
    from tests.training.synthetic import SyntheticData

# Imported in the fixtures, so that tests of votes and settings need not wait for torch.


@pytest.fixture(scope="session")
def fer2013(tmp_path_factory: pytest.TempPathFactory) -> "SyntheticData":
    """Shared by all tests of a worker: copy it before changing it."""
    from tests.training.synthetic import write_fer2013  # noqa: PLC0415

    return write_fer2013(tmp_path_factory.mktemp("synthetic"), {"train": 12, "test": 8})


@pytest.fixture(scope="session")
def trained_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """best.pt of a short run with the synthetic settings TRAINED."""
    import torch  # noqa: PLC0415

    from tests.training.synthetic import TRAINED, build_faces  # noqa: PLC0415
    from training.loop import train  # noqa: PLC0415

    out = tmp_path_factory.mktemp("runs") / "short"
    faces, validation = build_faces(8), build_faces(5, seed=1)
    return train(TRAINED, faces, validation, out, torch.device("cpu"), lambda _: None)


@pytest.fixture(scope="session")
def bundle(trained_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> "Bundle":
    """The bundle of ``trained_weights``, in a folder that nobody may change."""
    from tests.training.synthetic import TRAINED, build_faces  # noqa: PLC0415
    from training.export import export_bundle  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("models") / "small"
    return export_bundle(TRAINED, trained_weights, build_faces(5, seed=1), folder)
