"""Crop work on a Ray cluster, for collections past one machine. Ray is an optional extra.

Every machine of the cluster needs this checkout, its environment and the two folders, each at the
same place.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

from kfer.errors import KferError
from training.crop import CHUNK, Engine, Job, Outcome, use_one_thread
from training.errors import ConfigError

LOCAL = "local"
STORE = 256 * 2**20  # bytes per worker: with less, Ray Data holds tasks back
# Ray reads them when it is imported, and hands them to the processes that it starts.
ANYWHERE = {"RAY_USAGE_STATS_ENABLED": "0"}
HERE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # off: everything listens on 127.0.0.1 alone
    "RAY_worker_niceness": "0",  # else the workers wait for whatever else the machine does
}


def build_ray_engine(address: str = LOCAL, limit: int | None = None) -> Engine:
    """``address`` is a cluster's, of whose cores ``limit`` are used, or all.

    With "local", every run starts one of its own and ends it.

    Raises ConfigError where Ray is not installed.
    """
    os.environ.update(ANYWHERE | HERE if address == LOCAL else ANYWHERE)
    try:
        import ray.data  # noqa: F401, PLC0415  # optional extra
    except ImportError:
        raise ConfigError(
            "--engine ray: Ray is not installed: pip install -r requirements-ray.txt; or choose "
            "processes."
        ) from None
    return partial(_run, address, limit)


def _run(
    address: str,
    limit: int | None,
    work: Callable[[Job], Outcome],
    jobs: Sequence[Job],
    workers: int,
) -> Iterator[Outcome]:
    import ray.data  # noqa: PLC0415  # is there, as the builder has seen

    if not jobs:
        return
    with _join(address, workers):
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"job": pickle.dumps(job)} for job in jobs]
        answers = ray.data.from_items(rows, override_num_blocks=len(rows) // CHUNK + 1).map(
            partial(_answer, work), compute=ray.data.TaskPoolStrategy(limit), num_cpus=1
        )
        for row in answers.iter_rows():
            answer = pickle.loads(row["answer"])
            if isinstance(answer, Exception):
                raise answer
            yield answer


@contextmanager
def _join(address: str, workers: int) -> Iterator[None]:
    import ray  # noqa: PLC0415  # the same

    start = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    # A short path, because those of sockets below it may have no more than 107 bytes.
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            if address == LOCAL:
                start(
                    LOCAL,
                    num_cpus=workers,
                    object_store_memory=STORE * max(workers, 2),
                    include_dashboard=False,
                    _temp_dir=folder,
                )
            else:
                start(address)
            yield
        finally:
            ray.shutdown()


def _answer(work: Callable[[Job], Outcome], row: dict[str, bytes]) -> dict[str, bytes]:
    """Errors of ours travel as answers: what a task raises, Ray wraps beyond recognition."""
    use_one_thread()  # before the first photo loads a library
    try:
        answer: Outcome | Exception = work(pickle.loads(row["job"]))
    except (KferError, OSError) as error:
        answer = error
    return {"answer": pickle.dumps(answer)}
