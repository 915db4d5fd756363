import threading
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from biometric_core.errors import ConfigError, DataError
from biometric_core.schemas import TABLES
from biometric_core.store import Store, atomic_write


def features(ids: list[str], image: bytes = b"\0") -> pa.Table:
    rows = [
        {
            "capture_id": name,
            "preprocess_version": "1",
            "modality": "iris",
            "height": 1,
            "width": len(image),
            "image": image,
            "mask": image,
            "quality": 0.5,
            "failure": None,
        }
        for name in ids
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["features"])


def test_a_table_without_rows_reads_empty_with_its_schema(tmp_path):
    store = Store(tmp_path)
    assert store.read("captures").schema == TABLES["captures"]
    assert store.version("captures") is None


def test_all_256_pixel_values_survive(tmp_path):
    store, pixels = Store(tmp_path), bytes(range(256))
    store.append_new("features", features(["a"], pixels))
    assert store.read("features")["image"][0].as_py() == pixels


def test_known_keys_and_repeats_within_a_batch_are_not_written_again(tmp_path):
    store = Store(tmp_path)
    assert store.append_new("features", features(["a", "b", "a"])) == 2
    version = store.version("features")
    assert store.append_new("features", features(["b", "a"])) == 0
    assert store.version("features") == version, "a rerun makes no new version"
    assert store.append_new("features", features(["b", "c"])) == 1
    assert sorted(store.read("features")["capture_id"].to_pylist()) == ["a", "b", "c"]


def test_concurrent_writers_of_the_same_rows_write_them_once(tmp_path):
    names = [f"{i:03}" for i in range(50)]
    writers = [
        threading.Thread(target=Store(tmp_path).append_new, args=("features", features(names)))
        for _ in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(Store(tmp_path).read("features")["capture_id"].to_pylist()) == names


def test_older_versions_stay_readable_and_missing_ones_are_named(tmp_path):
    store = Store(tmp_path)
    store.append_new("features", features(["a"]))
    old = store.version("features")
    store.append_new("features", features(["b"]))
    assert store.read("features", ["capture_id"], version=old)["capture_id"].to_pylist() == ["a"]
    with pytest.raises(DataError, match="version 99"):
        store.read("features", version=99)


def test_rows_of_another_schema_are_refused(tmp_path):
    with pytest.raises(DataError, match="features"):
        Store(tmp_path).append_new("features", pa.table({"x": [1]}))


def test_times_and_embeddings_round_trip(tmp_path):
    store, now = Store(tmp_path), datetime(2026, 1, 5, 12, tzinfo=UTC)
    row = dict.fromkeys(TABLES["probes"].names) | {
        "capture_id": "a",
        "model_version": "1",
        "window": "current",
        "day": now.date(),
        "embedding": np.arange(4, dtype=np.float32).tolist(),
    }
    store.append_new("probes", pa.Table.from_pylist([row], schema=TABLES["probes"]))
    read = store.read("probes").to_pylist()[0]
    assert read["day"] == now.date()
    assert read["embedding"] == [0.0, 1.0, 2.0, 3.0]
    assert read["residual"] is None


def test_a_remote_root_is_refused_in_words(tmp_path):
    with pytest.raises(ConfigError, match="local folder"):
        Store("s3://bucket/x")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x" / "file"
    atomic_write(path, b"old")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_table_written_before_a_column_existed_is_read_and_appended_to(tmp_path):
    store, schema = Store(tmp_path), TABLES["captures"]
    older = pa.schema([field for field in schema if field.name != "sex"])
    row = dict.fromkeys(older.names) | {"capture_id": "old", "impression": 1}
    path = str(tmp_path / "tables" / "captures")
    write_deltalake(path, pa.Table.from_pylist([row], schema=older))
    before = store.version("captures")
    assert store.read("captures").schema == schema
    assert store.read("captures", ["sex", "capture_id"]).to_pylist() == [
        {"sex": None, "capture_id": "old"}
    ]
    newer = dict.fromkeys(schema.names) | {"capture_id": "new", "sex": "F"}
    rows = pa.Table.from_pylist([newer, {**newer, "capture_id": "old"}], schema=schema)
    assert store.append_new("captures", rows) == 1
    found = store.read("captures", ["capture_id", "sex"]).sort_by("capture_id").to_pylist()
    assert [row["sex"] for row in found] == ["F", None]
    assert store.read("captures", ["sex"], version=before).to_pylist() == [{"sex": None}]
    assert store.append_new("captures", rows) == 0
