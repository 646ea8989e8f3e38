"""Folders and zips of labelled pictures -> entries with bytes, a label and perhaps a person.

A zip is read in place and never unpacked, so that no name in it can lead anywhere; how much is read
of it is bounded, whatever it claims.
"""

import csv
import io
import lzma
import os
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kfer.labels import TAXONOMIES, Taxonomy
from survey.errors import ImageSetError

MANIFEST = "manifest.csv"
MAX_FILE_BYTES = 30 * 1024 * 1024
MAX_TOTAL_BYTES = 4 * 1024**3
MAX_FILES = 100_000
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".avif", ".gif", ".bmp", ".tif",
            ".tiff")  # fmt: skip
# What data sets in use call their folders, beside the taxonomies' own names.
_ALIASES = {
    "angry": "분노",
    "happy": "기쁨",
    "happiness": "기쁨",
    "joy": "기쁨",
    "sad": "슬픔",
    "fluster": "당황",
    "embarrassed": "당황",
    "anxious": "불안",
    "wound": "상처",
    "surprised": "놀람",
    "disgusted": "혐오",
    "fearful": "공포",
}


@dataclass(frozen=True)
class Entry:
    """A picture of the source. ``label`` is canonical, or what stands there if it is unknown."""

    path: str
    label: str
    known: bool
    person: str | None
    read: Callable[[], bytes]


def list_entries(source: Path, taxonomy: Taxonomy) -> list[Entry]:
    """By path. Raises ImageSetError when the source cannot be read or holds no labelled picture."""
    files = _list_zip(source) if source.is_file() else _list_folder(source)
    if len(files) > MAX_FILES:
        raise ImageSetError(f"{source.name}: more than {MAX_FILES} files; divide it.")
    names = _name_labels(taxonomy)
    entries = _read_manifest(source, files, names)
    if entries is None:
        entries = [
            _build_entry(path, PurePosixPath(path).parent.name, None, read, names)
            for path, read in sorted(files.items())
            if PurePosixPath(path).suffix.lower() in SUFFIXES
        ]
    if not entries:
        raise ImageSetError(
            f"{source.name}: no labelled pictures found; expected a folder per emotion "
            f"({', '.join(taxonomy.labels)}, or {', '.join(taxonomy.english)}), or a {MANIFEST} "
            "with the columns filename and label."
        )
    return entries


def _name_labels(taxonomy: Taxonomy) -> dict[str, str]:
    """Every name of every emotion, small letters, to its canonical one in ``taxonomy``."""
    every = {
        english: label
        for other in TAXONOMIES.values()
        for label, english in zip(other.labels, other.english, strict=True)
    }
    named = {**every, **_ALIASES, **{label: label for label in taxonomy.labels}}
    return {name: label for name, label in named.items() if label in taxonomy.labels}


def _build_entry(
    path: str, name: str, person: str | None, read: Callable[[], bytes], names: Mapping[str, str]
) -> Entry:
    label = names.get(normalize(name).strip().lower())
    return Entry(path, label or name, label is not None, person or None, read)


def normalize(text: str) -> str:
    """One form of each Korean syllable: macOS writes file names as separate letters."""
    return unicodedata.normalize("NFC", text)


def _list_folder(source: Path) -> dict[str, Callable[[], bytes]]:
    if not source.is_dir():
        raise ImageSetError(f"There is no folder or zip {str(source)!r}; check the path.")

    def build_reader(path: Path) -> Callable[[], bytes]:
        def read() -> bytes:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ImageSetError(f"larger than {MAX_FILE_BYTES // 1024**2} MB")
            return path.read_bytes()

        return read

    return _index(
        (_name_file(path.relative_to(source)), build_reader(path))
        for path in sorted(source.rglob("*"))
        if path.is_file() and not _is_hidden(path.relative_to(source).parts)
    )


