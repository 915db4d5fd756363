"""Which claims the model refused, by the table of probes."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from biometric_core.history.rejections import rejected, rejected_claims
from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store

ROWS = [
    # capture, window, version, modality, genuine score, threshold
    ("accepted", "current", "1", "iris", 6.0, 5.5),
    ("at the threshold", "current", "1", "iris", 5.5, 5.5),
    ("rejected", "current", "1", "iris", 5.4, 5.5),
    ("of a finger", "current", "1", "fingerprint", 5.4, 7.0),
    ("nobody enrolled", "current", "1", "iris", None, None),
    ("of the reference", "reference", "1", "iris", -3.0, 5.5),
    ("itself enrolled", "enrolled", "1", "iris", None, None),
    ("of an earlier version", "current", "1", "iris", -3.0, None),
    ("accepted", "current", "2", "fingerprint", 9.0, 7.0),
]


def _probes() -> pa.Table:
    empty: dict[str, Any] = dict.fromkeys(TABLES["probes"].names)
    names = ("capture_id", "window", "model_version", "modality", "genuine_score", "threshold")
    rows = [empty | dict(zip(names, row, strict=True)) for row in ROWS]
    return pa.Table.from_pylist(rows, schema=TABLES["probes"])


def test_a_claim_is_rejected_below_the_threshold_that_it_was_judged_by(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert rejected_claims(store) == frozenset()
    store.append_new("probes", _probes().slice(0, 2))
    first = store.version("probes")
    store.append_new("probes", _probes())
    assert rejected_claims(store) == {"rejected", "of a finger"}
    assert rejected_claims(store, first) == frozenset()


def test_rows_of_an_earlier_version_are_judged_where_the_threshold_is_known() -> None:
    found = rejected(_probes(), {"iris": 5.5})
    names = {row[0] for row, refused in zip(ROWS, found, strict=True) if refused}
    assert names == {"rejected", "of a finger", "of the reference", "of an earlier version"}
