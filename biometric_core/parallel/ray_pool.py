"""Chunks of work as Ray tasks."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayError, RayTaskError

from biometric_core.config import Config
from biometric_core.errors import ServiceError
from biometric_core.parallel.executors import ray_address
from biometric_core.parallel.windowed import windowed

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def ray_cluster(config: Config) -> Iterator[None]:
    """Join the configured Ray cluster, or start a bounded one here and end it afterwards.

    Raises:
        ServiceError: the cluster can't be reached or started.
    """
    if ray.is_initialized():
        yield
        return
    address = ray_address(config)
    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(
                num_cpus=config.ray.num_cpus,
                object_store_memory=config.ray.object_store_mb * 2**20,
                include_dashboard=False,
                log_to_driver=False,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = address or "this machine"
        raise ServiceError(f"no Ray cluster at {where}: {error}; check ray.address") from error
    try:
        yield
    finally:
        ray.shutdown()


def ray_map(function: Callable[[T], R], chunks: Iterable[T], config: Config) -> Iterator[R]:
    """Apply `function` to each chunk as a Ray task; results in the order of `chunks`.

    At most four tasks a CPU are in flight, so that arguments don't fill the object store. A worker
    that is killed is replaced and its chunk done again (Ray retries a task three times).

    Raises:
        ServiceError: the cluster went away, or a task's workers keep being killed.
        Exception: what `function` raised.
    """
    with ray_cluster(config):
        task = ray.remote(num_cpus=1)(function)
        window = max(4, 4 * int(ray.cluster_resources().get("CPU", 1)))
        results: Iterator[R] = windowed(chunks, task.remote, _result, window)
        yield from results


def _result(task: Any) -> Any:
    try:
        return ray.get(task)
    except RayTaskError as error:
        raise error.cause from None  # as it was raised, without the worker's traceback around it
    except RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise ServiceError(f"work on Ray was lost ({reason}): run again, what is done stays") from (
            error
        )
