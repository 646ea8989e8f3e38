"""Files of text and folders for them: errors name the flag; written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from kfer.files import replacing
from training.errors import ConfigError, DataError

# What Pillow raises for a file that is no picture; SyntaxError is its word for a damaged PNG.
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def read_csv(path: Path, flag: str, **options: Any) -> pd.DataFrame:
    """``options`` are pandas'. Raises DataError, which names the flag and the file."""
    try:
        table: pd.DataFrame = pd.read_csv(path, **options)
    except UnicodeDecodeError:
        raise DataError(
            f"{flag} {path}: cannot be read as CSV, for it is not UTF-8; save it as UTF-8 (in "
            "Excel: CSV UTF-8)."
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{flag} {path}: cannot be read as CSV ({error}).") from None
    return table


def check_folder(folder: Path, flag: str = "--out") -> None:
    """Raises ConfigError where a file stands in the way of the folder."""
    place = folder.absolute()
    taken = next(each for each in (place, *place.parents) if each.exists())
    if not taken.is_dir():
        where = "" if taken == place else f"{taken} "
        raise ConfigError(f"{flag} {folder}: {where}is a file; name a folder.")


def replace_text(path: Path, text: str) -> None:
    with replacing(path) as target:
        target.write_text(text, encoding="utf-8")


def write_log(path: Path, lines: Sequence[str]) -> None:
    """What went wrong, a line each; no file where nothing did."""
    if lines:
        replace_text(path, "".join(f"{line}\n" for line in lines))
    else:
        path.unlink(missing_ok=True)
