"""Parallel map over chunks of work: in this process, over processes, or over Ray.

Results come in the order of the chunks whatever the executor: the output is the same bit for bit.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import TypeVar

from biometric_core.config import Config

T = TypeVar("T")
R = TypeVar("R")

# Measured: a pool of processes costs about 1.5 s to start, a Ray cluster about 9 s.
_MIN_SECONDS_FOR_POOL = 4.0
_MIN_SECONDS_FOR_JOINING_RAY = 2.0


class Executor(StrEnum):
    """How chunks of captures are worked on."""

    SEQUENTIAL = "sequential"
    MULTIPROCESSING = "multiprocessing"
    RAY = "ray"


def choose(config: Config, items: int, seconds_per_item: float) -> Executor:
    """The executor that finishes first, by the size and cost of the work.

    A running Ray cluster (`ray.address` or RAY_ADDRESS) is joined for a few seconds' work; without
    one a pool of processes is started where this process may have children (a Celery task may not).
    """
    if config.preprocess.executor != "auto":
        return Executor(config.preprocess.executor)
    seconds = items * seconds_per_item
    if ray_address(config) and seconds >= _MIN_SECONDS_FOR_JOINING_RAY:
        return Executor.RAY
    daemonic = multiprocessing.current_process().daemon
    if seconds >= _MIN_SECONDS_FOR_POOL and not daemonic and _processes(config) > 1:
        return Executor.MULTIPROCESSING
    return Executor.SEQUENTIAL


def ray_address(config: Config) -> str | None:
    """The Ray cluster to join: from the configuration, else from the environment."""
    return config.ray.address or os.environ.get("RAY_ADDRESS") or None


def map_chunks(
    function: Callable[[T], R], chunks: Sequence[T], executor: Executor, config: Config
) -> Iterator[R]:
    """Apply `function` to each chunk; yields results in the order of `chunks`.

    Args:
        function: importable by name, its argument and result picklable.
        chunks: each large enough to be worth a task (128 captures or so).
        executor: where the work is done.
        config: bounds of workers and of Ray.

    Raises:
        ServiceError: Ray can't be started or joined.
    """
    if executor is Executor.RAY:
        from biometric_core.executors.ray_pool import ray_map

        yield from ray_map(function, chunks, config)
    elif executor is Executor.MULTIPROCESSING:
        context = multiprocessing.get_context("spawn")
        with context.Pool(min(_processes(config), max(1, len(chunks)))) as pool:
            yield from pool.imap(function, chunks)
    else:
        yield from map(function, chunks)


def _processes(config: Config) -> int:
    return config.preprocess.workers or len(os.sched_getaffinity(0))
