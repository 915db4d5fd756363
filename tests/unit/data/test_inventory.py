import pyarrow as pa
import pytest

from biometric_core.data.inventory import data_figures
from biometric_core.schemas import TABLES, Modality
from biometric_core.storage.store import Store
from tests.support.tiny_store import fill, small


def refuse(store, day=None, **reasons):
    """Rows of `quarantine`, so many of each reason, of a day."""
    row = {"detail": "why", "captured_at": day}
    rows = [
        row | {"file_id": f"{day}{reason}{n:04}".ljust(64, "0"), "reason": reason, "bytes": n}
        for reason, count in reasons.items()
        for n in range(count)
    ]
    store.append_new("quarantine", pa.Table.from_pylist(rows, schema=TABLES["quarantine"]))


def fail(store, captures, reason):
    """Turn the features of these captures into failures to acquire."""
    names = ", ".join(f"'{capture}'" for capture in captures)
    rows = store.read("features")
    chosen = pa.compute.is_in(rows["capture_id"], pa.array(captures))
    failed = rows.filter(chosen).to_pylist()
    made = [{**row, "image": b"", "mask": b"", "quality": 0.0, "failure": reason} for row in failed]
    table = pa.Table.from_pylist(made, schema=TABLES["features"])
    store.replace("features", table, f"capture_id in ({names})")


@pytest.fixture
def store(config):
    fill(small(config), subjects=8, impressions=range(1, 5))
    fill(small(config), subjects=2, impressions=range(5, 6), sensor="other")
    return Store.of(config)


def test_counts_are_by_modality(config, store):
    found = data_figures(store, small(config))
    assert set(found.modalities) == set(Modality)
    iris = found.modalities[Modality.IRIS]
    assert (iris.captures, iris.subjects, iris.attempted) == (34, 8, 34)
    assert sorted(iris.impressions) == [4] * 6 + [5] * 2
    assert iris.median_impressions == 4
    assert iris.sensors == {"default": 32, "other": 2}
    assert iris.splits == {"test": 2, "train": 4, "validation": 2}
    assert (found.captures, found.subjects) == (68, 8)
    assert len(iris.measures["quality"]) == 34
    assert found.versions == {"captures": 2, "features": 2, "quarantine": None}


def test_failures_to_acquire_are_counted_and_have_no_quality(config, store):
    fail(store, ["000i1", "001i1"], "no_pupil")
    fail(store, ["002i1"], "too_dark")
    found = data_figures(store, small(config)).modalities
    assert found[Modality.IRIS].failures == {"no_pupil": 2, "too_dark": 1}
    assert found[Modality.IRIS].failure_share == pytest.approx(3 / 34)
    assert len(found[Modality.IRIS].measures["quality"]) == 31
    assert found[Modality.FINGERPRINT].failures == {}


def test_features_of_another_preprocessing_do_not_count(config, store):
    found = data_figures(store, config).modalities[Modality.IRIS]
    assert (found.captures, found.attempted) == (34, 0)
    assert found.failure_share == 0


def test_refused_files_are_counted_without_clutter(config, store):
    refuse(store, truncated=5, duplicate_of_other_subject=7, clutter=20)
    found = data_figures(store, small(config))
    assert found.refused == {"duplicate_of_other_subject": 7, "truncated": 5}
    assert found.clutter == 20
    assert found.refused_share == pytest.approx(12 / (68 + 12))
    assert found.duplicates_share == pytest.approx(7 / (68 + 12))
    assert [one.reason for one in found.examples] == ["duplicate_of_other_subject"] * 3 + [
        "truncated"
    ] * 3
    assert all(len(one.file) == 12 for one in found.examples)


def test_an_empty_store_has_nothing(config):
    found = data_figures(Store.of(config), config)
    assert (found.captures, found.subjects, found.offered) == (0, 0, 0)
    assert found.refused_share == found.duplicates_share == 0
