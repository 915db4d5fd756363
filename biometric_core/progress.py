"""Progress of long work: a bar on a terminal, a line with the rate now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_log = logging.getLogger(__name__)
_LOG_EVERY_SECONDS = 10.0
T = TypeVar("T")


def track(items: Iterable[T], *, total: int | None, description: str) -> Iterator[T]:
    """Yield `items` and show how far the work is.

    Args:
        items: the work, lazily.
        total: number of items, None when unknown.
        description: a few words, without personal data.
    """
    if sys.stderr.isatty():
        yield from _bar(items, total, description)
    else:
        yield from _lines(items, total, description)


def _bar(items: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task)


def _lines(items: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    start = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= _LOG_EVERY_SECONDS:
            said = now
            rate = done / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if total else ""
            _log.info("%s: %d of %s, %.1f a second%s", description, done, total or "?", rate, left)
