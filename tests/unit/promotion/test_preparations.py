"""Two models on two preparations of the same captures."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from biometric_core.config import Config, Gate
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.promotion.preparations import acquired, in_common, with_acquired
from biometric_core.promotion.ruling import Ruling
from biometric_core.schemas import Modality
from biometric_core.storage.store import Store
from tests.support.tiny_store import HISTORY, changed, fill, small
from tests.unit.promotion.test_ruling import sets

FEWER = {"iris": {"captures": 100, "challenger": 8, "champion": 5}}
AS_MANY = {"iris": {"captures": 100, "challenger": 7, "champion": 5}}


def test_both_keep_the_captures_that_both_acquired_in_the_same_rows():
    one, other = sets(4), sets(4)
    lacks = np.arange(len(one[Modality.IRIS])) % 5 != 0
    one[Modality.IRIS] = one[Modality.IRIS].select(lacks)
    other[Modality.IRIS] = other[Modality.IRIS].select(np.roll(lacks, 1))
    del other[Modality.FINGERPRINT]
    left, right = in_common(one, other)
    assert set(left) == set(right) == {Modality.IRIS}
    ids = left[Modality.IRIS].capture_id
    assert ids.tolist() == right[Modality.IRIS].capture_id.tolist()
    assert 0 < len(ids) < lacks.sum()


@pytest.fixture
def twice(config: Config) -> tuple[Store, dict[str, str], Config]:
    """A store prepared by two versions; of the second, test captures fail and others are gone."""
    champion = small(config)
    challenger = changed(champion, "preprocess", iris_shape=(16, 64))
    for prepared in (champion, challenger):
        fill(prepared, subjects=8)
    store = Store.of(config)
    versions = {"champion": preprocess_version(champion)}
    versions["challenger"] = preprocess_version(challenger)
    failed = {"003i1": "no_pupil", "007i2": "unreadable", "000i1": "no_pupil"}
    of_version = pc.field("preprocess_version") == versions["challenger"]
    rows = store.read("features", filter=of_version).to_pylist()
    rows = [row | {"failure": failed.get(row["capture_id"])} for row in rows]
    where = f"preprocess_version = '{versions['challenger']}'"
    schema = store.read("features").schema
    store.replace("features", pa.Table.from_pylist(rows, schema=schema), where)
    return store, versions, challenger


def test_captures_that_one_cannot_acquire_are_counted_where_both_have_read_the_file(twice):
    store, versions, _ = twice
    # Subjects 3 and 7 test, with four captures of each modality; 007i2 has no file any more.
    found = acquired(store, versions)
    assert found["iris"] == {"captures": 7, "champion": 0, "challenger": 1}
    assert found["fingerprint"] == {"captures": 8, "champion": 0, "challenger": 0}
    assert acquired(store, versions, ["s003"])["iris"]["challenger"] == 0
    assert acquired(store, versions, as_of=HISTORY)["iris"]["captures"] == 0


def test_a_challenger_that_acquires_fewer_is_not_promoted(twice):
    better = Ruling(True, "improvement proven", {"subjects": 9})
    kept = with_acquired(better, AS_MANY, Gate(margin=0.02))
    assert (kept.promote, kept.reason) == (True, "improvement proven")
    assert kept.numbers == {"subjects": 9, "failures_to_acquire": AS_MANY}
    refused = with_acquired(better, FEWER, Gate(margin=0.02))
    assert not refused.promote
    assert refused.reason == (
        "fails to acquire more captures than the champion: iris 8 of 100 (champion: 5); "
        "2 points more are allowed. improvement proven"
    )
    worse = Ruling(False, "not proven", {})
    assert with_acquired(worse, FEWER, Gate()).reason == "not proven"
