"""Failures to acquire: captures out of which no sample could be made (ISO/IEC 19795-1)."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.capture_sets import taken_before
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.schemas import Modality, Split
from biometric_core.storage.store import Store


def failures_to_acquire(
    store: Store,
    config: Config,
    *,
    trained: Collection[str] = (),
    as_of: datetime | None = None,
    version: int | None = None,
    captures_version: int | None = None,
    prepared_by: str | None = None,
) -> dict[str, dict[str, Any] | None]:
    """Failure-to-acquire rate of the test subjects' captures.

    Args:
        store: where the tables are.
        config: decides the preprocessing version where nobody does.
        trained: subjects that are left out.
        as_of: only captures taken before this time; all when None.
        version: Delta version of the feature table; the latest when None.
        captures_version: Delta version of the capture table; the latest when None.
        prepared_by: preprocessing version, a model's own; that of `config` when None.

    Returns:
        By modality `captures` (that preprocessing has seen), `failed`, `rate` and `reasons` (how
        often each occurred, most frequent first); None where there is no capture.
    """
    test = pc.field("split") == Split.TEST.value
    earlier = taken_before(as_of)
    captures = store.read(
        "captures",
        ["capture_id", "subject_id"],
        test if earlier is None else test & earlier,
        captures_version,
    )
    others = pc.invert(pc.is_in(captures["subject_id"], pa.array(list(trained), pa.string())))
    own = pc.field("preprocess_version") == (prepared_by or preprocess_version(config))
    features = store.read("features", ["capture_id", "modality", "failure"], own, version)
    rows = captures.filter(others).join(features, keys="capture_id", join_type="inner")
    return {m.value: _rate(rows.filter(pc.equal(rows["modality"], m.value))) for m in Modality}


def _rate(rows: pa.Table) -> dict[str, Any] | None:
    if not rows.num_rows:
        return None
    reasons = Counter(sorted(rows["failure"].drop_null().to_pylist()))
    failed = reasons.total()
    return {
        "captures": rows.num_rows,
        "failed": failed,
        "rate": failed / rows.num_rows,
        "reasons": dict(reasons.most_common()),
    }
