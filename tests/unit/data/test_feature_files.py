from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biometric_core.config import Ingest, Preprocess
from biometric_core.data import feature_files
from biometric_core.data.feature_files import Chunk, prepare_chunk
from biometric_core.errors import StorageError
from biometric_core.imaging.preparation import PreparedBatch
from biometric_core.schemas import TABLES, Modality
from biometric_core.storage.files import Files
from biometric_core.storage.store import Store


def chunk(root: Path, *names: str) -> Chunk:
    captures = tuple((name, f"images/{name}") for name in names)
    return Chunk(captures, Modality.IRIS, Preprocess(), Ingest(), "v", str(root))


@pytest.fixture(autouse=True)
def images(tmp_path):
    for root in (tmp_path, tmp_path / "one", tmp_path / "two"):
        (root / "images").mkdir(parents=True)


def batch(failures: tuple[str | None, ...]) -> PreparedBatch:
    """All 256 values, in another order for each acquired capture."""
    acquired = failures.count(None)
    images = np.stack(
        [np.roll(np.arange(256, dtype=np.uint8), n).reshape(16, 16) for n in range(acquired)]
    )
    return PreparedBatch(images, 255 - images, np.full(len(failures), 0.5, np.float32), failures)


def test_all_256_pixel_values_and_every_failure_survive_the_file_and_the_table(tmp_path):
    store = Store(tmp_path)
    made = batch((None, "no_pupil", None, "unreadable", None))
    work = chunk(tmp_path, "a", "b", "c", "d", "e")
    table = feature_files._table(work, made)
    data = feature_files._parquet(table)
    store.files.write(f"{feature_files.FOLDER}/{work.name}", data)
    prepared = prepare_chunk(work)  # finds the file
    assert prepared.failures == {"no_pupil": 1, "unreadable": 1}
    assert store.append_files("features", [prepared.part], None)
    rows = store.read("features").sort_by("capture_id").to_pylist()
    images, masks = iter(made.images), iter(made.masks)
    for row in rows:
        if row["failure"] is None:
            assert row["image"] == next(images).tobytes()
            assert row["mask"] == next(masks).tobytes()
            assert (row["height"], row["width"]) == (16, 16)
        else:
            assert (row["image"], row["mask"], row["height"]) == (b"", b"", 0)
    assert [row["failure"] for row in rows] == list(made.failures)


def test_files_are_not_part_of_the_table_until_they_are_committed(tmp_path):
    prepare_chunk(chunk(tmp_path, "a"))
    assert Store(tmp_path).read("features").num_rows == 0
    assert list((tmp_path / feature_files.FOLDER).glob("part-*.parquet"))


def test_the_same_captures_give_the_same_bytes_under_the_same_name(tmp_path):
    files = []
    for root in (tmp_path / "one", tmp_path / "two"):
        prepared = prepare_chunk(chunk(root, "a", "b"))
        files.append((prepared.part.path, (root / feature_files.FOLDER / prepared.part.path)))
    assert files[0][0] == files[1][0]
    assert files[0][1].read_bytes() == files[1][1].read_bytes()
    assert chunk(tmp_path, "a").name != chunk(tmp_path, "b").name


def test_a_missing_image_is_a_failure_of_that_capture_alone(tmp_path):
    prepared = prepare_chunk(chunk(tmp_path, "a", "b"))
    assert prepared.failures == {"unreadable": 2}
    assert prepared.part.rows == 2


def test_an_object_store_that_refuses_is_no_failure_to_acquire(bucket):
    captures = chunk(Path("x"), "a").captures
    with pytest.raises(StorageError, match=r"NO_SUCH_BUCKET.* run again"):
        prepare_chunk(
            Chunk(captures, Modality.IRIS, Preprocess(), Ingest(), "v", f"{bucket}-missing")
        )


@pytest.mark.slow
def test_an_object_store_out_of_reach_is_no_failure_to_acquire(bucket, monkeypatch):
    Files(bucket).write("images/a", b"")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"NETWORK_CONNECTION.* run again"):
        feature_files._content(Files(bucket), "images/a")


def test_pixels_are_stored_as_they_are_and_can_be_filtered_by_statistics(tmp_path):
    work = chunk(tmp_path, "a", "b")
    data = feature_files._parquet(feature_files._table(work, batch((None, None))))
    meta = pq.read_metadata(pa.BufferReader(data)).row_group(0)
    columns = {meta.column(n).path_in_schema: meta.column(n) for n in range(meta.num_columns)}
    assert set(columns) == set(TABLES["features"].names)
    assert columns["image"].compression == "UNCOMPRESSED"
    assert columns["capture_id"].statistics.max == "b"


def test_images_that_are_out_of_reach_are_no_failures_to_acquire(tmp_path):
    (tmp_path / "images").rmdir()
    with pytest.raises(StorageError, match="has no folder images"):
        prepare_chunk(chunk(tmp_path, "a"))
    (tmp_path / "images" / "a").mkdir(parents=True)  # can't be read like a file
    with pytest.raises(StorageError, match="can't be read"):
        prepare_chunk(chunk(tmp_path, "a"))


def test_files_of_a_machine_with_a_root_of_its_own_are_not_committed(tmp_path):
    prepared = prepare_chunk(chunk(tmp_path, "a"))
    (tmp_path / feature_files.FOLDER / prepared.part.path).unlink()
    with pytest.raises(StorageError, match="must see the same"):
        Store(tmp_path).append_files("features", [prepared.part], None)
    assert Store(tmp_path).read("features").num_rows == 0
