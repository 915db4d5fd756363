"""Work that waits for disks or runs outside the interpreter lock, over threads of this process."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from biometric_core.parallel.windowed import windowed

T = TypeVar("T")
R = TypeVar("R")
_TOGETHER = 16  # items: handing a single one to a thread costs more than reading a small file
_IN_FLIGHT = 3  # groups a thread


def map_threads(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Apply `function` to each item; yields results in the order of `items`.

    Args:
        function: what it raises is raised here, in the place of the result.
        items: the work, taken only as results are, so that memory stays bounded.
        workers: threads, at least 1.
    """
    pool = ThreadPoolExecutor(workers)

    def submit(group: list[T]) -> Future[list[R]]:
        return pool.submit(lambda: [function(item) for item in group])

    try:
        for results in windowed(_groups(items), submit, Future.result, _IN_FLIGHT * workers):
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)


def _groups(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while group := list(islice(rest, _TOGETHER)):
        yield group
