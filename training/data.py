"""What the commands' data flags mean: FER2013 with FER+, or a manifest of crops."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.config import HeadSpec
from training.crops import CropFolder, load_faces
from training.dataset import FaceSet, build_face_set
from training.errors import ConfigError, DataError
from training.manifest import VALIDATION, drop_excluded, read_manifest
from training.sources.fer2013 import read_fer2013
from training.splits import IMAGE, PERSON, check_disjoint

PUBLIC_TEST = "PublicTest"


@dataclass(frozen=True)
class DataFlags:
    """``--data``, ``--votes``; or ``--manifest``, ``--images``. ``--exclude`` goes with both."""

    data: Path | None
    votes: Path | None
    manifest: Path | None
    images: Path | None
    exclude: Path | None

    def check(self) -> None:
        """Raises ConfigError unless the flags name one of the two."""
        first, second = (self.data, self.votes), (self.manifest, self.images)
        if (all(first) and not any(second)) or (all(second) and not any(first)):
            return
        raise ConfigError(
            "Give FER2013 by --data and --votes, or a manifest of crops by --manifest and --images."
        )

    def load(self, heads: Sequence[HeadSpec], channels: int, *parts: str) -> list[FaceSet]:
        """The faces of the parts; FER2013's validation part is PublicTest.

        Raises DataError, also where identical pictures stand in several parts.
        """
        if self.data and self.votes:
            if channels != 1:
                raise ConfigError("model_args: FER2013 is grey; set in_chans = 1.")
            pictures = read_fer2013(self.data, self.votes, self.exclude)
            return [build_face_set(self.data, pictures, part) for part in parts]
        if not (self.manifest and self.images):
            raise ConfigError("--manifest and --images: both are needed.")
        table = drop_excluded(read_manifest(self.manifest, "part"), self.exclude)
        check_disjoint(table, "part", by=IMAGE)
        folder = CropFolder.read(self.images)
        source = f"part train of {self.manifest.name}"
        return [load_faces(table, folder, part, heads, channels, source) for part in parts]

    def find_shared_persons(self) -> str | None:
        """Why figures will flatter: people who stand in several parts of the manifest."""
        if not self.manifest:
            return None
        table = drop_excluded(read_manifest(self.manifest, "part"), self.exclude)
        try:
            check_disjoint(table, "part", by=PERSON)
        except DataError as error:
            return f"{error} Figures on them will flatter."
        return None

    def name(self, part: str) -> str:
        """The pictures that a card's figures are of; it names no place of one machine."""
        if self.data:
            return PUBLIC_TEST
        return f"part {part} of {self.manifest.name if self.manifest else ''}"

    def describe(self) -> str:
        """The flags for the card's command, with stand-ins where a machine's places would be."""
        flags = ["--data DATA", "--votes VOTES"]
        if not self.data:
            flags = ["--manifest MANIFEST", "--images IMAGES"]
        return " ".join(flags + (["--exclude EXCLUDE"] if self.exclude else []))


def load_training(
    flags: DataFlags, heads: Sequence[HeadSpec], channels: int
) -> tuple[FaceSet, FaceSet]:
    """What to learn from and what to choose by."""
    faces, validation = flags.load(heads, channels, "train", VALIDATION)
    return faces, validation
