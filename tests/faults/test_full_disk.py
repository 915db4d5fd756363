"""A disk that is full: one clear line, and everything as it was."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from biometric_core.config import Config
from biometric_core.data.capture_sets import load_captures
from biometric_core.errors import StorageError
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.storage.store import Store
from tests.faults.small_disks import fill_up, mounted
from tests.unit.storage.test_store import features


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", megabytes=4) as folder:
        yield folder


def on(disk: Path, config: Config) -> Config:
    section = config.storage.model_copy(update={"root": str(disk / "data")})
    return config.model_copy(update={"storage": section})


def test_a_table_stays_as_it_was(small_disk):
    store = Store(small_disk / "data")
    store.append_new("features", features(["a"]))
    version = store.version("features")
    with pytest.raises(StorageError, match="no space left on device"):
        store.append_new("features", features(["b"], os.urandom(6 << 20)))
    ballast = fill_up(small_disk)
    with pytest.raises(StorageError, match="no space left on device"):
        store.append_new("features", features(["b"]))
    assert store.version("features") == version
    assert store.read("features", ["capture_id"])["capture_id"].to_pylist() == ["a"]
    ballast.unlink()
    assert store.append_new("features", features(["b"])) == 1


def test_a_table_that_could_not_be_made_can_be_made_later(small_disk):
    store = Store(small_disk / "data")
    ballast = fill_up(small_disk)
    with pytest.raises(StorageError, match="no space left"):
        store.append_new("features", features(["a"]))
    ballast.unlink()
    assert store.append_new("features", features(["a"])) == 1


def test_the_stages_say_so_and_complete_once_there_is_space(small_disk, config, people):
    config = on(small_disk, config)
    (small_disk / "data").mkdir()
    ballast = fill_up(small_disk, leave=256 << 10)
    with pytest.raises(StorageError, match="no space left"):
        ingest(config, source=str(people))
    ballast.unlink()
    taken = ingest(config, source=str(people))
    store = Store.of(config)
    everything = store.read("captures").num_rows
    assert taken.added <= everything
    ballast = fill_up(small_disk, leave=128 << 10)
    with pytest.raises(StorageError, match="no space left"):
        preprocess(config)
    ballast.unlink()
    preprocess(config)
    assert sum(len(found) for found in load_captures(store, config).values()) == everything


@pytest.mark.long
def test_a_full_disk_is_one_line_through_ray_as_well(small_disk, config, people, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    section = config.ray.model_copy(update={"num_cpus": 1, "object_store_mb": 100})
    config = on(small_disk, config).model_copy(update={"ray": section})
    ingest(config, source=str(people))
    fill_up(small_disk, leave=64 << 10)
    with pytest.raises(StorageError, match="no space left") as caught:
        preprocess(config, executor="ray")
    assert type(caught.value) is StorageError
    assert "\n" not in str(caught.value)
