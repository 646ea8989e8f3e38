"""Files that are written whole or not at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".*.part"  # what a killed program may have left


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write: it takes the place of ``path`` at the end, unless an error comes between.

    An OSError of the unfinished file, or one that names none, as a full disk's, names ``path``.
    """
    # Short, for the name itself may be as long as a name can be; each process has its own.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    unfinished = path.with_name(f".{digest}.{os.getpid()}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(unfinished)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
