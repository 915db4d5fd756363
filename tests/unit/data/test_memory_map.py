import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pytest

from biometric_core.data import memory_map as module
from biometric_core.data.capture_sets import load_captures
from biometric_core.data.memory_map import Origin, materialised
from biometric_core.errors import DataError, StorageError
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.schemas import TABLES, Modality
from biometric_core.storage.store import Store
from tests.support.tiny_store import fill, small

DAY = 24 * 3600


@pytest.fixture
def store(config):
    config = small(config)
    fill(config, subjects=5)
    return Store.of(config)


@pytest.fixture
def origin(config, store):
    config = small(config)
    version = store.version("features")
    return Origin(
        store.root, config.storage.work, preprocess_version(config), Modality.IRIS, version
    )


def cached(store):
    return sorted(path.name for path in store.path("cache", "x").parent.iterdir())


def test_it_holds_every_capture_as_the_table_has_it(store, origin):
    table = store.read("features").to_pylist()
    expected = {row["capture_id"]: row for row in table if row["modality"] == "iris"}
    with pa.memory_map(str(materialised(origin))) as source:
        reader = pa.ipc.open_file(source)
        assert reader.num_record_batches == 1
        rows = reader.get_batch(0).to_pylist()
    assert len(rows) == len(expected) == 20
    for row in rows:
        assert all(row[name] == expected[row["capture_id"]][name] for name in row)


def test_all_values_of_a_pixel_survive(store, config):
    ramp = np.arange(512, dtype=np.uint16).astype(np.uint8)
    row = {"capture_id": "ramp", "preprocess_version": preprocess_version(small(config))}
    row |= {"modality": "iris", "height": 16, "width": 32, "quality": 1.0, "failure": None}
    row |= {"image": ramp.tobytes(), "mask": ramp[::-1].tobytes()}
    store.append_new("features", pa.Table.from_pylist([row], schema=TABLES["features"]))
    capture = store.read("captures").to_pylist()[0] | {"capture_id": "ramp"}
    store.append_new("captures", pa.Table.from_pylist([capture], schema=TABLES["captures"]))
    captures = load_captures(store, small(config))[Modality.IRIS]
    place = captures.capture_id.tolist().index("ramp")
    assert captures.images[place].tobytes() == ramp.tobytes()
    assert captures.masks[place].tobytes() == ramp[::-1].tobytes()


def test_versions_in_use_leave_each_other_alone_and_older_ones_go(store, origin, config):
    old = load_captures(store, small(config))
    before = np.array(old[Modality.IRIS].images)
    files = {path: path.stat().st_ino for path in store.path("cache", "x").parent.iterdir()}
    fill(small(config), subjects=7)
    new = load_captures(store, small(config))
    assert len(new[Modality.IRIS]) == 28
    again = load_captures(store, small(config), version=origin.version)
    assert {path: path.stat().st_ino for path in files} == files, "none was made anew"
    assert len(cached(store)) == 4, "one file a modality and version"

    for path in store.path("cache", "x").parent.iterdir():
        os.utime(path, (time.time() - 2 * DAY,) * 2)
    load_captures(store, small(config))
    fill(small(config), subjects=8)
    load_captures(store, small(config))
    assert len(cached(store)) == 4, "the first version went, that in use stayed"
    assert not any(path.exists() for path in files)
    assert (np.array(again[Modality.IRIS].images) == before).all(), "time travel makes it again"


def test_what_a_killed_process_left_is_removed(store, origin):
    left = store.path("cache", f"{origin.kind}-v{origin.version - 1}.arrow.part")
    left.write_bytes(b"half")
    materialised(origin)
    assert not left.exists()


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(store, origin, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "pwrite", full)
        with pytest.raises(StorageError, match="no space left"):
            materialised(origin)
    assert cached(store) == []
    assert materialised(origin).exists()


def test_pixels_of_another_size_are_refused(store, origin, config):
    row = store.read("features").to_pylist()[0]
    row |= {"capture_id": "odd", "modality": "iris", "image": b"123", "mask": b"123"}
    store.append_new("features", pa.Table.from_pylist([row], schema=TABLES["features"]))
    later = Origin(**{**vars(origin), "version": store.version("features")})
    with pytest.raises(DataError, match="3 bytes where"):
        materialised(later)
    assert cached(store) == []


def test_making_the_file_takes_no_memory_for_the_pixels():
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    zeros = module._zeros(16 * physical)
    assert zeros.size == 16 * physical
    assert zeros[-4:].to_pybytes() == bytes(4)


def test_a_version_without_captures_has_a_file_without_rows(origin):
    nothing = Origin(**{**vars(origin), "prepared_by": "another"})
    with pa.memory_map(str(materialised(nothing))) as source:
        assert pa.ipc.open_file(source).get_batch(0).num_rows == 0


def test_several_processes_at_once_get_one_whole_file(store, origin):
    context = get_context("spawn")
    with context.Pool(2) as pool, ThreadPoolExecutor(2) as threads:
        found = pool.map_async(_sum, [origin] * 2)
        local = list(threads.map(_sum, [origin] * 2))
        assert len({*found.get(60), *local}) == 1
    assert len(cached(store)) == 1


def _sum(origin):
    with pa.memory_map(str(materialised(origin))) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
        return sum(
            int(np.frombuffer(value.as_buffer(), np.uint8).sum()) for value in batch["image"]
        )
