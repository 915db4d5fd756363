"""What the drift table says of a day: which sensors moved, and how."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Any, TypeVar

import pyarrow.compute as pc

from biometric_core.history.changes import Sensor
from biometric_core.monitoring.verdicts import MOVED, TESTED
from biometric_core.storage.store import Store

Row = dict[str, Any]
AnyRow = TypeVar("AnyRow", bound=Mapping[str, Any])


def rows_of(
    store: Store, first: date, last: date | None = None, version: str | None = None
) -> list[Row]:
    """The rows of a day, or from it to another, by one model version or by all."""
    chosen = (pc.field("day") >= first) & (pc.field("day") <= (last or first))
    if version is not None:
        chosen &= pc.field("model_version") == version
    found: list[Row] = store.read("drift", filter=chosen).to_pylist()
    return found


def moved(rows: Iterable[Row]) -> set[Sensor]:
    """Which sensors moved: those with an alarm, else those that were suspect.

    A drift may be confirmed by two suspect days; then no statistic of the day says alarm.

    Args:
        rows: of one day.
    """
    tested = [row for row in rows if row["statistic"] in TESTED]
    for outcome in MOVED:
        found = sensors(tested, (outcome,))
        if found:
            return found
    return set()


def sensors(rows: Iterable[Mapping[str, Any]], outcomes: Collection[str]) -> set[Sensor]:
    """The sensors with a row of one of these outcomes."""
    return {sensor_of(row) for row in rows if row["verdict"] in outcomes}


def sensor_of(row: Mapping[str, Any]) -> Sensor:
    """Modality and sensor of a row."""
    return row["modality"], row["sensor"]


def moved_during(rows: Iterable[Row]) -> frozenset[Sensor]:
    """Which sensors moved on any of several days, each day by itself."""
    return frozenset().union(*(moved(found) for found in by_day(rows).values()))


def by_day(rows: Iterable[AnyRow]) -> dict[date, list[AnyRow]]:
    """Rows by day, in their order."""
    days: dict[date, list[AnyRow]] = {}
    for row in rows:
        days.setdefault(row["day"], []).append(row)
    return days
