"""Files that are written whole or not at all."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write: it takes the place of ``path`` at the end, unless an error comes between."""
    # Short, for the name itself may be as long as a name can be; and the same at the next try, so
    # that killed programs leave one such file behind at most.
    digest = hashlib.sha256(path.name.encode()).hexdigest()[:16]
    unfinished = path.with_name(f".{digest}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
