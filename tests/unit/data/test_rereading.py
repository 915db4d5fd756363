"""A store of the release before: what is read otherwise now is found, the rest stays."""

import io
import struct

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from biometric_core.config import Ingest
from biometric_core.data import rereading
from biometric_core.imaging.earlier_reading import READING, may_differ
from biometric_core.imaging.fingerprint.normalisation import prepare as prepare_finger
from biometric_core.imaging.formats.header import upright
from biometric_core.imaging.iris.normalisation import prepare as prepare_eye
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.schemas import Modality
from biometric_core.sources.generator.eye_captures import render_eye
from biometric_core.sources.generator.finger_captures import render_finger
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.storage.store import Store
from tests.support.handmade import WHITE_IS_ZERO, chunk, exif, png, tiff, turned
from tests.unit.stages.test_ingest import write

EYE = render_eye(1, 2)[0]
FINGER = render_finger(3, 4)
OTHER_EYE, OTHER_FINGER = render_eye(5, 2)[0], render_finger(6, 4)
SMALL = cv2.resize(FINGER, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


def jpeg(image, **options):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=95, **options)
    return out.getvalue()


def stated(dpi):
    metres = round(dpi / 0.0254)
    return chunk(b"pHYs", struct.pack(">IIB", metres, metres, 1))


FILES = {
    "iris/001_L_01.png": png(EYE),
    "iris/001_L_02.jpg": jpeg(turned(EYE, 6), exif=b"Exif\0\0" + exif(6)),
    "iris/001_R_01.tif": tiff(
        65535 - OTHER_EYE.astype(np.uint16) * 257, bits=16, photometric=WHITE_IS_ZERO
    ),
    "fingerprint/001_L_thumb_01.png": png(FINGER),
    "fingerprint/001_L_thumb_02.png": png(SMALL, before=stated(300)),
    "fingerprint/001_R_thumb_01.png": png(OTHER_FINGER, before=stated(500)),  # as it was guessed
}
CHANGED = {name for name in FILES if name[-6:-4] == "02" or name.endswith(".tif")}


def as_before(data: bytes, modality: str) -> tuple[bytes, bytes]:
    """Image and mask that the release before made: OpenCV's pixels, and no stated resolution."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    gray = pixels if pixels.dtype == np.uint8 else cv2.convertScaleAbs(pixels, alpha=1 / 257)
    try:
        sample = prepare_eye(gray) if modality == "iris" else prepare_finger(gray)
    except Exception:
        return b"", b""
    return sample.image.tobytes(), sample.mask.tobytes()


@pytest.fixture
def old(config, tmp_path):
    """The store, its rows as this release makes them, and what it had of each before."""
    for name, data in FILES.items():
        write(tmp_path / "s" / name, data)
    ingest(config, source=str(tmp_path / "s"))
    preprocess(config)
    store = Store.of(config)
    right = {row["capture_id"]: row for row in store.read("features").to_pylist()}
    captures = store.read("captures").to_pylist()
    rows = []
    for capture in captures:
        image, mask = as_before(store.files.read(capture["uri"]), capture["modality"])
        row = right[capture["capture_id"]] | {"image": image, "mask": mask}
        rows.append(row if image else row | {"failure": "no_pupil", "height": 0, "width": 0})
    table = pa.Table.from_pylist(rows, store.read("features").schema)
    store.replace("features", table, f"preprocess_version = '{preprocess_version(config)}'")
    store.files.delete(f"reading/{READING}-{preprocess_version(config)}.json")
    return store, right


def features(store):
    return {row["capture_id"]: row for row in store.read("features").to_pylist()}


def test_only_rows_of_captures_that_are_read_otherwise_are_replaced(config, old, caplog):
    store, right = old
    before, captures = features(store), store.read("captures")
    with caplog.at_level("WARNING"):
        result = preprocess(config)
    assert (result.reread, result.prepared, result.known) == (len(CHANGED), 0, len(FILES))
    assert f"{len(CHANGED)} captures are read otherwise" in caplog.text
    assert features(store) == right
    assert sum(before[name] != row for name, row in right.items()) == len(CHANGED)
    assert store.read("captures").equals(captures), "the captures are the same"
    version = store.version("features")
    assert preprocess(config).reread == 0
    assert store.version("features") == version


def test_a_store_is_gone_through_once(config, old, monkeypatch):
    preprocess(config)
    monkeypatch.setattr(rereading, "may_differ", lambda *_: pytest.fail("looked at again"))
    assert preprocess(config).reread == 0


def test_a_run_that_was_cut_short_is_done_again(config, old, monkeypatch):
    store, right = old

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rereading, "_replace", dies)
        with pytest.raises(KeyboardInterrupt):
            preprocess(config)
    assert len(features(store)) == len(right), "no row is lost meanwhile"
    assert preprocess(config).reread == len(CHANGED)
    assert features(store) == right


def test_rows_of_another_version_and_deleted_images_are_left_alone(config, old):
    store, _ = old
    table = store.read("features")
    index = table.schema.get_field_index("preprocess_version")
    other = table.set_column(index, "preprocess_version", pa.array(["1-old"] * len(table)))
    store.append_new("features", other)
    gone = store.read("captures").to_pylist()[0]
    store.files.delete(gone["uri"])
    preprocess(config)
    kept = store.read("features", filter=pc.field("preprocess_version") == "1-old")
    assert kept.sort_by("capture_id").equals(other.sort_by("capture_id"))
    rows = store.read("features", ["capture_id"])["capture_id"].to_pylist()
    assert rows.count(gone["capture_id"]) == 2


@pytest.mark.parametrize("name", FILES)
def test_what_differs_is_told_by_its_header(name):
    modality = Modality(name.split("/")[0])
    suspected = name in CHANGED or name == "fingerprint/001_R_thumb_01.png"
    assert may_differ(FILES[name], modality, Ingest()) == suspected


def test_orientations_turn_as_they_are_named():
    for orientation in range(1, 9):
        np.testing.assert_array_equal(upright(turned(EYE, orientation), orientation), EYE)
