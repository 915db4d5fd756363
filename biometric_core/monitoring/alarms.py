"""From the verdicts of a day to its alarm: is it confirmed, was it told, since when is it so?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from biometric_core.config import Monitoring
from biometric_core.history.changes import Sensor, named
from biometric_core.history.drift_table import (
    ALL,
    DAILY,
    DAY,
    MOVED,
    TESTED,
    Outcome,
    by_day,
    sensor_of,
    sensors,
    tested,
    untested,
)
from biometric_core.monitoring.verdicts import Verdict

_Row = Mapping[str, Any]
_CONFIRMING_DAYS = 3
_CONFIRMING_WITHIN = timedelta(days=7)  # an older suspicion says nothing about today


@dataclass(frozen=True)
class DayAlarm:
    """The verdict on a day as a whole.

    Attributes:
        verdict: calm, partly tested, suspect, alarm, standing or not enough subjects.
        p_value: the smallest corrected one; None where nothing was tested.
        reason: one sentence for people.
    """

    verdict: Outcome
    p_value: float | None
    reason: str

    def row(self, settings: Monitoring) -> Verdict:
        """As a row of the `drift` table."""
        return Verdict(ALL, ALL, DAY, None, self.p_value, settings.alpha, 0, self.verdict.value)


def day_alarm(
    verdicts: Sequence[Verdict], history: Sequence[_Row], settings: Monitoring, day: date
) -> DayAlarm:
    """Decide on a day.

    Confirmed is a drift whose p-value lies below `alpha` at once, or that was suspect on two of the
    last three judged days of the same modality and sensor (within a week), by statistics of single
    days (those of recent days repeat themselves). Within `cooldown_days` after an alarm it is
    standing, if no other sensor has joined: nobody wants to be told every day.

    Args:
        verdicts: of the day.
        history: rows of the `drift` table of earlier days, judged by the same model.
        settings: thresholds and rules.
        day: the day.
    """
    found = tested(vars(row) for row in verdicts)
    if not found:
        return DayAlarm(Outcome.NOT_ENOUGH, None, "too few comparable people on this day")
    smallest = min(row["p_value"] for row in found)
    confirmed = _confirmed(found, history, settings, day)
    moved = confirmed or sensors(found, MOVED)
    if not moved:
        return _quiet(verdicts, found, smallest)
    words = "; ".join(_told(sensor, found, history, day) for sensor in sorted(moved))
    if not confirmed:
        return DayAlarm(Outcome.SUSPECT, smallest, f"to be confirmed: {words}")
    told = _last_alarm(history)
    cooling = told is not None and day - told < timedelta(days=settings.cooldown_days)
    if told is not None and cooling and confirmed <= _confirmed_since(told, history, settings):
        return DayAlarm(Outcome.STANDING, smallest, f"alarm of {told} stands: {words}")
    return DayAlarm(Outcome.ALARM, smallest, words)


def _quiet(verdicts: Sequence[Verdict], found: Sequence[_Row], smallest: float) -> DayAlarm:
    """Calm only where all was tested that is looked at; else it says what was not."""
    missing = untested(vars(row) for row in verdicts)
    if not missing:
        return DayAlarm(Outcome.CALM, smallest, "nothing has moved")
    lacking = "; ".join(f"{named(s)}: {', '.join(names)}" for s, names in missing.items())
    seen = sorted({named(sensor_of(row)) for row in found})
    reason = (
        f"nothing has moved of what was tested ({'; '.join(seen)}); NOT tested, with too few "
        f"comparable people: {lacking}"
    )
    return DayAlarm(Outcome.PARTLY, smallest, reason)


def _confirmed(
    rows: Sequence[_Row], history: Sequence[_Row], settings: Monitoring, day: date
) -> set[Sensor]:
    found: set[Sensor] = set()
    if settings.confirmation != "two_of_three":
        found |= sensors(rows, (Outcome.ALARM,))
    if settings.confirmation != "at_once":
        found |= {
            sensor
            for sensor in sensors([row for row in rows if row["statistic"] in DAILY], MOVED)
            if _was_suspect(sensor, history, day)
        }
    return found


def _was_suspect(sensor: Sensor, history: Sequence[_Row], day: date) -> bool:
    """Whether a sensor moved on one of the days before that count for its confirmation."""
    moved = _moved_days(sensor, history, DAILY)
    last = sorted(moved)[-(_CONFIRMING_DAYS - 1) :]
    return any(moved[earlier] for earlier in last if day - earlier < _CONFIRMING_WITHIN)


def _confirmed_since(told: date, history: Sequence[_Row], settings: Monitoring) -> set[Sensor]:
    """Sensors whose drift was confirmed on the day of an alarm or later: they were told then."""
    found: set[Sensor] = set()
    for day, rows in by_day(history).items():
        if day >= told:
            before = [row for row in history if row["day"] < day]
            found |= _confirmed(tested(rows), before, settings, day)
    return found


def _last_alarm(history: Sequence[_Row]) -> date | None:
    alarms = [
        row["day"]
        for row in history
        if row["statistic"] == DAY and row["verdict"] == Outcome.ALARM.value
    ]
    return max(alarms, default=None)


def _told(sensor: Sensor, rows: Sequence[_Row], history: Sequence[_Row], day: date) -> str:
    moved = [
        f"{row['statistic']} (p = {row['p_value']:.3g})"
        for row in rows
        if sensor_of(row) == sensor and row["verdict"] in MOVED
    ]
    names = ", ".join(moved) or "suspect before"
    return f"{named(sensor)}: {names}, since {since(sensor, history, day)}"


def since(sensor: Sensor, history: Sequence[_Row], day: date) -> date:
    """The first of the unusual days in a row, up to `day`, of this sensor."""
    moved = _moved_days(sensor, history, TESTED)
    first = day
    for earlier in sorted(moved, reverse=True):
        if not moved[earlier]:
            break
        first = earlier
    return first


def _moved_days(
    sensor: Sensor, history: Sequence[_Row], statistics: Sequence[str]
) -> dict[date, bool]:
    """The days on which a sensor was tested, and whether any of these statistics moved on them."""
    moved: dict[date, bool] = {}
    for row in tested(history):
        if sensor_of(row) == sensor and row["statistic"] in statistics:
            moved[row["day"]] = moved.get(row["day"], False) or row["verdict"] in MOVED
    return moved
