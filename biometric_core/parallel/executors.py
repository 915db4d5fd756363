"""Parallel map over chunks of work: in this process, over processes, or over Ray.

Results come in the order of the chunks whatever the executor: the output is the same bit for bit.
"""

import multiprocessing
import os
from enum import StrEnum

from biometric_core.config import Config
from biometric_core.errors import ConfigError
from biometric_core.parallel.thread_limits import usable_cores

# Measured: a pool of processes costs about 1.5 s to start, a Ray cluster about 9 s.
_MIN_SECONDS_FOR_POOL = 4.0
_MIN_SECONDS_FOR_JOINING_RAY = 2.0
_MIN_SECONDS_FOR_STARTING_RAY = 30.0


class Executor(StrEnum):
    """How chunks of captures are worked on."""

    SEQUENTIAL = "sequential"
    MULTIPROCESSING = "multiprocessing"
    RAY = "ray"


def choose(config: Config, items: int, seconds_per_item: float) -> Executor:
    """The executor that finishes first, by the size and cost of the work.

    A running Ray cluster (`ray.address` or RAY_ADDRESS) is joined for a few seconds' work. Without
    one, processes are started; where this process may have no children (a Celery task may not), a
    Ray cluster on this machine for half a minute's work and more.

    Raises:
        ConfigError: processes are asked for where there may be none.
    """
    daemonic = multiprocessing.current_process().daemon
    if config.preprocess.executor != "auto":
        chosen = Executor(config.preprocess.executor)
        if chosen is Executor.MULTIPROCESSING and daemonic:
            raise ConfigError(
                "preprocess.executor is multiprocessing, but a Celery task may start no processes: "
                "set ray, sequential or auto"
            )
        return chosen
    seconds = items * seconds_per_item
    if ray_address(config) and seconds >= _MIN_SECONDS_FOR_JOINING_RAY:
        return Executor.RAY
    if processes(config) == 1:
        return Executor.SEQUENTIAL
    if daemonic:
        enough = seconds >= _MIN_SECONDS_FOR_STARTING_RAY
        return Executor.RAY if enough else Executor.SEQUENTIAL
    if seconds >= _MIN_SECONDS_FOR_POOL:
        return Executor.MULTIPROCESSING
    return Executor.SEQUENTIAL


def ray_address(config: Config) -> str | None:
    """The Ray cluster to join: from the configuration, else from the environment.

    Returns:
        None where one is to be started on this machine (`local` says so, as it does to Ray).
    """
    address = (config.ray.address or os.environ.get("RAY_ADDRESS") or "").strip()
    return None if address in ("", "local") else address


def processes(config: Config) -> int:
    """How many processes work side by side on this machine."""
    return config.preprocess.workers or usable_cores()
