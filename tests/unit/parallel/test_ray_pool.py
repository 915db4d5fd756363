"""What people have left in RAY_ADDRESS, against real sockets; and a real start that fails."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import grpc
import pytest

from biometric_core.config import Config
from biometric_core.errors import ServiceError
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor, ray_address


@contextmanager
def nobody() -> Iterator[int]:
    """A port that is taken, so that no one else gets it, and on which nobody listens.

    On all addresses, here and below: Ray asks this machine by its own, not the loopback one.
    """
    with socket.socket() as taken:
        taken.bind(("", 0))
        yield taken.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def web() -> Iterator[int]:
    """A web server."""
    with HTTPServer(("", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def other_grpc() -> Iterator[int]:
    """A gRPC server that isn't Ray's."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("0.0.0.0:0")
    server.start()
    yield port
    server.stop(None).wait()


def refusal(config: Config) -> str:
    """What is said of the configured cluster, in one line."""
    with pytest.raises(ServiceError) as refused:
        list(map_chunks(sum, [[1]], Executor.RAY, config))
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("form", ["localhost:{}", "ray://127.0.0.1:{}"])
@pytest.mark.parametrize(
    ("listener", "reason"),
    [
        (nobody, "Connection refused"),
        (silent, "no answer within 5 seconds"),
        (web, "Failed parsing HTTP/2"),
        (other_grpc, "another service"),
    ],
)
def test_an_address_without_ray_is_told_at_once(listener, reason, form, config, monkeypatch):
    # Where Ray is asked without a look, the first case takes 14 minutes.
    with listener() as port:
        address = form.format(port)
        monkeypatch.setenv("RAY_ADDRESS", address)
        said = refusal(config)
    assert said.startswith(f"no Ray cluster to join at {address}: ")
    assert reason in said
    assert "correct RAY_ADDRESS" in said


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("no-such-host.invalid:6379", "no-such-host.invalid"),
        ("127.0.0.1", "host:port"),
        (":6379", "host:port"),
        ("127.0.0.1:port", "host:port"),
        ("127.0.0.1:71915", "host:port"),  # gRPC would ask 6379
        ("http://127.0.0.1:8265", "host:port"),
        ("ray://", "host:port"),
    ],
)
def test_an_address_that_is_none_is_told_with_the_setting(address, reason, config, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    section = config.ray.model_copy(update={"address": address})
    said = refusal(config.model_copy(update={"ray": section}))
    assert said.startswith(f"no Ray cluster to join at {address}: ")
    assert reason in said
    assert "correct ray.address" in said


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", None),
        (" ", None),
        ("local", None),
        (" host:6379\n", "host:6379"),
        ("auto", "auto"),
    ],
)
def test_local_means_a_cluster_of_its_own(value, address, config, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert ray_address(config) == address


@pytest.mark.slow
def test_a_start_that_fails_is_tried_again_and_told(config, monkeypatch, caplog):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "0")  # its parts are all too late
    said = refusal(config)
    assert said.startswith("Ray doesn't start on this machine: ")
    assert "session_latest/logs" in said
    assert [r for r in caplog.messages if r.endswith("once more")]


@pytest.mark.slow
@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
@pytest.mark.parametrize("name", ["my proj (1) a#b ünï", "-$x"])
def test_the_folder_of_the_interpreter_may_have_any_name(name, tmp_path):
    # Ray starts its workers through a shell.
    folder = tmp_path / name
    folder.mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    script = (
        "from os.path import basename\n"
        "from biometric_core.config import load_config\n"
        "from biometric_core.parallel.chunks import map_chunks\n"
        "from biometric_core.parallel.executors import Executor\n"
        "config = load_config('test', {'ray': {'num_cpus': 1, 'object_store_mb': 100}})\n"
        "print(list(map_chunks(basename, ['a/b', 'c/d'], Executor.RAY, config)))\n"
    )
    python = folder / ".venv" / "bin" / Path(sys.executable).name
    env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    env["PYTHONPATH"] = str(Path(__file__).parents[3])
    done = subprocess.run([python, "-c", script], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["['b', 'd']"], done.stderr


def test_a_quote_in_the_folder_of_the_interpreter_is_refused(config, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "executable", "/home/o'brien/.venv/bin/python")
    assert "/home/o'brien/.venv/bin/python" in refusal(config)
