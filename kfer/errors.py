"""What can go wrong for a user of kfer. Every message says what, got, allowed, next."""


class KferError(Exception):
    """Base of all errors that are the input's fault, not the program's.

    ``str()`` is the English message, ``korean`` the Korean one: its own, or the kind's summary
    before the English details. ``SUMMARY`` (Korean, English) tells a visitor what failed without
    the host's folders and addresses.
    """

    SUMMARY = ("요청을 처리할 수 없어요.", "The request cannot be met.")

    def __init__(self, message: str, korean: str | None = None) -> None:
        super().__init__(message)
        self.korean = korean or f"{self.SUMMARY[0]} {message}"


class PhotoError(KferError):
    """The photo cannot be read."""

    SUMMARY = ("사진을 읽을 수 없어요.", "The photo cannot be read.")


class BundleError(KferError):
    """The model folder is not a bundle that kfer can load."""

    SUMMARY = ("모델 폴더가 올바른 KFER 모델이 아니에요.", "Its folder is not a KFER model.")


class HubError(KferError):
    """The bundle cannot be brought from the Hugging Face Hub."""

    SUMMARY = (
        "Hugging Face Hub에서 가져오지 못했어요.",
        "It cannot be brought from the Hugging Face Hub.",
    )


class DetectorError(KferError):
    """The face detector cannot be built."""

    SUMMARY = ("이 얼굴 찾기 방법은 쓸 수 없어요.", "This face detector is not available.")


class TaxonomyError(KferError):
    """There is no such taxonomy, or no mapping between two of them."""

    SUMMARY = ("이 감정 분류로는 보여 드릴 수 없어요.", "These labels are not available.")
