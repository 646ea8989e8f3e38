"""The folder through which callers of ``/analyze`` send photos and get pictures back.

Gradio deletes what it knows of. It does not know of an upload that broke off, of what a killed
process has left, or of the folder that every file brings; all of them go here, by their age.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import anyio


def claim_folder(port: int) -> Path:
    """A folder of this app's own, which Gradio takes: no other app's files may be swept away.

    The same one after a restart, so that what a killed process has left is found. Raises OSError
    where it cannot be made or is somebody else's, who could read what comes.
    """
    place = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    user = os.getuid() if hasattr(os, "getuid") else 0  # Windows has none, and says 0 of files
    folder = place / f"kfer-{user}-{port}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != user:
        raise PermissionError(f"{folder} is somebody else's")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def sweep(folder: Path, seconds: float) -> None:
    """Delete the files below the folder that are at least so old, and empty folders as old."""
    newest = time.time() - seconds
    for parent, folders, files in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in [*files, *folders]):
            with suppress(OSError):  # gone meanwhile, or a folder that is not empty
                if path.lstat().st_mtime <= newest:
                    path.rmdir() if path.name in folders else path.unlink()


def build_lifespan(
    folder: Path, known: Sequence[set[str]], every: float, seconds: float
) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """For Starlette: sweeps at intervals of ``every`` seconds, and clears the folder at the end.

    ``known``: the sets in which Gradio notes the files, and would note them for ever.
    """

    def clear(age: float) -> None:
        sweep(folder, age)
        for paths in known:
            paths.difference_update([path for path in tuple(paths) if not Path(path).exists()])

    async def repeat() -> None:
        while True:
            await anyio.to_thread.run_sync(clear, seconds)
            await asyncio.sleep(every)

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(repeat)
            yield
            tasks.cancel_scope.cancel()
        clear(0)

    return lifespan
