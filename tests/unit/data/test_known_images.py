"""One image is one image in whatever format, in new stores and in those from before."""

import logging

import cv2
import numpy as np
import pyarrow as pa
import pytest

from biometric_core.data.known_images import known_images
from biometric_core.data.same_pixels import first_of_each_image, pixels_digest
from biometric_core.schemas import Modality
from biometric_core.stages.ingest import ingest
from biometric_core.storage.store import Store
from tests.support.earlier_store import taken_in_before
from tests.support.small_sources import write_folder
from tests.support.tiny_store import changed
from tests.support.toys import toy_set


def encoded(seed: int, suffix: str) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80), dtype=np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


@pytest.fixture
def lenient(config):
    return changed(config, "ingest", max_duplicates_share=1.0, max_refused_share=1.0)


def test_one_image_in_three_formats_is_one_capture(lenient, tmp_path):
    files = {f"iris/001_L_0{n}{s}": encoded(1, s) for n, s in enumerate((".bmp", ".png", ".tif"))}
    files |= {"iris/002_L_01.png": encoded(1, ".png"), "iris/003_L_01.tif": encoded(1, ".tif")}
    files |= {"iris/002_L_02.bmp": encoded(2, ".bmp")}
    source = str(write_folder(tmp_path / "s", files))
    for again in range(2):
        result = ingest(lenient, source=source)
        assert (result.added, result.known) == ((2, 2) if not again else (0, 4))
        assert result.reasons == {"duplicate_of_other_subject": 2}
    rows = Store.of(lenient).read("captures")
    assert rows.num_rows == 2
    kept = [path for path in (tmp_path / "data/images").rglob("*") if path.is_file()]
    assert len(kept) >= rows.num_rows


def test_many_images_of_others_in_another_format_fail_the_gate(config, tmp_path):
    people = {f"iris/00{n}_L_01.bmp": encoded(n, ".bmp") for n in range(4)}
    ingest(config, source=str(write_folder(tmp_path / "one", people)))
    strangers = {f"iris/10{n}_L_01.png": encoded(n, ".png") for n in range(4)}
    config = changed(config, "ingest", max_refused_share=1.0)
    with pytest.raises(Exception, match="4 of 4 files are the image of another subject"):
        ingest(config, source=str(write_folder(tmp_path / "two", strangers)))
    assert Store.of(config).read("captures").num_rows == 4


def test_a_store_from_before_is_read_once_and_then_knows_its_images(lenient, tmp_path, caplog):
    people = {f"iris/00{n}_L_01.bmp": encoded(n, ".bmp") for n in range(3)}
    store = taken_in_before(lenient, write_folder(tmp_path / "one", people))
    before = store.read("captures", ["capture_id", "subject_id", "split"]).sort_by("capture_id")
    other = write_folder(tmp_path / "two", {"iris/009_L_01.png": encoded(1, ".png")})
    assert ingest(lenient, source=str(other)).reasons == {"duplicate_of_other_subject": 1}
    assert "3 images have no digest of their pixels yet" in caplog.text
    after = store.read("captures", before.column_names).sort_by("capture_id")
    assert after == before, "id, pseudonym and split stay"
    caplog.clear()
    ingest(lenient, source=str(other))
    assert not caplog.records, "no image is read a second time"


def test_images_that_a_store_from_before_has_of_two_people_stay_and_are_told(
    lenient, tmp_path, caplog
):
    store = taken_in_before(
        lenient, write_folder(tmp_path / "s", {"iris/1_L_01.bmp": encoded(1, ".bmp")})
    )
    row = store.read("captures").to_pylist()[0]
    other = row | {"capture_id": "f" * 64, "subject_id": "somebody else"}
    store.files.write(f"images/ff/{'f' * 64}", encoded(1, ".png"))
    store.append_new(
        "captures", pa.Table.from_pylist([other], schema=store.read("captures").schema)
    )
    known_images(store, lenient.ingest, 1)
    assert "1 images are in the store of two people" in caplog.text
    assert store.read("captures").num_rows == 2


def test_a_lost_image_does_not_stop_the_others_and_is_looked_for_once(lenient, tmp_path, caplog):
    people = {f"iris/00{n}_L_01.bmp": encoded(n, ".bmp") for n in range(3)}
    store = taken_in_before(lenient, write_folder(tmp_path / "one", people))
    store.files.delete(store.read("captures")["uri"][0].as_py())
    for _ in range(2):
        known_images(store, lenient.ingest, 2)
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1
    assert store.read("pixel_digests")["digest"].null_count == 1


def test_the_first_of_equal_prepared_images_counts():
    captures = toy_set(Modality.IRIS, 3)
    twice = captures.select(np.array([0, 1, 2, 1, 0, 4]))
    assert first_of_each_image(twice).tolist() == [0, 1, 2, 5]


def test_a_digest_tells_shapes_apart():
    flat = np.arange(64, dtype=np.uint8)
    assert pixels_digest(flat.reshape(8, 8)) != pixels_digest(flat.reshape(4, 16))
    assert pixels_digest(flat.reshape(8, 8)) == pixels_digest(flat.reshape(8, 8).T.copy().T)
