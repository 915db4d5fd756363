"""How many threads there should be, and how many OpenCV, BLAS and torch may start."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import cv2
from threadpoolctl import ThreadpoolController


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _thread_pools() -> ThreadpoolController:
    # Looking for them takes 2 ms; numpy's, and whatever else prepares captures, are loaded by now.
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV and BLAS from starting threads: parallel work runs over captures.

    On one capture they gain nothing, and waiting for each other they took as much time again
    (measured: 14 ms of processor time for 7 ms of work, and several times that on a busy machine).
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with _thread_pools().limit(limits=1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Use `count` threads of torch and OpenCV inside, as many as before afterwards.

    Args:
        count: as many as there are when None.
    """
    import torch  # not at the top: processes that prepare captures do without it

    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count or before[0])
    cv2.setNumThreads(count or before[1])
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
