"""Work in order with a bounded number of items in flight."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_TOGETHER = 16  # small items: handing a single one to a thread costs more than reading a small file
_IN_FLIGHT = 3  # groups a thread


def windowed(
    items: Iterable[T], submit: Callable[[T], Any], result: Callable[[Any], R], window: int
) -> Iterator[R]:
    """The results in the order of `items`, which are taken only as results are.

    Args:
        items: the work.
        submit: starts one piece.
        result: waits for what `submit` gave.
        window: pieces in flight at most.
    """
    pending: deque[Any] = deque()
    for item in items:
        pending.append(submit(item))
        if len(pending) >= window:
            yield result(pending.popleft())
    while pending:
        yield result(pending.popleft())


def map_threads(
    function: Callable[[T], R], items: Iterable[T], workers: int, together: int = _TOGETHER
) -> Iterator[R]:
    """Apply `function` to each item; yields results in the order of `items`.

    Args:
        function: what it raises is raised here, in the place of the result.
        items: the work, taken only as results are, so that memory stays bounded.
        workers: threads, at least 1.
        together: items that are handed to a thread at once.
    """
    pool = ThreadPoolExecutor(workers)

    def submit(group: list[T]) -> Future[list[R]]:
        return pool.submit(lambda: [function(item) for item in group])

    try:
        for results in windowed(
            _groups(items, together), submit, Future.result, _IN_FLIGHT * workers
        ):
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)


def _groups(items: Iterable[T], together: int) -> Iterator[list[T]]:
    rest = iter(items)
    while group := list(islice(rest, together)):
        yield group
