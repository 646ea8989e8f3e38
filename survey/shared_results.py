"""What many ask for at once is computed by the first of them and kept for the rest."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedResults(Generic[T]):
    """The ``size`` results asked for last; a computation that fails is not kept."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._results: OrderedDict[Hashable, Future[T]] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Raises what ``compute`` raises, for everybody who waited for it."""
        with self._lock:
            future = self._results.get(key)
            first = future is None
            if future is None:
                future = self._results[key] = Future()
                while len(self._results) > self._size:
                    self._results.popitem(last=False)
            self._results.move_to_end(key)
        if first:
            try:
                future.set_result(compute())
            except BaseException as error:
                with self._lock:
                    self._results.pop(key, None)
                future.set_exception(error)
        return future.result()
