"""Sex of a capture: from the source's file names to capture sets."""

import cv2
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from biometric_core.data.capture_sets import load_captures
from biometric_core.data.without_store import capture_sets_from_source
from biometric_core.schemas import TABLES, Modality
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.storage.store import Store
from tests.support.drawn_captures import draw_finger
from tests.support.tiny_store import fill, small

SEXES = {"1": "F", "2": "M"}


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    for subject, sex in SEXES.items():
        path = root / subject / "Fingerprint" / f"{subject}__{sex}_Left_thumb_finger.BMP"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), draw_finger(period=7 + int(subject)))
    return root


def test_the_store_and_the_source_say_the_same(config, source):
    ingest(config, source=str(source))
    preprocess(config)
    stored = load_captures(Store.of(config), config)[Modality.FINGERPRINT]
    direct = capture_sets_from_source(config, str(source))[Modality.FINGERPRINT]
    assert stored.capture_id.tolist() == direct.capture_id.tolist()
    assert stored.sex.tolist() == direct.sex.tolist()
    said = dict(zip(direct.subject_id.tolist(), direct.sex.tolist(), strict=True))
    assert said == SEXES


def test_a_store_from_before_the_column_says_nothing_and_takes_new_captures(config):
    config = small(config)
    fill(config, subjects=2, impressions=range(1, 3), modalities=(Modality.IRIS,))
    store = Store.of(config)
    rows = store.read("captures").drop_columns(["sex"])
    write_deltalake(
        f"{store.root}/tables/captures", rows, mode="overwrite", schema_mode="overwrite"
    )
    found = load_captures(store, config)[Modality.IRIS]
    assert found.sex.tolist() == [""] * 4
    columns = {name: pa.nulls(1, TABLES["captures"].field(name).type) for name in rows.column_names}
    columns |= {"capture_id": pa.array(["new"]), "sex": pa.array(["F"])}
    assert store.append_new("captures", pa.table(columns)) == 1
    assert sorted(filter(None, store.read("captures", ["sex"])["sex"].to_pylist())) == ["F"]
    assert load_captures(store, config)[Modality.IRIS].sex.tolist() == [""] * 4
