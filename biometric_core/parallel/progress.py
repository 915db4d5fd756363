"""Progress of long work: a bar on a terminal, a line with the rate now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_log = logging.getLogger(__name__)
_LOG_EVERY_SECONDS = 10.0
T = TypeVar("T")


def one(item: object) -> int:
    """Each item counts as one."""
    return 1


def track(
    items: Iterable[T],
    *,
    total: int | None,
    description: str,
    count: Callable[[T], int] = one,
) -> Iterator[T]:
    """Yield `items` and show how far the work is.

    Args:
        items: the work, lazily.
        total: sum of all counts, None when unknown.
        description: a few words, without personal data.
        count: how much an item counts.
    """
    if sys.stderr.isatty():
        yield from _bar(items, total, description, count)
    else:
        yield from _lines(items, total, description, count)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def _bar(
    items: Iterable[T], total: int | None, description: str, count: Callable[[T], int]
) -> Iterator[T]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RateColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task, count(item))


def _lines(
    items: Iterable[T], total: int | None, description: str, count: Callable[[T], int]
) -> Iterator[T]:
    start = said = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += count(item)
        now = time.monotonic()
        if now - said >= _LOG_EVERY_SECONDS:
            said = now
            rate = done / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if total else ""
            _log.info("%s: %d of %s, %.1f a second%s", description, done, total or "?", rate, left)
