"""Chunks of work as Ray tasks."""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from biometric_core.parallel.patience import ray_start_limits

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.update(ray_start_limits())  # Ray reads them when it is imported

import grpc
import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.exceptions import RayError, RayTaskError

from biometric_core.config import Config
from biometric_core.errors import ServiceError
from biometric_core.parallel.executors import ray_address
from biometric_core.parallel.windowed import windowed

T = TypeVar("T")
R = TypeVar("R")
_log = logging.getLogger(__name__)
_ANSWER_WITHIN = 5.0  # seconds in which a living cluster says that it is there
_CLIENT = "ray://"
# The smallest questions of Ray's two services, as encoded messages: is a node alive; a ping.
_QUESTIONS = {
    False: ("/ray.rpc.NodeInfoGcsService/CheckAlive", b""),
    True: ("/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x06"),
}
_STARTS = 2


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
    if address:
        _join(address, "ray.address" if config.ray.address else "RAY_ADDRESS")
    else:
        _start(config)
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str, setting: str) -> None:
    """Join a cluster that answers; Ray alone would try for a quarter of an hour.

    Args:
        address: `host:port`, `ray://host:port` or `auto`.
        setting: where it comes from, for people.
    """
    try:
        _knock(address)
        _log.info("joining the Ray cluster at %s", address)
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RayError, RuntimeError, ValueError, grpc.RpcError) as error:
        raise ServiceError(
            f"no Ray cluster to join at {address}: {_reason(error)}; "
            f"start it, or correct {setting} (`local` or nothing: start one here)"
        ) from error


def _knock(address: str) -> None:
    """Ask what listens at an address whether it is Ray, and takes the token; raises if not."""
    client = address.startswith(_CLIENT)
    where: str = address.removeprefix(_CLIENT)
    if address != "auto" and not _names_a_port(where):
        raise ValueError("an address is host:port, ray://host:port or auto")
    found = where if client else canonicalize_bootstrap_address(where)
    channel = init_grpc_channel(str(found), options=[("grpc.enable_http_proxy", 0)])
    try:
        method, question = _QUESTIONS[client]
        channel.unary_unary(method)(question, timeout=_ANSWER_WITHIN)
    finally:
        channel.close()


def _names_a_port(where: str) -> bool:
    host, _, port = where.rpartition(":")
    # gRPC would take 71915 as 6379.
    return bool(host) and "/" not in where and port.isdecimal() and 0 < int(port) < 2**16


def _reason(error: Exception) -> str:
    """What Ray or gRPC said, in one line for people."""
    if not isinstance(error, grpc.RpcError):
        return " ".join(str(error).split())[:300]
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer within {_ANSWER_WITHIN:.0f} seconds"
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "what listens there is another service, or Ray's other port (6379, ray:// 10001)"
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return "it refuses the token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH)"
    return " ".join(str(error.details()).split())[-200:]


def _start(config: Config) -> None:
    """Start a cluster on this machine; once more where its parts were late for each other."""
    if "'" in sys.executable:
        raise ServiceError(
            f"Ray can't start from a folder with a quote in its name ({sys.executable}): rename it"
        )
    quoted = shlex.quote(sys.executable)  # Ray starts workers through a shell and quotes nothing
    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                address="local",
                num_cpus=config.ray.num_cpus,
                object_store_memory=config.ray.object_store_mb * 2**20,
                include_dashboard=False,
                log_to_driver=False,
                runtime_env=None if quoted == sys.executable else {"py_executable": quoted},
            )
        except Exception as error:  # of no narrower kind where a part isn't up in time
            ray.shutdown()
            if not left:
                raise ServiceError(
                    f"Ray doesn't start on this machine: {_reason(error)}; its logs are in "
                    f"{Path(get_default_ray_temp_dir()) / 'session_latest' / 'logs'}"
                ) from error
            _log.warning("Ray didn't start (%s): once more", _reason(error))
        else:
            return


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
        raise ServiceError(
            f"work on Ray was lost ({_reason(error)}): run again, what is done stays"
        ) from error
