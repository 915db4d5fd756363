"""The table `drift`: its words, its rows, and its judged days.

Each day has a verdict, since when it is so, and what has moved. A day whose captures changed is
judged again: all its verdicts stay in the table, and the newest one counts.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

import pyarrow.compute as pc

from biometric_core.history.changes import Sensor
from biometric_core.storage.store import Store

Row = dict[str, Any]
AnyRow = TypeVar("AnyRow", bound=Mapping[str, Any])

MEASURES = ("quality", "sharpness", "contrast", "brightness")
"""Measures of a capture, the columns of `Window.measures`: usable share, log, and gray levels."""
QUALITY, SHARPNESS, CONTRAST, BRIGHTNESS = MEASURES
FAILURE_RATE = "failure_rate"
REJECTION_RATE = "rejection_rate"
UNIDENTIFIED = "unidentified"
ENROLLED_TODAY = "enrolled_today"

RESIDUAL_T2 = "residual_t2"
GENUINE_SHIFT = "genuine_shift"
QUALITY_T2 = "quality_t2"
FAILURE_SHIFT = "failure_shift"
REJECTION_SHIFT = "rejection_shift"
POPULATION_T2 = "population_t2"
DAILY = (RESIDUAL_T2, GENUINE_SHIFT, QUALITY_T2, FAILURE_SHIFT, REJECTION_SHIFT)
TREND_PREFIX = "trend_"
TREND = tuple(TREND_PREFIX + name for name in DAILY)
TESTED = (*DAILY, *TREND)

DAY = "day"
ALL = "all"


class Outcome(StrEnum):
    """What a row says."""

    CALM = "calm"
    SUSPECT = "suspect"  # below the weaker threshold only: one such day is no alarm
    ALARM = "alarm"
    STANDING = "standing"  # of a day: confirmed, but the alarm of this drift was sent before
    PARTLY = "partly_tested"  # of a day: nothing has moved of what could be tested, not all could
    NOT_ENOUGH = "not_enough_subjects"
    INFORMATION = "information"  # never raises an alarm


CONFIRMED = (Outcome.ALARM, Outcome.STANDING)
MOVED = (*CONFIRMED, Outcome.SUSPECT)
SEVERITY = (*MOVED, Outcome.PARTLY, Outcome.NOT_ENOUGH, Outcome.CALM)
"""The worst first. Information is no verdict."""


@dataclass(frozen=True)
class JudgedDay:
    """A day with a verdict.

    Attributes:
        day: it.
        verdict: of the day as a whole; its worst where it was judged before days had one.
        since: the first of the judged days in a row that are like it: unusual, calm or too few.
        p_value: the smallest corrected one; None where nothing was tested.
        model_version: the model that judged it; the newest where several did.
        report: its HTML, relative to the storage root.
        rows: the verdicts on modalities and sensors.
        captures_digest: of the watched captures it was judged by; None in older rows.
        judged_at: when; None likewise.
        run_day: the day whose run judged it; None likewise.
        revision: 1 for the first verdict on the day.
        replaced: the verdict before this one; None where it is the first.
    """

    day: date
    verdict: str
    since: date
    p_value: float | None
    model_version: str
    report: str | None
    rows: list[Row]
    captures_digest: str | None = None
    judged_at: datetime | None = None
    run_day: date | None = None
    revision: int = 1
    replaced: str | None = None


def read_rows(
    store: Store, first: date | None = None, last: date | None = None, *, every: bool = False
) -> list[Row]:
    """Rows of the table: of each day those of its newest verdict.

    Args:
        store: of the table.
        first: only of days from this one on.
        last: only of days up to this one.
        every: those of the verdicts that were replaced as well.
    """
    chosen = pc.scalar(True)
    if first is not None:
        chosen &= pc.field("day") >= first
    if last is not None:
        chosen &= pc.field("day") <= last
    rows: list[Row] = store.read("drift", filter=chosen).to_pylist()
    if every:
        return rows
    newest: dict[date, int] = {}
    for row in rows:
        newest[row["day"]] = max(newest.get(row["day"], 0), _revision(row))
    return [row for row in rows if _revision(row) == newest[row["day"]]]


def _revision(row: Row) -> int:
    return row["revision"] or 1


def judged_days(
    store: Store, first: date | None = None, last: date | None = None
) -> list[JudgedDay]:
    """All days that were judged, oldest first, each with its newest verdict."""
    rows = read_rows(store, first, last, every=True)
    of_day = by_day(row for row in rows if row["verdict"] in SEVERITY)
    days: list[JudgedDay] = []
    for day in sorted(of_day):
        found = _newest(day, of_day[day])
        alike = days and _kind(days[-1].verdict) == _kind(found.verdict)
        days.append(replace(found, since=days[-1].since) if alike else found)
    return days


def _newest(day: date, rows: list[Row]) -> JudgedDay:
    """The newest verdict on a day, which knows the one before it."""
    *before, last = sorted({_revision(row) for row in rows})
    found = _judged(day, [row for row in rows if _revision(row) == last])
    if not before:
        return found
    earlier = _judged(day, [row for row in rows if _revision(row) == before[-1]])
    return replace(found, replaced=earlier.verdict)


def _judged(day: date, rows: list[Row]) -> JudgedDay:
    version = max((row["model_version"] for row in rows), key=lambda text: (len(text), text))
    rows = [row for row in rows if row["model_version"] == version]
    whole = min(rows, key=lambda row: (row["statistic"] != DAY, SEVERITY.index(row["verdict"])))
    p_values = [row["p_value"] for row in rows if row["p_value"] is not None]
    return JudgedDay(
        day=day,
        verdict=whole["verdict"],
        since=day,
        p_value=min(p_values, default=None),
        model_version=version,
        report=whole["report"],
        rows=[row for row in rows if row["statistic"] != DAY],
        captures_digest=whole["captures_digest"],
        judged_at=whole["judged_at"],
        run_day=whole["run_day"],
        revision=_revision(whole),
    )


def _kind(verdict: str) -> str:
    return "moved" if verdict in MOVED else verdict


def of_sensors(days: list[JudgedDay]) -> list[Row]:
    """The verdict on each modality and sensor on the last day that had it.

    Returns:
        Rows with the worst statistic and its p-value; of one tested in part, what was not tested.
    """
    last: dict[Sensor, Row] = {}
    for judged in days:
        lacking = untested(judged.rows)
        for sensor in sensors(judged.rows, SEVERITY):
            own = [row for row in judged.rows if sensor_of(row) == sensor]
            last[sensor] = _worst(own, ", ".join(lacking.get(sensor, [])))
    names = ("modality", "sensor", "verdict", "statistic", "p_value", "model_version", "report")
    return [
        {"day": row["day"].isoformat(), **{name: row[name] for name in names}}
        for _, row in sorted(last.items())
    ]


def _worst(rows: list[Row], lacking: str) -> Row:
    outcome = outcome_of_sensor(rows) or Outcome.NOT_ENOUGH
    judged = tested(rows) or [row for row in rows if row["verdict"] in SEVERITY]
    worst = min(judged, key=lambda row: SEVERITY.index(row["verdict"]))
    named = lacking if outcome == Outcome.PARTLY else worst["statistic"]
    return {**worst, "verdict": outcome.value, "statistic": named}


def moved_since(days: list[JudgedDay]) -> dict[Sensor, date]:
    """What has moved on the last day, with the first of the judged days in a row it did so."""
    since: dict[Sensor, date] = {}
    for judged in days:
        moved = sorted(sensors(judged.rows, MOVED))
        since = {sensor: since.get(sensor, judged.day) for sensor in moved}
    return since


def rows_of(
    store: Store, first: date, last: date | None = None, version: str | None = None
) -> list[Row]:
    """The rows of a day, or from it to another, by one model version or by all."""
    found = read_rows(store, first, last or first)
    return [row for row in found if version in (None, row["model_version"])]


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


def tested(rows: Iterable[AnyRow]) -> list[AnyRow]:
    """Rows of statistics that are tested, where they could be."""
    return [row for row in rows if row["statistic"] in TESTED and row["p_value"] is not None]


def untested(rows: Iterable[Mapping[str, Any]]) -> dict[Sensor, list[str]]:
    """By sensor, the statistics that could be tested neither of the day nor of the recent days."""
    found: dict[Sensor, dict[str, bool]] = {}
    for row in rows:
        if row["statistic"] in TESTED:
            name = row["statistic"].removeprefix(TREND_PREFIX)
            of_sensor = found.setdefault(sensor_of(row), {})
            of_sensor[name] = of_sensor.get(name, False) or row["p_value"] is not None
    missing = {s: [name for name, ok in names.items() if not ok] for s, names in found.items()}
    return {sensor: names for sensor, names in sorted(missing.items()) if names}


def outcome_of_sensor(rows: Iterable[Mapping[str, Any]]) -> Outcome | None:
    """The verdict on one sensor, or on one of its statistics; None where all rows inform.

    What could be tested of the recent days counts as tested.
    """
    rows = list(rows)
    worst = next((one for one in MOVED if any(row["verdict"] == one for row in rows)), None)
    if worst is not None:
        return worst
    missing = bool(untested(rows))
    if tested(rows):
        return Outcome.PARTLY if missing else Outcome.CALM
    return Outcome.NOT_ENOUGH if missing else None


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
