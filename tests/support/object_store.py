"""A real object-store server (moto) for tests, and a bucket of it for one test."""

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pyarrow.fs import FileSystem

_START_SECONDS = 60.0


@contextmanager
def object_store_server() -> Iterator[str]:
    """Its endpoint. In a process of its own: a client that holds the GIL can't starve it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(server, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def environment(endpoint: str) -> dict[str, str]:
    """What both pyarrow and deltalake need to reach the server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def new_bucket() -> str:
    """URL of a fresh bucket; the environment must name the server."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    # Only from_uri heeds AWS_ENDPOINT_URL; S3FileSystem() goes to Amazon.
    store, path = FileSystem.from_uri(f"s3://{name}?allow_bucket_creation=true")
    store.create_dir(path)
    return f"s3://{name}"


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < give_up:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the moto server did not start")
