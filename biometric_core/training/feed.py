"""The batches of an epoch, the next one made while the network works on this one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import torch

from biometric_core.parallel.thread_limits import usable_cores
from biometric_core.parallel.windowed import windowed
from biometric_core.recogniser.network import TrainingBatch
from biometric_core.schemas import Modality
from biometric_core.training.batches import Fetched, Labelled, Rows, assemble, fetch

T = TypeVar("T")
R = TypeVar("R")


def feed(
    plan: Sequence[Rows],
    data: Mapping[Modality, Labelled],
    device: torch.device,
    generator: torch.Generator,
    *,
    alone: bool = True,
) -> Iterator[TrainingBatch]:
    """The batch of each step, in order.

    For a GPU a thread reads the next captures into pinned memory, and the GPU distorts them. On the
    CPU a thread makes the whole next batch where a core is free; where the network uses them all it
    would only be in its way (measured: slower by a tenth).

    Args:
        plan: the rows of each step.
        data: training captures.
        device: where the network is.
        generator: on `device`; used for one step after the other, so that the result is the same.
        alone: no other worker of the fit uses this machine.
    """

    def made(fetched: Fetched) -> TrainingBatch:
        return assemble(fetched, data, device, generator)

    if device.type == "cuda":
        yield from map(made, _ahead(partial(fetch, data=data, pinned=True), plan))
    elif alone and torch.get_num_threads() < usable_cores():
        yield from _ahead(lambda rows: made(fetch(rows, data)), plan)
    else:
        yield from (made(fetch(rows, data)) for rows in plan)


def _ahead(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """The results in order, one of them made in advance."""
    # A new thread of OpenMP would use all cores, whatever this one was told.
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:

        def submit(item: T) -> Future[R]:
            return pool.submit(work, item)

        yield from windowed(items, submit, Future.result, 2)
