"""Claims that the model refused: an impostor's captures must not become somebody's samples.

A probe claims to be of an identity. Where its genuine score stays below the model's threshold for
claims (`Recogniser.claim_threshold`), the claim was rejected. A capture that was compared with
nobody (of somebody new, or enrolled itself) is no claim.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.schemas import BoolArray
from biometric_core.storage.store import Store

_COLUMNS = ["capture_id", "modality", "genuine_score", "threshold"]


def rejected(probes: pa.Table, thresholds: Mapping[str, float] | None = None) -> BoolArray:
    """Which probes made a claim that was rejected, bool (N,).

    Args:
        probes: rows of the table with `modality`, `genuine_score` and `threshold`.
        thresholds: the model's `claim_threshold` by modality, for rows of an earlier version of
            this package, which hold none; without them those count as accepted.
    """
    held = probes["threshold"].to_numpy()
    known = thresholds or {}
    own = np.array([known.get(name, np.nan) for name in probes["modality"].to_pylist()], np.float64)
    score = probes["genuine_score"].to_numpy().astype(np.float64)
    # A comparison with NaN is false: no score, no claim; no threshold, no decision.
    return np.asarray(score < np.where(np.isnan(held), own, held), dtype=np.bool_)


def rejected_claims(store: Store, version: int | None = None) -> frozenset[str]:
    """Capture ids of the days' probes whose claim was rejected by a model that served their day.

    Args:
        store: where the tables are.
        version: Delta version of the table `probes`; the latest when None.

    Raises:
        DataError: that version doesn't exist (any more).
    """
    probes = store.read("probes", _COLUMNS, pc.field("window") == "current", version)
    return frozenset(probes.filter(pa.array(rejected(probes)))["capture_id"].to_pylist())
