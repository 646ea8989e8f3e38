"""What can go wrong in a survey. Every message says what, got, allowed, next."""

from kfer.errors import KferError


class DatabaseError(KferError):
    """The database cannot be opened, brought up to date or written just now."""

    SUMMARY = ("지금은 저장할 수 없어요.", "Nothing can be saved just now.")


class ImageSetError(KferError):
    """The source is no image set that can be imported."""

    SUMMARY = ("이미지 모음을 가져올 수 없어요.", "The image set cannot be imported.")


class StudyError(KferError):
    """There is no such study, or it cannot be made or taken part in."""

    SUMMARY = ("이 설문에는 참여할 수 없어요.", "This study is not available.")


class ParticipationError(KferError):
    """The code belongs to nobody, or what was asked for does not fit where the person is."""

    SUMMARY = ("이 코드로는 이어 갈 수 없어요.", "This code cannot be used here.")


class RequestError(KferError):
    """No step can be done with what was sent."""

    SUMMARY = (
        "이해할 수 없는 요청이에요. 페이지를 새로고침해 주세요.",
        "The request makes no sense here; reload the page.",
    )


class TokenError(KferError):
    """Only the researcher may ask for this, and the token says that somebody else does."""

    SUMMARY = ("관리자 토큰이 맞지 않아요.", "The admin token is wrong.")
