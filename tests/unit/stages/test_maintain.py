import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from biometric_core.errors import DataError
from biometric_core.schemas import TABLES
from biometric_core.stages.maintain import maintain, named_versions
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from biometric_core.tracking.client import mlflow_client
from tests.support.tiny_store import changed, fill, small

DAY = 24 * 3600


@pytest.fixture
def tiny(config):
    """Four versions of each table, a small file for each."""
    config = changed(small(config), "storage", retention_days=0)
    for impression in range(1, 5):
        fill(config, subjects=3, impressions=range(impression, impression + 1))
    return config


def train_run(config, **tags):
    """A training run as far as the versions it names go."""
    with runs.run(config, name="made for a test", tags={runs.KIND: "training", **tags}) as run:
        return run.run_id


def rows(store, name, version=None):
    return store.read(name, version=version).sort_by("capture_id")


def test_versions_that_models_name_stay_and_others_go(tiny):
    store = Store.of(tiny)
    train_run(tiny, data_version="2", captures_version="3", probes_version="4")
    named = {"features": rows(store, "features", 2), "captures": rows(store, "captures", 3)}
    now = {name: rows(store, name) for name in named}
    result = maintain(tiny)
    assert result.kept == {"features": [2], "captures": [3], "probes": [4]}
    assert result.compacted == {"features": 4, "captures": 4}
    assert rows(store, "features", 2).equals(named["features"])
    assert rows(store, "captures", 3).equals(named["captures"])
    assert all(rows(store, name).equals(table) for name, table in now.items())
    # Version 3 of the features needs one more small file than version 2 does.
    assert result.deleted == {"features": 2, "captures": 1}
    with pytest.raises(DataError, match="vacuumed"):
        store.read("features", version=3)


def test_registered_models_are_asked_as_well(tiny):
    train_run(tiny, data_version="3", captures_version="none")
    name = tiny.mlflow.model_name
    with mlflow_client(tiny, "register a version whose run is gone") as client:
        client.create_registered_model(name)
        client.create_model_version(name, "file:///nowhere", tags={"data_version": "1"})
    assert named_versions(tiny) == {"features": {1, 3}, "captures": set(), "probes": set()}


def test_where_no_model_is_known_no_version_is_deleted(tiny):
    result = maintain(tiny)
    assert result.compacted == {"features": 4, "captures": 4}
    assert result.deleted == {}
    assert Store.of(tiny).read("features", version=1).num_rows == 6


def test_an_object_store_is_maintained_as_well(tiny, bucket):
    remote = changed(tiny, "storage", root=f"{bucket}/data", retention_days=0)
    store = Store.of(remote)
    rows_at = []
    for version in range(1, 4):
        table = Store.of(tiny).read("captures", version=version)
        store.append_new("captures", table)
        rows_at.append(rows(store, "captures"))
    train_run(remote, captures_version=str(store.version("captures") - 1))
    result = maintain(remote)
    assert result.compacted == {"captures": 3}
    assert result.deleted == {"captures": 1}
    assert rows(store, "captures").equals(rows_at[-1])
    assert rows(store, "captures", result.kept["captures"][0]).equals(rows_at[-2])


def test_doing_it_again_changes_nothing(tiny):
    store = Store.of(tiny)
    train_run(tiny, data_version="4")
    first = maintain(tiny)
    assert first.freed_bytes > 0
    versions = {name: store.version(name) for name in TABLES}
    again = maintain(tiny)
    assert (again.compacted, again.deleted, again.freed_bytes) == ({}, {}, 0)
    assert {name: store.version(name) for name in TABLES} == versions


def test_young_versions_and_files_under_way_stay(tiny):
    store = Store.of(tiny)
    train_run(tiny, data_version="4")
    orphan = store.path("tables", "features", "part-of-a-worker.parquet")
    orphan.write_bytes(b"not committed yet")
    result = maintain(changed(tiny, "storage", retention_days=30))
    assert result.deleted == {}
    assert orphan.exists()
    assert store.read("features", version=1).num_rows == 6
    long_ago = time.time() - 31 * DAY
    os.utime(orphan, (long_ago, long_ago))
    assert maintain(changed(tiny, "storage", retention_days=30)).deleted == {"features": 1}
    assert not orphan.exists()


def test_compacted_rows_are_found_by_their_columns(tiny):
    store = Store.of(tiny)
    failed = store.read("features").slice(0, 1).to_pylist()[0]
    failed |= {"capture_id": "new", "failure": "no_pupil", "image": b"", "mask": b""}
    store.append_new("features", pa.Table.from_pylist([failed], schema=TABLES["features"]))
    known = rows(store, "features")
    train_run(tiny, data_version="5")
    maintain(tiny)
    null = pa.compute.field("failure").is_null()
    assert store.read("features", filter=null).num_rows == 24
    assert store.read("features", ["capture_id"], ~null).to_pylist() == [{"capture_id": "new"}]
    assert store.append_new("features", known) == 0


