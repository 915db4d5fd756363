"""Apply a function to chunks of work, in their order."""

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from biometric_core.config import Config
from biometric_core.parallel.executors import Executor, processes

T = TypeVar("T")
R = TypeVar("R")


def map_chunks(
    function: Callable[[T], R], chunks: Iterable[T], executor: Executor, config: Config
) -> Generator[R, None, None]:
    """Apply `function` to each chunk; yields results in the order of `chunks`.

    Args:
        function: importable by name, its argument and result picklable.
        chunks: each large enough to be worth a task (128 captures or so); taken as results are.
        executor: where the work is done.
        config: bounds of workers and of Ray.

    Raises:
        ServiceError: Ray can't be started or joined, or workers keep being killed.
    """
    if executor is Executor.RAY:
        from biometric_core.parallel.ray_pool import ray_map

        yield from ray_map(function, chunks, config)
    elif executor is Executor.MULTIPROCESSING:
        from biometric_core.parallel.process_pool import process_map

        yield from process_map(function, chunks, processes(config))
    else:
        yield from map(function, chunks)
