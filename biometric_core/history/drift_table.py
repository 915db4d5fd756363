"""The days in the `drift` table: verdict of each, since when it is so, and what has moved."""

from dataclasses import dataclass, replace
from datetime import date

from biometric_core.history.changes import Sensor
from biometric_core.history.drifted import Row, by_day, sensor_of, sensors
from biometric_core.monitoring.verdicts import DAY, MOVED, SEVERITY
from biometric_core.storage.store import Store


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
    """

    day: date
    verdict: str
    since: date
    p_value: float | None
    model_version: str
    report: str | None
    rows: list[Row]


def judged_days(store: Store) -> list[JudgedDay]:
    """All days that were judged, oldest first."""
    rows: list[Row] = store.read("drift").to_pylist()
    of_day = by_day(row for row in rows if row["verdict"] in SEVERITY)
    days: list[JudgedDay] = []
    for day in sorted(of_day):
        found = _judged(day, of_day[day])
        alike = days and _kind(days[-1].verdict) == _kind(found.verdict)
        days.append(replace(found, since=days[-1].since) if alike else found)
    return days


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
    )


def _kind(verdict: str) -> str:
    return "moved" if verdict in MOVED else verdict


def of_sensors(days: list[JudgedDay]) -> list[Row]:
    """The worst verdict of each modality and sensor on the last day that had it."""
    last: dict[Sensor, Row] = {}
    for judged in days:
        worst = sorted(judged.rows, key=lambda row: -SEVERITY.index(row["verdict"]))
        last |= {sensor_of(row): row for row in worst}
    names = ("modality", "sensor", "verdict", "statistic", "p_value", "model_version", "report")
    return [
        {"day": row["day"].isoformat(), **{name: row[name] for name in names}}
        for _, row in sorted(last.items())
    ]


def moved_since(days: list[JudgedDay]) -> dict[Sensor, date]:
    """What has moved on the last day, with the first of the judged days in a row it did so."""
    since: dict[Sensor, date] = {}
    for judged in days:
        moved = sorted(sensors(judged.rows, MOVED))
        since = {sensor: since.get(sensor, judged.day) for sensor in moved}
    return since