def test_a_named_version_whose_log_is_gone_does_not_stop_the_rest(tiny, caplog):
    store = Store.of(tiny)
    train_run(tiny, data_version="1", captures_version="3")
    train_run(tiny, data_version="4", captures_version="3")
    log = store.path("tables", "features", "_delta_log")
    DeltaTable(str(log.parent)).create_checkpoint()
    for version in range(3):
        (log / f"{version:020}.json").unlink()
    now = rows(store, "features")
    assert maintain(tiny).deleted
    assert "features (version 1) can't be read" in caplog.text
    assert rows(store, "features", 4).equals(now)
    assert rows(store, "features").equals(now)


def test_models_of_another_store_do_no_harm(tiny):
    train_run(tiny, data_version="9000", captures_version="9000")
    assert maintain(tiny).deleted
    assert Store.of(tiny).read("captures").num_rows == 24


def test_caches_that_nobody_used_go_as_a_whole(tiny):
    store = Store.of(tiny)
    long_ago = time.time() - 31 * DAY
    old = store.path("cache", "features-v1.arrow")
    mixed = [store.path("cache", "runs", "a", "evaluation", name) for name in ("x", "y")]
    stale = [store.path("cache", "runs", "b", "recogniser", name) for name in ("x", "y")]
    report = store.path("reports", "data", "old.html")
    for path in (old, *mixed, *stale, report):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
        os.utime(path, (long_ago, long_ago))
    mixed[0].write_bytes(b"new")
    result = maintain(changed(tiny, "storage", retention_days=30))
    assert result.cache_files == 3
    assert result.freed_bytes == 12
    assert not old.exists()
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in (*mixed, report))


def test_a_training_that_nobody_takes_up_again_loses_its_checkpoint(tiny):
    store = Store.of(tiny)
    abandoned = [store.path("checkpoints", "a", *name) for name in (("x",), ("ray", "0", "y"))]
    resumed = [store.path("checkpoints", "b", *name) for name in (("x",), ("ray", "0", "y"))]
    for path in (*abandoned, *resumed):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
        os.utime(path, (time.time() - 31 * DAY,) * 2)
    resumed[1].write_bytes(b"a new epoch")
    result = maintain(changed(tiny, "storage", retention_days=30))
    assert (result.checkpoint_files, result.freed_bytes) == (2, 8)
    assert not store.path("checkpoints", "a").exists()
    assert all(path.exists() for path in resumed)


def test_half_an_image_that_a_killed_process_has_left_goes_after_a_day(tiny):
    images = Store.of(tiny).path("images", "ab", "any").parent
    whole, old, young = (images / name for name in ("abc", ".abc.k2j4", ".abd.93kd"))
    for path in (whole, old, young):
        path.write_bytes(b"1234")
    two_days_ago = time.time() - 2 * DAY
    for path in (whole, old):
        os.utime(path, (two_days_ago, two_days_ago))
    result = maintain(tiny)
    assert (result.half_written, result.freed_bytes) == (1, 4)
    assert sorted(path.name for path in images.iterdir()) == [".abd.93kd", "abc"]


def test_reports_stay_for_a_year_by_default_and_then_go(tiny):
    store, today = Store.of(tiny), datetime.now(UTC).date()
    days = {age: (today - timedelta(days=age)).isoformat() for age in (364, 366)}
    by_age = {
        age: [
            store.path("reports", days[age], "drift.html"),
            store.path("reports", "data", f"{age}.html"),
            store.path("evaluation", f"run{age}", "model_card.md"),
        ]
        for age in days
    }
    for age, paths in by_age.items():
        for path in paths:
            path.write_bytes(b"1234")
            os.utime(path, (time.time() - age * DAY,) * 2)
    result = maintain(changed(tiny, "storage", retention_days=30))
    assert (result.report_days, result.report_files) == (1, 2)
    assert all(path.exists() for path in by_age[364])
    assert not any(path.exists() for path in by_age[366])
    sooner = maintain(changed(tiny, "storage", retention_days=30, report_days=30))
    assert (sooner.report_days, sooner.report_files) == (1, 2)


def test_caches_may_vanish_while_they_are_looked_at(config, monkeypatch):
    config = changed(small(config), "storage", retention_days=30)
    folder = Store.of(config).path("cache", "runs", "a", "x").parent
    long_ago = time.time() - 31 * DAY
    looked_at = Path.stat

    def vanishing(path: Path, **options: bool) -> os.stat_result:
        status = looked_at(path, **options)
        if path == folder:  # somebody else removes one file before we look at it, and one after
            (folder / "before").unlink(missing_ok=True)
        if path.name == "after":
            path.unlink()
        return status

    for name in ("before", "after", "old"):
        (folder / name).write_bytes(b"1234")
        os.utime(folder / name, (long_ago, long_ago))
    monkeypatch.setattr(Path, "stat", vanishing)
    result = maintain(config)
    assert result.cache_files == 2
    assert not folder.exists()


def test_a_store_without_tables_has_nothing_to_maintain(config):
    result = maintain(small(config))
    assert (result.compacted, result.deleted, result.cache_files) == ({}, {}, 0)
