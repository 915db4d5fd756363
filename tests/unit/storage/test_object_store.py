"""The same store on a real S3-compatible server."""

import subprocess
import sys

import pytest

from biometric_core.config import Config
from biometric_core.data.capture_sets import load_captures
from biometric_core.errors import ConfigError, DataError, StorageError
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.storage.files import Files
from biometric_core.storage.store import Store
from tests.unit.storage.test_store import features


@pytest.fixture
def remote(config: Config, bucket: str, tmp_path, monkeypatch) -> Config:
    monkeypatch.setenv("BIOMETRIC_PSEUDONYM_KEY", "k" * 32)
    section = {"root": f"{bucket}/store", "work": str(tmp_path / "work")}
    return config.model_copy(update={"storage": config.storage.model_copy(update=section)})


def test_files_are_written_read_listed_and_deleted(bucket):
    files = Files(f"{bucket}/a/b/")
    assert not files.exists("x/1")
    files.write("x/1", b"one")
    files.write("x/y/2", b"two")
    assert files.read("x/1") == b"one"
    assert files.open("x/y/2").read_at(2, 1) == b"wo"
    assert sorted(files.list("x")) == [("x/1", 3), ("x/y/2", 3)]
    files.delete("x/1")
    files.delete("x/1")
    assert list(files.list("missing")) == []
    assert not files.exists("x/1")
    with pytest.raises(FileNotFoundError):
        files.read("x/1")


def test_a_bucket_that_is_not_there_is_one_line_without_the_key(bucket):
    with pytest.raises(StorageError, match=r"missing/p \(NO_SUCH_BUCKET\)") as raised:
        Files(f"{bucket}-missing/p").write("somebody/1.bmp", b"x")
    assert "somebody" not in str(raised.value)
    assert raised.value.__suppress_context__, "a traceback doesn't show the key either"


@pytest.mark.slow
def test_a_store_out_of_reach_is_one_line_without_the_key(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="NETWORK_CONNECTION") as raised:
        list(Files(bucket).list("somebody"))
    assert "somebody" not in str(raised.value)


def test_captures_go_through_an_object_store_as_through_a_folder(config, remote, people):
    for each in (config, remote):
        ingest(each, source=str(people))
        assert preprocess(each).prepared > 0
        assert preprocess(each).prepared == 0
    here, there = load_captures(Store.of(config), config), load_captures(Store.of(remote), remote)
    for modality, captures in here.items():
        assert (captures.capture_id == there[modality].capture_id).all()
        assert (captures.images[:] == there[modality].images[:]).all()
        assert (captures.masks[:] == there[modality].masks[:]).all()


def test_several_writers_write_each_key_once(remote):
    script = (
        "import sys\nfrom biometric_core.storage.store import Store\n"
        "from tests.unit.storage.test_store import features\n"
        "store = Store(sys.argv[1], sys.argv[2])\n"
        "for start in range(0, 60, 20):\n"
        "    store.append_new('features', features([f'{n:02}' for n in range(start, start + 20)]))"
    )
    arguments = [remote.storage.root, remote.storage.work]
    writers = [subprocess.Popen([sys.executable, "-c", script, *arguments]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = Store.of(remote).read("features", ["capture_id"])["capture_id"].to_pylist()
    assert sorted(found) == [f"{n:02}" for n in range(60)]


def test_older_versions_stay_readable(remote):
    store = Store.of(remote)
    store.append_new("features", features(["a"]))
    old = store.version("features")
    store.append_new("features", features(["b"]))
    assert store.read("features", ["capture_id"], version=old)["capture_id"].to_pylist() == ["a"]


@pytest.mark.slow
def test_a_store_that_is_out_of_reach_is_not_taken_for_a_damaged_one(
    remote, object_store, monkeypatch
):
    store, opened = Store.of(remote), Store._open
    store.append_new("features", features(["a"]))

    def then_gone(*args):
        table = opened(*args)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        return table

    with monkeypatch.context() as patched:
        patched.setattr(Store, "_open", then_gone)
        with pytest.raises(StorageError, match=r"can't be reached: .*; run again"):
            store.read("features")
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    for uri, _ in store.files.list("tables/features"):
        if uri.endswith(".parquet"):
            store.files.delete(uri)
    with pytest.raises(DataError, match="vacuumed or deleted"):
        store.read("features")


def test_the_key_of_pseudonyms_must_come_from_outside(remote, people, monkeypatch):
    monkeypatch.delenv("BIOMETRIC_PSEUDONYM_KEY")
    with pytest.raises(ConfigError, match="BIOMETRIC_PSEUDONYM_KEY"):
        ingest(remote, source=str(people))
