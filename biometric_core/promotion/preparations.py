"""Two models that need the same captures prepared otherwise: each is measured on its own.

They are compared on the captures that both could acquire. What only one can acquire is on record,
and a challenger that acquires fewer is not better, whatever it makes of the rest.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Gate
from biometric_core.data.capture_sets import CaptureSet, Sets, taken_before
from biometric_core.imaging.preparation import UNREADABLE
from biometric_core.promotion.ruling import Ruling
from biometric_core.schemas import Modality, Split
from biometric_core.storage.store import Store

Captures = dict[Modality, CaptureSet]
Acquired = Mapping[str, Mapping[str, int]]


def in_common(one: Sets, other: Sets) -> tuple[Captures, Captures]:
    """Both, less what the other lacks: the same captures in the same rows."""
    return _also_in(one, other), _also_in(other, one)


def _also_in(sets: Sets, other: Sets) -> Captures:
    return {
        modality: found.select(np.isin(found.capture_id, other[modality].capture_id))
        for modality, found in sets.items()
        if modality in other
    }


def acquired(
    store: Store,
    versions: Mapping[str, str],
    trained: Collection[str] = (),
    as_of: datetime | None = None,
) -> dict[str, dict[str, int]]:
    """How many of the test subjects' captures each of two models can't acquire.

    Args:
        store: where the tables are.
        versions: the preprocessing version by role, `champion` and `challenger`.
        trained: subjects that are left out.
        as_of: only captures taken before; all when None.

    Returns:
        By modality `captures`, whose files both have read, and of these how many failed by role.
    """
    chosen, earlier = pc.field("split") == Split.TEST.value, taken_before(as_of)
    chosen = chosen if earlier is None else chosen & earlier
    rows = store.read("captures", ["capture_id", "subject_id", "modality"], chosen)
    rows = rows.filter(pc.invert(pc.is_in(rows["subject_id"], pa.array(trained, pa.string()))))
    for role, version in versions.items():
        of_version = pc.field("preprocess_version") == version
        made = store.read("features", ["capture_id", "failure"], of_version)
        made = made.filter(pc.fill_null(pc.not_equal(made["failure"], UNREADABLE), True))
        made = made.rename_columns(["capture_id", role])
        rows = rows.join(made, "capture_id", join_type="inner")
    found = {}
    for modality in Modality:
        mine = rows.filter(pc.equal(rows["modality"], modality.value))
        failed = {role: len(mine) - mine[role].null_count for role in versions}
        found[modality.value] = {"captures": len(mine), **failed}
    return found


def with_acquired(ruling: Ruling, found: Acquired, settings: Gate) -> Ruling:
    """The ruling, less the promotion of a challenger that acquires fewer by more than `margin`."""
    ruling = replace(ruling, numbers={**ruling.numbers, "failures_to_acquire": found})
    fewer = [
        f"{name} {of['challenger']} of {of['captures']} (champion: {of['champion']})"
        for name, of in found.items()
        if of["challenger"] - of["champion"] > settings.margin * of["captures"]
    ]
    if not fewer or not ruling.promote:
        return ruling
    reason = f"fails to acquire more captures than the champion: {', '.join(fewer)}; "
    reason += f"{100 * settings.margin:g} points more are allowed. {ruling.reason}"
    return replace(ruling, promote=False, reason=reason)
