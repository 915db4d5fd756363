from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from biometric_core.evaluation.failure_to_acquire import failures_to_acquire
from biometric_core.schemas import TABLES, Modality
from biometric_core.storage.store import Store
from tests.support.tiny_store import HISTORY, fill, small


def fail(config, reasons, subject="s003", split="test", version=None, day=HISTORY):
    """Captures of one subject that failed to acquire, one for each reason."""
    store = Store.of(config)
    version = version or store.read("features")["preprocess_version"][0].as_py()
    for table, given in {
        "captures": {"subject_id": subject, "split": split, "captured_at": day},
        "features": {"preprocess_version": version, "image": b"", "mask": b"", "quality": 0.0},
    }.items():
        rows = [
            {"capture_id": f"{subject}{version}{n}", "modality": "iris", "failure": why, **given}
            for n, why in enumerate(reasons)
        ]
        schema = TABLES[table]
        rows = [{name: row.get(name) for name in schema.names} for row in rows]
        store.append_new(table, pa.Table.from_pylist(rows, schema=schema))


@pytest.fixture
def filled(config):
    config = small(config)
    fill(config, subjects=8, impressions=range(1, 4))  # s003 and s007 are test subjects
    return config


def test_failures_of_test_subjects_by_reason(filled):
    fail(filled, ["no_pupil", "blurred", "no_pupil"])
    fail(filled, ["no_pupil"], subject="s000", split="train")
    fail(filled, ["no_pupil"], version="another")
    found = failures_to_acquire(Store.of(filled), filled)
    assert found["iris"] == {
        "captures": 9,
        "failed": 3,
        "rate": 3 / 9,
        "reasons": {"no_pupil": 2, "blurred": 1},
    }
    assert found["fingerprint"] == {"captures": 6, "failed": 0, "rate": 0.0, "reasons": {}}


def test_somebody_who_never_acquired_counts_and_trained_subjects_do_not(filled):
    fail(filled, ["blurred"], subject="unseen")
    store = Store.of(filled)
    assert failures_to_acquire(store, filled)["iris"]["failed"] == 1
    found = failures_to_acquire(store, filled, trained=["s003", "unseen"])
    assert (found["iris"]["captures"], found["iris"]["failed"]) == (3, 0)


def test_only_captures_taken_before(filled):
    fail(filled, ["blurred"], day=HISTORY + timedelta(days=3))
    store = Store.of(filled)
    later = failures_to_acquire(store, filled, as_of=datetime(2026, 1, 2, tzinfo=UTC))
    assert later["iris"]["failed"] == 0
    assert failures_to_acquire(store, filled)["iris"]["failed"] == 1


def test_before_the_first_capture(filled):
    found = failures_to_acquire(Store.of(filled), filled, as_of=datetime(2025, 1, 1, tzinfo=UTC))
    assert found == {modality.value: None for modality in Modality}
