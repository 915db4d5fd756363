"""Work in order with a bounded number of items in flight."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


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
