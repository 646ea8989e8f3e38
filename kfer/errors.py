"""What can go wrong for a user of kfer. Every message says what, got, allowed, next."""


class KferError(Exception):
    """Base of all errors that are the input's fault, not the program's.

    ``str()`` is the English message, ``korean`` the Korean one where a visitor can meet it.
    """

    def __init__(self, message: str, korean: str | None = None) -> None:
        super().__init__(message)
        self.korean = korean or message


class PhotoError(KferError):
    """The photo cannot be read."""


class BundleError(KferError):
    """The model folder is not a bundle that kfer can load."""


class HubError(KferError):
    """The bundle cannot be brought from the Hugging Face Hub."""


class DetectorError(KferError):
    """The face detector cannot be built."""


class TaxonomyError(KferError):
    """There is no such taxonomy, or no mapping between two of them."""