def _index(
    files: Iterable[tuple[str, Callable[[], bytes]]],
) -> dict[str, Callable[[], bytes]]:
    """By path. Raises ImageSetError where two have the same one: neither is to be lost unseen."""
    found: dict[str, Callable[[], bytes]] = {}
    for path, read in files:
        if path in found:
            raise ImageSetError(
                f"Two files are called {path}, once their Korean is composed; rename one of them."
            )
        found[path] = read
    return found


def _name_file(path: Path) -> str:
    """Old archives leave names that are no UTF-8: Korean Windows' own encoding, as in zips."""
    raw = os.fsencode(path.as_posix())
    return normalize(_decode(raw, raw.decode("cp949", "replace")))


def _list_zip(source: Path) -> dict[str, Callable[[], bytes]]:
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ImageSetError(f"{source.name} is no zip that can be read ({error}).") from None
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
        raise ImageSetError(
            f"{source.name} unpacks to more than {MAX_TOTAL_BYTES // 1024**3} GB; divide it."
        )

    def build_reader(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            try:
                with archive.open(info) as file:
                    data = file.read(MAX_FILE_BYTES + 1)
            except (OSError, RuntimeError, ValueError, EOFError) as error:
                raise ImageSetError(f"cannot be unpacked ({error})") from None
            except (zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
                raise ImageSetError(f"damaged in the zip ({error})") from None
            if len(data) > MAX_FILE_BYTES:
                raise ImageSetError(f"larger than {MAX_FILE_BYTES // 1024**2} MB")
            return data

        return read

    readers = ((_name_zipped(info), build_reader(info)) for info in infos)
    return _index(
        (path, read)
        for path, read in readers
        if not _is_hidden(PurePosixPath(path).parts) and ".." not in PurePosixPath(path).parts
    )


def _name_zipped(info: zipfile.ZipInfo) -> str:
    """Korean Windows writes names in its own encoding, without saying so."""
    name = info.filename
    if not info.flag_bits & 0x800:
        name = _decode(name.encode("cp437", errors="replace"), name)
    return normalize(name.replace("\\", "/")).lstrip("/")


def _decode(raw: bytes, otherwise: str) -> str:
    for encoding in ("utf-8", "cp949"):
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return otherwise


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _read_manifest(
    source: Path, files: Mapping[str, Callable[[], bytes]], names: Mapping[str, str]
) -> list[Entry] | None:
    """What manifest.csv lists, relative to where it lies; None when there is none."""
    found = sorted(path for path in files if PurePosixPath(path).name == MANIFEST)
    if not found:
        return None
    if len(found) > 1:
        raise ImageSetError(f"{source.name}: more than one {MANIFEST}: {', '.join(found[:5])}.")
    try:
        text = files[found[0]]().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ImageSetError(f"{found[0]} is not UTF-8; save it as CSV UTF-8.") from None
    rows = csv.DictReader(io.StringIO(text))
    try:
        missing = {"filename", "label"} - set(rows.fieldnames or ())
        if missing:
            raise ImageSetError(
                f"{found[0]}: missing column {', '.join(sorted(missing))}; it needs filename and "
                "label, and may have person."
            )
        return list(_read_rows(found[0], rows, files, names))
    except csv.Error as error:
        raise ImageSetError(f"{found[0]}: is no CSV that can be read ({error}).") from None


def _read_rows(
    manifest: str,
    rows: Iterable[Mapping[str, str | None]],
    files: Mapping[str, Callable[[], bytes]],
    names: Mapping[str, str],
) -> Iterator[Entry]:
    folder = PurePosixPath(manifest).parent
    for row in rows:
        path = normalize((folder / (row["filename"] or "").replace("\\", "/")).as_posix())

        def read(path: str = path) -> bytes:
            if path not in files:
                raise ImageSetError("the manifest lists it, but it is not there")
            return files[path]()

        yield _build_entry(path, row["label"] or "", row.get("person"), read, names)
