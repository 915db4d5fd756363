import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, write_deltalake

from biometric_core.errors import ConfigError, DataError
from biometric_core.schemas import TABLES
from biometric_core.storage.delta import PartFile
from biometric_core.storage.files import atomic_write
from biometric_core.storage.store import Store


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
    with ThreadPoolExecutor(3) as pool:
        writers = [
            pool.submit(Store(tmp_path).append_new, "features", features(names)) for _ in range(3)
        ]
    assert sum(writer.result() for writer in writers) == len(names)
    assert sorted(Store(tmp_path).read("features")["capture_id"].to_pylist()) == names


def test_older_versions_stay_readable_and_missing_ones_are_named(tmp_path):
    store = Store(tmp_path)
    store.append_new("features", features(["a"]))
    old = store.version("features")
    store.append_new("features", features(["b"]))
    assert store.read("features", ["capture_id"], version=old)["capture_id"].to_pylist() == ["a"]
    with pytest.raises(DataError, match="version 99"):
        store.read("features", version=99)


def test_a_version_whose_log_is_gone_is_not_taken_for_an_empty_table(tmp_path):
    store = Store(tmp_path)
    store.append_new("features", features(["a"]))
    table = DeltaTable(str(tmp_path / "tables" / "features"))
    table.create_checkpoint()
    for path in (tmp_path / "tables" / "features" / "_delta_log").glob("*.json"):
        path.unlink()
    assert store.read("features", ["capture_id"]).num_rows == 1
    with pytest.raises(DataError, match=r"features \(version 0\) can't be read"):
        store.read("features", version=0)


def test_a_table_of_an_older_package_keeps_its_log_from_the_next_write_on(tmp_path):
    def kept(name: str) -> str | None:
        configuration = DeltaTable(str(tmp_path / "tables" / name)).metadata().configuration
        return configuration.get("delta.logRetentionDuration")

    store = Store(tmp_path)
    for name in ("features", "captures"):
        write_deltalake(str(tmp_path / "tables" / name), TABLES[name].empty_table())
        assert kept(name) is None
    store.append_new("features", features(["a"]))
    store.compact("captures")
    assert kept("features") == kept("captures") == "interval 36500 days"


def test_a_scan_says_whether_files_are_gone(tmp_path):
    store = Store(tmp_path)
    store.append_new("features", features(["a"]))
    for path in (tmp_path / "tables" / "features").glob("*.parquet"):
        path.unlink()
        path.mkdir()  # reading it is an error, but it is there
        with pytest.raises(DataError, match=r"version 1\) can't be read: (?!.*vacuumed)"):
            store.read("features")
        path.rmdir()
    with pytest.raises(DataError, match="vacuumed or deleted"):
        store.read("features")


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


def test_a_root_of_another_kind_is_refused_in_words():
    with pytest.raises(ConfigError, match="local folder or s3://"):
        Store("gs://bucket/x")


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


def test_several_writers_may_add_a_column_at_once(tmp_path):
    older = TABLES["features"].remove(TABLES["features"].get_field_index("failure"))
    path = str(tmp_path / "tables" / "features")
    write_deltalake(path, features(["old"]).select(older.names))
    together = threading.Barrier(4)

    def append(name: str) -> int:
        together.wait()
        return Store(tmp_path).append_new("features", features([name]))

    with ThreadPoolExecutor(4) as writers:
        assert list(writers.map(append, "abcd")) == [1, 1, 1, 1]
    found = Store(tmp_path).read("features", ["capture_id", "failure"])
    assert sorted(found["capture_id"].to_pylist()) == ["a", "b", "c", "d", "old"]


@pytest.mark.parametrize("folder", ["a b", "100% ü", "a?b#c"])
def test_the_root_may_have_any_name(tmp_path, folder):
    store = Store(tmp_path / folder)
    store.append_new("features", features(["a"]))
    assert store.read("features", ["capture_id"])["capture_id"].to_pylist() == ["a"]


def test_a_process_may_end_in_the_middle_of_a_table(tmp_path):
    store = Store(tmp_path)
    for number in range(8):
        store.append_new("features", features([str(number)]))
    script = (
        "import sys; from biometric_core.storage.store import Store; store = Store(sys.argv[1])\n"
        "for _ in range(20): scan = store.scan('features'); next(scan)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == 0


def test_a_table_of_a_newer_version_is_not_written_to(tmp_path):
    store = Store(tmp_path)
    store.append_new("features", features(["a"]))
    table = DeltaTable(str(tmp_path / "tables" / "features"))
    table.alter.add_columns([Field("invented", "integer")])
    with pytest.raises(DataError, match=r"invented of type .* upgrade it"):
        store.append_new("features", features(["b"]))
    assert store.read("features", ["capture_id"])["capture_id"].to_pylist() == ["a"]


def test_files_are_committed_only_to_the_version_they_were_made_for(tmp_path):
    store = Store(tmp_path)
    store.append_new("features", features(["a"]))
    seen = store.version("features")
    pq.write_table(features(["b"]), tmp_path / "tables" / "features" / "b.parquet")
    size = (tmp_path / "tables" / "features" / "b.parquet").stat().st_size
    part = PartFile.of("b.parquet", size, features(["b"]).drop_columns(["image", "mask"]))
    store.append_new("features", features(["c"]))
    assert not store.append_files("features", [part], seen)
    assert store.append_files("features", [part], store.version("features"))
    assert sorted(store.read("features")["capture_id"].to_pylist()) == ["a", "b", "c"]
    found = store.read("features", ["capture_id"], pc.field("failure").is_null())
    assert found.num_rows == 3


def test_files_of_whole_chunks_are_not_written_again_and_tiny_ones_are(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    folder = tmp_path / "tables" / "features"
    for name in "abc":
        store.append_new("features", features([name], rng.bytes(2 * 2**20)))
    whole = set(folder.glob("*.parquet"))
    assert all(path.stat().st_size > 4 * 10**6 for path in whole)
    assert store.compact("features") == 0
    for number in range(12):
        store.append_new("features", features([str(number)]))
    assert store.compact("features") == 12
    used = {folder / name for name in DeltaTable(str(folder)).file_uris()}
    assert whole < used
    assert len(used) == 4
    assert store.read("features", ["capture_id"]).num_rows == 15


def test_what_stays_after_a_deletion_is_still_found_by_text(tmp_path):
    store = Store(tmp_path)
    store.append_new("features", features(["a", "b", "c"]))
    store.delete("features", "capture_id = 'b' AND modality = 'iris'")
    chosen = pc.field("modality") == "iris"
    assert store.read("features", ["capture_id"], chosen)["capture_id"].to_pylist() == ["a", "c"]
    store.delete("features", "capture_id = 'nobody'")
    assert store.read("features").num_rows == 2
