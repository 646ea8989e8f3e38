"""k-fold cross-validation: every picture is answered by a network that has not seen it.

Of every fold that is held out, the next one (after the last, the first) chooses the epoch, the
temperatures and the threshold; the others are learned. So what is held out has no say in anything.
"""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
import torch

from kfer.bundle import OF_A_RUN, Bundle
from kfer.metrics import Estimate
from training.answers import Answers, collect_answers, pool_answers
from training.checkpoint import claim_run
from training.config import HeadSpec, TrainConfig
from training.crop_folder import CropFolder, count_left_out, load_faces
from training.errors import ConfigError, DataError
from training.evaluate import HeadFigures, measure_head
from training.export import compute_logits, export_bundle
from training.face_set import FaceSet, check_distinct
from training.history import Epoch
from training.intervals import estimate_accuracy, number_persons
from training.loop import train
from training.manifest import PARTS, TEST, TRAIN, VALIDATION, drop_excluded, read_manifest
from training.report import Report, Section
from training.splits import IMAGE, PERSON, check_disjoint, find_crossing
from training.wording import Table, percent, tell_interval

FEWEST = 3  # one held out, one that chooses, one to learn


@dataclass(frozen=True)
class Folds:
    """A manifest's pictures, dealt out to ``count`` folds by its column ``fold``."""

    name: str
    table: pd.DataFrame
    folder: CropFolder
    count: int

    @staticmethod
    def read(manifest: Path, images: Path, exclude: Path | None) -> "Folds":
        """Raises DataError, also where identical pictures stand in several folds."""
        table = drop_excluded(read_manifest(manifest, "fold"), exclude)
        found = sorted(table["fold"].dropna().unique())
        if len(found) < FEWEST or found != list(range(len(found))):
            raise DataError(
                f"--manifest {manifest}: its column fold must count from 0 to {FEWEST - 1} or "
                f"more, but has {', '.join(map(str, found)) or 'nothing'}; run "
                f"`training split --folds {max(FEWEST, len(found))}`."
            )
        check_disjoint(table, "fold", by=IMAGE)
        return Folds(manifest.name, table, CropFolder.read(images), len(found))

    def list_shared_persons(self) -> set[str]:
        """The people who stand in several folds."""
        if PERSON not in self.table:
            return set()
        return {*find_crossing(self.table, PERSON, "fold")}

    def count_left_out(self, heads: Sequence[HeadSpec]) -> dict[str, int]:
        """By label, the pictures that teach no head. Raises DataError."""
        dealt = self.table.assign(part=TRAIN)[self.table["fold"].notna()]
        return count_left_out(dealt, [TRAIN], heads)

    def load(self, held_out: int, config: TrainConfig) -> list[FaceSet]:
        """What is learned, what chooses, what is held out. Raises DataError."""
        chooser = (held_out + 1) % self.count
        parts = self.table["fold"].map({held_out: TEST, chooser: VALIDATION})
        parts = parts.fillna(TRAIN).where(self.table["fold"].notna(), "")
        dealt = self.table.assign(part=parts)
        source = f"{self.name} without folds {held_out} and {chooser}"
        found = [
            load_faces(dealt, self.folder, part, config.head_specs, config.channels, source)
            for part in PARTS
        ]
        check_distinct(found)
        return found


@dataclass(frozen=True)
class FoldAnswers:
    """What the network that has not seen a fold answers to it, in the order of its heads."""

    bundle: Bundle
    answers: list[Answers]


@dataclass(frozen=True)
class CrossValidation:
    """``accuracies`` have an entry per fold, by head; ``means`` and ``deviations`` are theirs.

    ``heads`` are of all pictures together, each answered by the network that has not seen it.
    """

    data: str
    accuracies: list[dict[str, Estimate]]
    means: dict[str, float]
    deviations: dict[str, float]
    heads: list[HeadFigures]


def check_recipe(config: TrainConfig) -> None:
    """Raises ConfigError for a recipe with teachers."""
    if config.distillation:
        raise ConfigError(
            f"--recipe: its distillation is {config.distillation}, and a teacher may have seen "
            "what is held out; choose a recipe with distillation = 0."
        )


def answer_fold(
    folds: Folds,
    held_out: int,
    config: TrainConfig,
    out: Path,
    device: torch.device,
    report: Callable[[Epoch], None],
) -> FoldAnswers:
    """Train without a fold, or go on with the run in ``out``, and let it be answered.

    Raises ConfigError, DataError, CheckpointError, DivergedError.
    """
    # All pictures are read before the hours of training.
    faces, validation, test = folds.load(held_out, config)
    with claim_run(out):
        best = train(config, faces, validation, out, device, report)
        bundle = export_bundle(config, best, validation, out / OF_A_RUN)
    named = dataclasses.replace(bundle, name=out.name)
    logits = compute_logits(named, test)
    return FoldAnswers(named, collect_answers(named, test, logits, cross_fitted=False))


def pool_folds(
    folds: Folds, answered: Sequence[FoldAnswers]
) -> tuple[CrossValidation, list[Answers]]:
    pooled = [
        pool_answers(parts) for parts in zip(*(each.answers for each in answered), strict=True)
    ]
    temperatures = [
        statistics.fmean(each.bundle.heads[at].temperature for each in answered)
        for at in range(len(pooled))
    ]
    accuracies = [
        {answers.taxonomy.name: _estimate_accuracy(answers) for answers in each.answers}
        for each in answered
    ]
    values = {name: [accuracy[name].value for accuracy in accuracies] for name in accuracies[0]}
    shared = folds.list_shared_persons()
    figures = CrossValidation(
        data=folds.name,
        accuracies=accuracies,
        means={name: statistics.fmean(each) for name, each in values.items()},
        deviations={name: statistics.stdev(each) for name, each in values.items()},
        heads=[
            measure_head(answers, temperature, shared)
            for answers, temperature in zip(pooled, temperatures, strict=True)
        ],
    )
    return figures, pooled


def _estimate_accuracy(answers: Answers) -> Estimate:
    persons = number_persons(answers.persons)
    return estimate_accuracy(answers.truth, answers.predicted, persons)


def report_folds(
    folds: Folds,
    figures: CrossValidation,
    answers: list[Answers],
    recipe: str,
    day: date,
    command: str,
) -> Report:
    return Report(
        title=f"{recipe}: {folds.count}-fold cross-validation on {folds.name}",
        facts=[
            "Every picture is answered by a network that has not seen it. Of every fold that is "
            "held out, the next one chose the epoch and the temperatures; the others were learned.",
            "ECE and Brier score are measured with those temperatures. Intervals speak of other "
            "people and pictures; what another training would give, the folds' spread tells.",
        ],
        command=command,
        day=day,
        heads=figures.heads,
        answers=answers,
        shared_where="several folds",
        sections=[
            Section(
                "Fold by fold",
                "Accuracy with its 95 % interval; below, mean and standard deviation of the folds.",
                _tabulate(figures),
            )
        ],
        figures=dataclasses.asdict(figures),
        images=folds.folder.images,
    )


def _tabulate(figures: CrossValidation) -> Table:
    names = list(figures.means)
    rows = [
        (
            str(fold),
            *(
                f"{percent(each[name].value)} ({tell_interval(each[name])}) of {each[name].n}"
                for name in names
            ),
        )
        for fold, each in enumerate(figures.accuracies)
    ]
    mean = (
        f"{percent(figures.means[name])} ± {percent(figures.deviations[name])}" for name in names
    )
    return Table(("fold", *names), [*rows, ("mean", *mean)])
