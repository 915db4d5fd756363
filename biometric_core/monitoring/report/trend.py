"""The days up to a report's: p-values, genuine scores, quality and failures, alarms, promotions."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Monitoring
from biometric_core.history import decisions
from biometric_core.history.changes import Sensor
from biometric_core.history.drift_table import FAILURE_RATE, QUALITY, TREND_PREFIX, by_day
from biometric_core.monitoring.report.facts import GENUINE, Row, alarm_days, by_group, smallest_p
from biometric_core.monitoring.windows import CURRENT
from biometric_core.reporting.over_days import Line, Panel, trend
from biometric_core.storage.store import Store

SHOWN = timedelta(days=90)
# More lines than this nobody can tell apart: those with the smallest p-values stay.
_MOST_GROUPS = 6
Points = dict[Sensor, list[tuple[date, float]]]


def trend_picture(
    store: Store, rows: Sequence[Row], earlier: Sequence[Row], settings: Monitoring
) -> bytes | None:
    """Draw the days up to the one that is judged.

    Args:
        store: its `probes` tell mean genuine scores, its `decisions` the promotions.
        rows: the day's rows, as `rows_of` gives them.
        earlier: rows of the days before, oldest first.
        settings: the limits to mark.

    Returns:
        A PNG; None where there is nothing to draw.
    """
    day = rows[0]["day"]
    shown = [*(row for row in earlier if row["day"] >= day - SHOWN), *rows]
    panels = [
        Panel("smallest corrected p-value", _p_lines(shown, rows), _limits(settings), True),
        Panel("mean genuine score", _lines(_genuine(store, shown), rows)),
        Panel("mean quality", _lines(_values(shown, QUALITY), rows)),
        Panel("failures to acquire in %", _lines(_values(shown, FAILURE_RATE, 100), rows)),
    ]
    return trend(panels, alarm_days(shown), _changes(store, shown))


def _limits(settings: Monitoring) -> dict[str, float]:
    return {"alarm below": settings.alpha, "suspect below": settings.suspect_alpha}


def _chosen(today: Sequence[Row]) -> list[Sensor]:
    groups = by_group(today)
    smallest = {name: smallest_p(found) for name, found in groups.items()}
    worst = sorted(groups, key=lambda name: 2.0 if smallest[name] is None else smallest[name] or 0)
    return [name for name in groups if name in worst[:_MOST_GROUPS]]


def _lines(points: Points, today: Sequence[Row], *, slow: bool = False) -> list[Line]:
    return [Line(", ".join(name), points.get(name, []), slow) for name in _chosen(today)]


def _p_lines(rows: Sequence[Row], today: Sequence[Row]) -> list[Line]:
    """Of each group the smallest of the day's own statistics, and of those of the recent days."""
    of_days = [row for row in rows if not row["statistic"].startswith(TREND_PREFIX)]
    slow = [row for row in rows if row["statistic"].startswith(TREND_PREFIX)]
    lines = _lines(_points(of_days, smallest_p), today)
    return lines + _lines(_points(slow, smallest_p), today, slow=True)


def _values(rows: Sequence[Row], statistic: str, factor: float = 1) -> Points:
    of_it = (row for row in rows if row["statistic"] == statistic and row["value"] is not None)
    return _points(of_it, lambda found: factor * float(found[0]["value"]))


def _points(rows: Iterable[Row], value: Callable[[list[Row]], float | None]) -> Points:
    points: Points = {}
    for day, found in by_day(rows).items():
        for name, group in by_group(found).items():
            number = value(group)
            if number is not None:
                points.setdefault(name, []).append((day, number))
    return points


def _genuine(store: Store, rows: Sequence[Row]) -> Points:
    """Mean genuine scores: of earlier days from the probes, by the model that judged the day."""
    versions = {row["day"]: row["model_version"] for row in rows}
    points: Points = {}
    for found in _means(store, min(versions), max(versions)).to_pylist():
        if versions.get(found["day"]) == found["model_version"]:
            name = (found["modality"], found["sensor"])
            points.setdefault(name, []).append((found["day"], found["genuine_score_mean"]))
    for name, today in _values(rows, GENUINE).items():
        points.setdefault(name, []).extend(today)
    return points


def _means(store: Store, first: date, day: date) -> pa.Table:
    during = (pc.field("day") >= first) & (pc.field("day") < day)
    by = ["day", "model_version", "modality", "sensor"]
    wanted = (pc.field("window") == CURRENT) & pc.field("genuine_score").is_valid() & during
    probes = store.read("probes", [*by, "genuine_score"], filter=wanted)
    return probes.group_by(by).aggregate([("genuine_score", "mean")]).sort_by("day")


def _changes(store: Store, rows: Sequence[Row]) -> dict[date, str]:
    """Days on which another model was put in, and which.

    A history that is judged afterwards is decided on far later than its days: such a decision is
    shown on the day of the drift that it answers.
    """
    first, last = rows[0]["day"], rows[-1]["day"]
    found = {}
    for one in decisions.read(store):
        if one.decision in (decisions.PROMOTED, decisions.ROLLED_BACK):
            decided = datetime.fromisoformat(one.decided_at).date()
            drifted = date.fromisoformat(one.drift_day) if one.drift_day else decided
            shown = decided if first <= decided <= last else drifted
            if first <= shown <= last:
                found[shown] = f"model {one.challenger_version}"
    return found
