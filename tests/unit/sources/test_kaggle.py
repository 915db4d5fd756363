"""The real client against a server on this machine: nothing of the client is replaced.

The client is told to talk to its test address, http://localhost:7777, and reaches the server of the
test as its HTTP proxy: so any free port will do. It runs in a process of its own, because it reads
the environment and the home folder when it is imported.
"""

import base64
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from biometric_core.config import Config
from biometric_core.errors import ConfigError
from biometric_core.sources.kaggle import Credentials, download
from tests.support.small_sources import kaggle_people

DATASET = "somebody/some-set"
ACCOUNT = {"KAGGLE_USERNAME": "user", "KAGGLE_KEY": "right-key"}
CHILD = """
import json, sys
from biometric_core.config import Config
from biometric_core.errors import BiometricError
from biometric_core.sources.kaggle import Credentials, download
arguments = json.loads(sys.argv[2])
if "credentials" in arguments:
    arguments["credentials"] = Credentials(*arguments["credentials"])
try:
    result = download(Config(storage={"root": sys.argv[1]}), **arguments)
    print(json.dumps({"path": result.path, "files": result.files, "bytes": result.bytes}))
except BiometricError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as members:
        for name, data in kaggle_people("IRIS and FINGERPRINT DATASET/", 1).items():
            members.writestr(name, data)
    return packed.getvalue()


class Kaggle(BaseHTTPRequestHandler):
    """What the client needs of Kaggle: token check, download call, redirect, file with ranges."""

    server: "KaggleServer"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{}")
        call = urlsplit(self.path).path
        self.server.calls.append(call)
        if call.endswith("/IntrospectToken"):
            self._json(200, {"active": asked["token"] == "right-token", "username": "user"})
        elif self.headers["Authorization"] not in self.server.accepted:
            self._json(401, {"code": 401, "message": "Unauthenticated"})
        elif (asked["ownerSlug"], asked["datasetSlug"]) != tuple(DATASET.split("/")):
            self._json(404, {"code": 404, "message": "Not found"})
        else:
            self.send_response(302)
            self.send_header("Location", "http://localhost:7777/files/archive.zip")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_GET(self) -> None:
        self.server.calls.append(urlsplit(self.path).path)
        whole = self.server.body
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(whole) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        self.end_headers()
        cut, self.server.cut_after = self.server.cut_after, None
        self.wfile.write(whole[start : cut or len(whole)])

    def _json(self, status: int, record: dict[str, object]) -> None:
        data = json.dumps(record).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class KaggleServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Kaggle)
        self.body = archive()
        self.calls: list[str] = []
        self.cut_after: int | None = None
        basic = base64.b64encode(b"user:right-key").decode()
        self.accepted = {f"Basic {basic}", "Bearer right-token"}


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    with KaggleServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def fetch(server, tmp_path):
    def run(*, env: dict[str, str] | None = None, dataset: str = DATASET, **arguments):
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KAGGLE_API_ENVIRONMENT": "TEST",
            "http_proxy": f"http://127.0.0.1:{server.server_port}",
            "no_proxy": "",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                CHILD,
                str(tmp_path / "data"),
                json.dumps({"dataset": dataset, **arguments}),
            ],
            env=environment | (ACCOUNT if env is None else env),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "right-key" not in done.stdout + done.stderr
        return json.loads(done.stdout)  # and nothing else: stdout is for results

    return run


def kept(tmp_path: Path) -> list[str]:
    folder = tmp_path / "data"
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_download_reuse_and_force(fetch, server, tmp_path):
    result = fetch()
    path = tmp_path / "data/sources/kaggle/somebody/some-set.zip"
    assert result == {"path": str(path), "files": 15, "bytes": len(server.body)}
    assert path.read_bytes() == server.body
    assert kept(tmp_path) == ["sources/kaggle/somebody/some-set.zip"]
    asked = len(server.calls)
    assert fetch(env={}) == result  # what is there needs no account
    assert len(server.calls) == asked
    server.body = server.body.replace(b"somebody", b"someone_")
    path.write_bytes(b"old")
    assert fetch(force=True)["bytes"] == len(server.body)
    assert path.read_bytes() == server.body


@pytest.mark.slow
def test_credentials_of_every_kind(fetch, server, tmp_path):
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "kaggle.json").write_text('{"username": "user", "key": "right-key"}')
    (folder / "kaggle.json").chmod(0o600)
    for arguments in (
        {"env": {"KAGGLE_CONFIG_DIR": str(folder)}},
        {"env": {"KAGGLE_API_TOKEN": "right-token"}},
        {"env": {}, "credentials": ["user", "right-key"]},
        {"env": {}, "credentials": ["", "right-token"]},
        {"env": {"KAGGLE_USERNAME": "x", "KAGGLE_KEY": "y"}, "credentials": ["user", "right-key"]},
        {"env": {"KAGGLE_API_TOKEN": "stale"}, "credentials": ["user", "right-key"]},
    ):
        assert fetch(force=True, **arguments).get("files") == 15, arguments


def test_no_credentials(fetch, server, tmp_path):
    for env in ({}, {"KAGGLE_USERNAME": "user"}, {"KAGGLE_API_TOKEN": "wrong"}):
        result = fetch(env=env)
        assert result["error"] == "ConfigError"
        assert "KAGGLE_USERNAME and KAGGLE_KEY" in result["message"]
        assert "\n" not in result["message"]
    assert kept(tmp_path) == []


def test_refusals_say_what_to_do(fetch, tmp_path):
    wrong = fetch(env={"KAGGLE_USERNAME": "user", "KAGGLE_KEY": "wrong"})
    assert wrong["error"] == "ServiceError"
    assert "HTTP 401" in wrong["message"]
    assert "check user name and key" in wrong["message"]
    missing = fetch(dataset="somebody/nothing")
    assert missing["error"] == "ServiceError"
    assert "HTTP 404" in missing["message"]
    assert kept(tmp_path) == []


def test_no_connection(fetch, tmp_path):
    result = fetch(env=ACCOUNT | {"http_proxy": "http://127.0.0.1:9"})
    assert result["error"] == "ServiceError"
    assert "no connection" in result["message"]
    assert kept(tmp_path) == []


@pytest.mark.parametrize("damage", ["truncated", "altered", "no_archive"])
def test_a_damaged_archive_is_not_kept_and_spoils_nothing(fetch, server, tmp_path, damage):
    good = server.body
    altered = bytearray(good)
    altered[200] ^= 0xFF
    server.body = {
        "truncated": good[:-1000],
        "altered": bytes(altered),
        "no_archive": b"<html>error</html>",
    }[damage]
    result = fetch()
    assert result["error"] == "ServiceError"
    assert "damaged" in result["message"]
    assert kept(tmp_path) == []


@pytest.mark.slow
def test_a_connection_that_breaks_once_is_resumed(fetch, server):
    server.cut_after = len(server.body) // 2
    assert fetch()["bytes"] == len(server.body)
    assert server.calls.count("/files/archive.zip") == 2


@pytest.mark.parametrize("name", ["no-slash", "a/b/c", "a/../b", "https://x/y/z", "a/b/1/2", "/b"])
def test_names_that_are_no_data_set(tmp_path, name):
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        download(Config(storage={"root": str(tmp_path)}), dataset=name)


def test_the_key_is_never_shown():
    assert "secret" not in repr(Credentials("user", "secret"))


def test_importing_the_module_imports_no_client():
    code = "import sys, biometric_core.sources.kaggle; sys.exit('kaggle' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
