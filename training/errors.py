"""What can go wrong for somebody who trains. Every message names the file or the flag."""

from kfer.errors import KferError


class TrainingError(KferError):
    """Base of all errors of this package."""


class ConfigError(TrainingError):
    """A recipe or a flag asks for something that cannot be done."""


class DataError(TrainingError):
    """The data set is not laid out as expected."""


class CheckpointError(TrainingError):
    """A checkpoint is damaged or belongs to another run."""


class DivergedError(TrainingError):
    """The loss is no longer a number."""
