"""Which captures a day is judged by: those that came through a door, none of a training source.

A training source stamps whatever it brings with the time of its run, whichever sensor took it and
whenever; such captures say nothing about what the sensors deliver on that day.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.data.capture_sets import str_array
from biometric_core.data.namespaces import INBOX
from biometric_core.schemas import StrArray, start_of
from biometric_core.storage.store import Store

WATCHED_SOURCES = (INBOX,)
"""Kinds of source (`captures.source`) whose captures are watched."""
IS_WATCHED: pc.Expression = pc.field("source").isin(list(WATCHED_SOURCES))
"""A filter on the capture table."""
TAKEN_OTHERWISE = (
    "%d of these captures had been taken in by a training source before: they keep the day and the "
    "sensor of then, and are not watched; take days in through the inbox first"
)


@dataclass(frozen=True)
class WatchedDay:
    """The watched captures of a day that have been prepared, failures to acquire among them.

    Attributes:
        day: UTC.
        capture_id: str, (N,), sorted.
        captured_at: datetime64[us], UTC, (N,).
    """

    day: date
    capture_id: StrArray
    captured_at: npt.NDArray[np.datetime64]

    @property
    def digest(self) -> str:
        """The same for the same captures: SHA-256 over their ids, hex."""
        return hashlib.sha256("\n".join(self.capture_id.tolist()).encode()).hexdigest()


def watched_days(store: Store, first: date, last: date) -> list[WatchedDay]:
    """The days with watched captures from one to another, oldest first."""
    captures = _captures(store, first, last, IS_WATCHED).sort_by("capture_id")
    ids = captures["capture_id"].combine_chunks()
    prepared = store.read("features", ["capture_id"], pc.field("capture_id").isin(ids))
    captures = captures.filter(pc.is_in(ids, prepared["capture_id"].combine_chunks()))
    ids = str_array(captures["capture_id"].to_pylist())
    times = captures["captured_at"].to_numpy().astype("datetime64[us]")
    days = times.astype("datetime64[D]")
    return [
        WatchedDay(day, ids[days == day], times[days == day]) for day in np.unique(days).tolist()
    ]


def watched_ids(store: Store, day: date) -> StrArray:
    """The ids of a day's watched captures, prepared or not, str, (N,)."""
    return str_array(_captures(store, day, day, IS_WATCHED)["capture_id"].to_pylist())


def unwatched(store: Store, day: date) -> int:
    """How many captures of a day are of a training source."""
    return len(_captures(store, day, day, ~IS_WATCHED))


def taken_otherwise(store: Store, kind: str, ids: Sequence[str]) -> int:
    """How many captures of a watched source are in the table by a training source; 0 of others."""
    if kind not in WATCHED_SOURCES:
        return 0
    among = pc.field("capture_id").isin(pa.array(ids, pa.string())) & ~IS_WATCHED
    return len(store.read("captures", ["capture_id"], among))


def _captures(store: Store, first: date, last: date, chosen: pc.Expression) -> pa.Table:
    taken = pc.field("captured_at")
    during = (taken >= start_of(first)) & (taken < start_of(last + timedelta(days=1)))
    return store.read("captures", ["capture_id", "captured_at"], during & chosen)
