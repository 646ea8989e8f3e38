"""Every text in both languages, in use, and in the tone that Korean visitors are spoken to."""

import re
from pathlib import Path

import pytest

from kfer.errors import KferError
from kfer.faces import BUILT_IN
from kfer.labels import TAXONOMIES
from kfer.texts import TEXTS
from kfer.web import MAX_BYTES

KFER = Path(__file__).parents[2] / "kfer"
HANGUL = re.compile("[가-힣]")
PAGE = (KFER / "static" / "analyze.html").read_text(encoding="utf-8")
SCRIPT = "".join(
    (KFER / "static" / f"{name}.js").read_text(encoding="utf-8") for name in ("analyze", "units")
)
UI = (KFER / "ui.py").read_text(encoding="utf-8")

PAGE_KEYS = set(re.findall(r"\[\[text:(\w+)\]\]", PAGE))
# The last argument of say(...) and showBusy(...), or the two that it is chosen from.
SAID = re.compile(r"\b(?:say|showBusy)\((?:.*, )?(?:\w+ \? \"(\w+)\" : )?\"(\w+)\"\);")
SCRIPT_KEYS = {
    *re.findall(r"\btexts\.(\w+)", SCRIPT),
    *(key for keys in SAID.findall(SCRIPT) for key in keys if key),
    *re.findall(r'"((?:units|error)_\w+)"', SCRIPT),
}
# Keys that are put together from parts, where the parts come from.
BUILT_KEYS = {
    *(f"units_{group}" for group in re.findall(r'drawGroup\(table, "(\w+)"', SCRIPT)),
    *(f"taxonomy_{name}" for name in TAXONOMIES),
    *(f"detector_{name}" for name in BUILT_IN),
    *(f"about_{name}{part}" for name in ("use", "privacy", "licence") for part in ("_title", "")),
}


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_says_something_in_korean_and_in_english(key: str) -> None:
    korean, english = TEXTS[key]
    assert HANGUL.search(korean)
    assert not HANGUL.search(english)
    assert english == english.strip() != ""
    assert korean == korean.strip()


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_does_not_shout(key: str) -> None:
    assert not re.search("[!！]", "".join(TEXTS[key]))


@pytest.mark.parametrize("key", [key for key in TEXTS if TEXTS[key][0].endswith((".", "…"))])
def test_a_korean_sentence_is_polite(key: str) -> None:
    """해요체: every sentence ends in -요."""
    sentences = re.split(r"(?<=[.…])\s+", TEXTS[key][0])
    assert [sentence for sentence in sentences if not re.search("요[.…]$", sentence)] == []


@pytest.mark.parametrize("kind", [KferError, *KferError.__subclasses__()])
def test_what_a_visitor_is_told_of_an_error_is_polite_in_both_languages(
    kind: type[KferError],
) -> None:
    korean, english = kind.SUMMARY
    assert re.search("[가-힣]+요[.]$", korean)
    assert english.endswith(".")
    assert not HANGUL.search(english)
    assert kind("No model x.").korean == f"{korean} No model x."
    assert kind("No model x.", "모델 x가 없어요.").korean == "모델 x가 없어요."


@pytest.mark.parametrize("key", ["drop_hint", "error_size"])
def test_the_largest_file_is_told_as_it_is(key: str) -> None:
    assert all(f"{MAX_BYTES / 2**20:.0f} MB" in words for words in TEXTS[key])


def test_every_text_that_the_page_and_its_script_ask_for_exists() -> None:
    assert len(PAGE_KEYS) > 10
    assert len(SCRIPT_KEYS) > 10
    assert (PAGE_KEYS | SCRIPT_KEYS | BUILT_KEYS) - set(TEXTS) == set()


def test_every_text_is_used() -> None:
    in_python = set(re.findall(r"\"(\w+)\"", UI))
    assert set(TEXTS) - PAGE_KEYS - SCRIPT_KEYS - BUILT_KEYS - in_python == set()


def test_nothing_in_the_page_is_left_to_fill_in_but_texts_and_parts() -> None:
    others = set(re.findall(r"\[\[(.+?)\]\]", PAGE)) - {f"text:{key}" for key in PAGE_KEYS}
    assert others == {"notice", "examples", "models", "detectors"}
