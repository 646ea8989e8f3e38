"""What the commands' data flags mean: FER2013 with FER+, or a manifest of crops."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from kfer.bundle import Bundle
from training.config import HeadSpec
from training.crop_folder import CropFolder, count_left_out, load_faces
from training.errors import ConfigError, DataError
from training.face_set import FaceSet, check_distinct
from training.manifest import PARTS, TRAIN, UNKNOWN, drop_excluded, read_manifest
from training.origin import find_ancestors, read_training
from training.sources.fer2013 import FER2013, read_fer2013
from training.splits import COPIES, IMAGE, PERSON, check_disjoint

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

    @property
    def folder(self) -> Path:
        """What the pictures' paths are relative to, of checked flags."""
        folder = self.data or self.images
        assert folder  # as checked
        return folder

    def load(self, heads: Sequence[HeadSpec], channels: int, *parts: str) -> list[FaceSet]:
        """The faces of the parts, of checked flags; FER2013's validation part is PublicTest.

        Raises DataError, also where identical pictures stand in several parts; for that, the other
        parts of a manifest that does not know its pixels are read too.
        """
        if self.data and channels != 1:
            raise ConfigError("model_args: FER2013 is grey; set in_chans = 1.")
        check_disjoint(self._table, "part", by=IMAGE)
        folder = CropFolder.read(self.folder)

        def load(part: str) -> FaceSet:
            return load_faces(self._table, folder, part, heads, channels, self._source)

        found = [load(part) for part in parts]
        others: list[FaceSet] = []
        if set(COPIES).isdisjoint(self._table.columns):
            placed = set(self._table.loc[self._table["label"] != UNKNOWN, "part"])
            others = [load(part) for part in sorted(placed & set(PARTS) - set(parts))]
        check_distinct([*found, *others])
        return found

    def count_left_out(self, heads: Sequence[HeadSpec], *parts: str) -> dict[str, int]:
        """By label, the pictures of the parts that teach no head. Raises DataError."""
        return count_left_out(self._table, parts, heads)

    @cached_property
    def _table(self) -> pd.DataFrame:
        if self.data and self.votes:
            return read_fer2013(self.data, self.votes, self.exclude)
        assert self.manifest  # as checked
        return drop_excluded(read_manifest(self.manifest, "part"), self.exclude)

    def find_shared_persons(self) -> str | None:
        """Why figures will flatter: people who stand in several parts of the manifest."""
        if not self.manifest:
            return None
        try:
            check_disjoint(self._table, "part", by=PERSON)
        except DataError as error:
            return f"{error} Figures on them will flatter."
        return None

    def list_trained_persons(self, bundle: Bundle) -> set[str] | None:
        """The people that the bundle learned.

        None where that is not known: it, or a bundle behind it, learned from other pictures.
        """
        if not self.manifest or PERSON not in self._table:
            return set()
        training = read_training(bundle)
        generations = [training, *find_ancestors(training).values()]
        if any(each.get("trained_on") != self.hash_training() for each in generations):
            return None
        return {*self._training[PERSON].fillna("")} - {""}

    def describe_training(self) -> dict[str, Any]:
        """What a run notes of the part that it learns, beside its weights."""
        return {
            "data": self._source,
            "excluded": self.exclude is not None,
            "trained_on": self.hash_training(),
        }

    def hash_training(self) -> str:
        """Of who stands on which picture of the training part."""
        persons = self._training.get(PERSON, pd.Series("", self._training.index)).fillna("")
        paths = self._training["path"]
        rows = sorted(f"{path}\t{person}" for path, person in zip(paths, persons, strict=True))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    @property
    def _source(self) -> str:
        return FER2013 if self.data else self.name(TRAIN)

    @property
    def _training(self) -> pd.DataFrame:
        return self._table[(self._table["part"] == TRAIN) & (self._table["label"] != UNKNOWN)]

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
