"""Chunks of work over processes of this machine."""

import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

from biometric_core.errors import ServiceError

T = TypeVar("T")
R = TypeVar("R")
_log = logging.getLogger(__name__)
_MAX_RESTARTS = 3
_IN_FLIGHT = 4  # chunks a process


def process_map(function: Callable[[T], R], chunks: Iterable[T], processes: int) -> Iterator[R]:
    """Apply `function` to each chunk; results in the order of `chunks`.

    A process that is killed (by the kernel, for memory) takes the pool with it: a new one does
    what was under way again.

    Raises:
        ServiceError: that happened too often.
    """
    work = _Restarting(function, processes)
    try:
        for chunk in chunks:
            work.submit(chunk)
            if len(work.pending) >= _IN_FLIGHT * processes:
                yield work.next()
        while work.pending:
            yield work.next()
    finally:
        work.pool.shutdown(cancel_futures=True)


class _Restarting(Generic[T, R]):
    def __init__(self, function: Callable[[T], R], processes: int) -> None:
        self.function, self.processes, self.restarts = function, processes, 0
        self.pool = self._pool()
        self.pending: deque[tuple[T, Future[R]]] = deque()

    def _pool(self) -> ProcessPoolExecutor:
        # Not fork: a forked child can hang on the locks of OpenCV's and Arrow's threads.
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.processes, spawn, _end_with_the_driver)

    def submit(self, chunk: T) -> None:
        try:
            self.pending.append((chunk, self.pool.submit(self.function, chunk)))
        except BrokenProcessPool:
            self._restart()
            self.submit(chunk)

    def next(self) -> R:
        try:
            result = self.pending[0][1].result()
        except BrokenProcessPool:
            self._restart()
            return self.next()
        self.pending.popleft()
        return result

    def _restart(self) -> None:
        self.restarts += 1
        if self.restarts > _MAX_RESTARTS:
            raise ServiceError(
                f"worker processes were killed {self.restarts} times, perhaps for want of memory: "
                "set preprocess.workers or preprocess.chunk_size lower"
            )
        _log.warning("a worker process was killed: %d chunks again", len(self.pending))
        self.pool.shutdown(cancel_futures=True)
        self.pool = self._pool()
        again = [chunk for chunk, _ in self.pending]
        self.pending.clear()
        for chunk in again:
            self.submit(chunk)


def _end_with_the_driver() -> None:
    """A worker holds both ends of its queue: it would wait for ever for a killed driver."""

    def watch() -> None:
        driver = multiprocessing.parent_process()
        if driver is not None:
            driver.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
