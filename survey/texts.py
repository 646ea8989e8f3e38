"""Texts that the survey's answers carry in both languages; those of its screens come with them."""

from kfer.labels import Taxonomy
from survey.records import CANNOT_TELL

CANNOT_TELL_SHOWN = {"ko": "모르겠어요", "en": "cannot tell"}


def name_options(taxonomy: Taxonomy, language: str) -> dict[str, str]:
    """Canonical label -> what is shown, in the order of the buttons."""
    names = taxonomy.labels if language == "ko" else taxonomy.english
    shown = dict(zip(taxonomy.labels, names, strict=True))
    return {**shown, CANNOT_TELL: CANNOT_TELL_SHOWN["ko" if language == "ko" else "en"]}
