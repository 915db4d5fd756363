"""The address of an object store is bucket and prefix; all else is the environment's."""

import http.server
import threading

import pytest

from biometric_core.config import load_config
from biometric_core.errors import ConfigError
from biometric_core.sources.reader import open_source
from biometric_core.storage.files import Files, is_remote, object_path
from biometric_core.storage.store import Store
from biometric_core.tracking.client import artifact_location

SECRET = "s3cret"
NOT_PLAIN = [
    "s3://x/y?endpoint_override={host}&scheme=http",
    "s3://x?endpoint_override={host}",
    "s3://x/y?",
    "s3://x/y#part",
    f"s3://key:{SECRET}@x/y",
    f"s3://key:{SECRET}@x/y?scheme=http",
    f"s3://x/y?access_key=key&secret_key={SECRET}@z",
    "s3://{host}/x",
    "s3://x/../y",
    "s3://x/%2e%2e/y",
    "s3://x/.",
    "s3://x//y",
    "s3://x/y%3Fendpoint_override={host}",
    "s3://x/%00",
    "s3://x/%ff",
    "s3://x/a\nb",
    "s3://x\\@{host}/y",
    "s3://",
    "s3:///y",
    "S3://x/y?endpoint_override={host}",
]


@pytest.fixture
def elsewhere():
    """`host:port` of a server, and the requests that reached it."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_PUT = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", requests
        server.shutdown()


@pytest.mark.parametrize("address", NOT_PLAIN)
def test_no_address_leads_a_signed_request_to_another_host(address, elsewhere, tmp_path, bucket):
    host, requests = elsewhere
    given = address.format(host=host)
    artifacts = {
        "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
        "artifact_root": given,
    }
    config = load_config("test")
    for use in (
        lambda: open_source(given, config.ingest),
        lambda: open_source(given + "/x.zip", config.ingest),
        lambda: Files(given),
        lambda: Store(given, tmp_path / "work"),
        lambda: artifact_location(load_config("test", {"mlflow": artifacts})),
    ):
        with pytest.raises(ConfigError) as raised:
            use()
        assert "\n" not in str(raised.value)
        assert SECRET not in str(raised.value)
    assert requests == []


@pytest.mark.parametrize(
    "root",
    [
        *(
            "gs://bucket/x?y=1",
            "gs://bucket/x#y",
            f"hdfs://user:{SECRET}@host/x",
            "HTTP://u@host/x",
        ),
        "wasbs://box@account.blob.core.windows.net/x?sig=1",
    ],
)
def test_so_it_is_with_artifacts_of_other_kinds(root, tmp_path):
    artifacts = {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", "artifact_root": root}
    with pytest.raises(ConfigError, match=r"mlflow\.artifact_root") as raised:
        artifact_location(load_config("test", {"mlflow": artifacts}))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("s3://bucket", "bucket"),
        ("s3://bucket/", "bucket"),
        ("s3://my.bucket-1/a/b/", "my.bucket-1/a/b"),
        ("s3://bucket/a%20b/c d", "bucket/a b/c d"),
        ("s3://bucket/people@work/ünï", "bucket/people@work/ünï"),
    ],
)
def test_bucket_and_prefix_are_read_from_it(address, path):
    assert is_remote(address)
    assert str(object_path(address)) == path


def test_a_prefix_with_a_blank_is_the_same_however_it_is_written(bucket):
    Files(f"{bucket}/a b").write("x", b"one")
    assert Files(f"{bucket}/a%20b").read("x") == b"one"
