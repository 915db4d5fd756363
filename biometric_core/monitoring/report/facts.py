"""What a report says, in plain values: the verdict in words, the table, the figures for MLflow.

Rows of the `drift` table are told as they are found: a statistic without words of its own gets its
name, a day of an older version (without a row for the day as a whole) its worst row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from biometric_core.history import drift_table
from biometric_core.history.changes import Sensor, named
from biometric_core.history.drift_table import (
    BRIGHTNESS,
    CONTRAST,
    DAY,
    ENROLLED_TODAY,
    FAILURE_RATE,
    MOVED,
    QUALITY,
    REJECTION_RATE,
    SEVERITY,
    SHARPNESS,
    UNIDENTIFIED,
    JudgedDay,
    Outcome,
    by_day,
    outcome_of_sensor,
    sensor_of,
    untested,
)
from biometric_core.monitoring.alarms import since
from biometric_core.monitoring.verdicts import Verdict
from biometric_core.monitoring.windows import Group
from biometric_core.storage.store import Store

Row = Mapping[str, Any]  # of the `drift` table
GENUINE = "genuine_mean"
_DAILY = {
    drift_table.RESIDUAL_T2: "Residuals of known people (T2)",
    drift_table.GENUINE_SHIFT: "Change of the mean genuine score",
    drift_table.QUALITY_T2: "Image quality (T2 of its measures)",
    drift_table.FAILURE_SHIFT: "Change of the failure-to-acquire rate",
    drift_table.REJECTION_SHIFT: "Change of the rate of rejected claims",
}
WORDS = {
    **_DAILY,
    **{
        f"{drift_table.TREND_PREFIX}{name}": f"{words}, recent days"
        for name, words in _DAILY.items()
    },
    drift_table.POPULATION_T2: "Templates of new people (T2)",
    GENUINE: "Mean genuine score",
    QUALITY: "Mean quality",
    SHARPNESS: "Mean sharpness (logarithm)",
    CONTRAST: "Mean contrast (gray levels)",
    BRIGHTNESS: "Mean brightness (gray levels)",
    FAILURE_RATE: "Failure-to-acquire rate",
    REJECTION_RATE: "Rate of rejected claims",
    UNIDENTIFIED: "Probes with nobody enrolled",
    ENROLLED_TODAY: "Probes of people enrolled on the same day",
    DAY: "Smallest corrected p-value of the day",
}
_PHRASES = {
    drift_table.RESIDUAL_T2: "the features of known people moved",
    drift_table.GENUINE_SHIFT: "genuine scores {direction}",
    drift_table.QUALITY_T2: "the image quality changed",
    drift_table.FAILURE_SHIFT: "the failure-to-acquire rate {direction}",
    drift_table.REJECTION_SHIFT: "the rate of rejected claims {direction}",
}
_LOOK_BACK = timedelta(days=365)
SHARES = (
    FAILURE_RATE,
    REJECTION_RATE,
    drift_table.FAILURE_SHIFT,
    drift_table.REJECTION_SHIFT,
)


@dataclass(frozen=True)
class Moved:
    """A modality and sensor that is not calm.

    Attributes:
        modality, sensor: which.
        outcome: alarm, standing or suspect, the worst of its statistics.
        since: the first day of the run of days that are not calm, as the same model judged them;
            at most a year back.
        days: judged days of that run.
        what: what moved, a phrase each, the surest first.
    """

    modality: str
    sensor: str
    outcome: Outcome
    since: date
    days: int
    what: list[str]

    @property
    def sentence(self) -> str:
        """For people: which, and since when."""
        run = f"{self.days} judged days in a row" if self.days > 1 else "the first such day"
        return f"{named((self.modality, self.sensor))}, since {self.since} ({run})"


@dataclass(frozen=True)
class Facts:
    """A day in plain values.

    Attributes:
        day: judged.
        version: of the model that judged it.
        outcome: of the day as a whole.
        p_value: the smallest corrected one; None where nothing could be tested.
        moved: modalities and sensors that are not calm, the worst first.
        calm: names of those that are.
        partly: of those of which something was tested, what could not be.
        unjudged: names of those with too few people.
        last_alarm: the last day before this one whose verdict was an alarm.
        replaced: the verdict whose place this one takes; None where it is the first on the day.
    """

    day: date
    version: str
    outcome: Outcome
    p_value: float | None
    moved: list[Moved]
    calm: list[str]
    partly: list[str]
    unjudged: list[str]
    last_alarm: date | None
    replaced: JudgedDay | None = None

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        return {
            Outcome.ALARM: "Alarm: what a sensor delivers has moved away from what the model knows",
            Outcome.STANDING: "Drift goes on: "
            f"the alarm was sent {f'on {self.last_alarm}' if self.last_alarm else 'before'}, "
            "no new one is sent yet",
            Outcome.SUSPECT: "Suspect: something may have moved; another such day confirms it",
            Outcome.CALM: "Calm: nothing has moved",
            Outcome.PARTLY: "Partly tested: nothing has moved of what could be tested, "
            "and not everything could",
            Outcome.NOT_ENOUGH: "No verdict: too few people could be compared",
        }[self.outcome]

    @property
    def quiet(self) -> list[str]:
        """What is calm, what could not be judged, which verdict it replaces; a sentence each."""
        told = {
            "Calm": self.calm,
            "Not tested, with too few comparable people": self.partly,
            "Too few people to judge anything": self.unjudged,
        }
        found = [f"{what}: {'; '.join(names)}." for what, names in told.items() if names]
        return [*found, self.replacement] if self.replaced else found

    @property
    def replacement(self) -> str:
        """That this is not the first verdict on the day; empty where it is."""
        if self.replaced is None:
            return ""
        at = (
            f", judged {self.replaced.judged_at:%Y-%m-%d %H:%M} UTC"
            if self.replaced.judged_at
            else ""
        )
        return f"The day was judged again; this replaces the verdict {self.replaced.verdict}{at}."

    @property
    def sentences(self) -> list[str]:
        """All of it: what moved since when, and what is quiet."""
        return [f"{one.sentence}: {'; '.join(one.what)}." for one in self.moved] + self.quiet


def rows_of(
    day: date, version: str, groups: Sequence[Group], verdicts: Sequence[Verdict]
) -> list[Row]:
    """The day's rows as the `drift` table holds them, and mean genuine scores.

    Args:
        day: judged.
        version: of the model that judged it.
        groups: of the day.
        verdicts: what was found.
    """
    found = list(verdicts)
    for group in groups:
        if len(group.today.probes):
            mean, inform = float(np.mean(group.today.probes.genuine)), Outcome.INFORMATION.value
            what = (group.modality, group.sensor, GENUINE)
            found.append(Verdict(*what, mean, None, None, 0, inform))
    return [asdict(verdict) | {"day": day, "model_version": version} for verdict in found]


def earlier_rows(store: Store, day: date) -> list[Row]:
    """Rows of the year before a day, oldest first."""
    rows = drift_table.read_rows(store, day - _LOOK_BACK, day - timedelta(days=1))
    return sorted(rows, key=lambda row: row["day"])


def facts(rows: Sequence[Row], earlier: Sequence[Row], replaced: JudgedDay | None = None) -> Facts:
    """Put a day into words.

    Args:
        rows: of the day, at least one.
        earlier: of the days before, oldest first.
        replaced: the verdict whose place this one takes.
    """
    groups, version = by_group(rows), rows[0]["model_version"]
    outcomes = {name: outcome_of_sensor(found) for name, found in groups.items()}
    lacking = untested(row for row in rows if row["statistic"] != DAY)
    # Another model has another reference: what it found is no part of the run.
    history = [row for row in earlier if row["model_version"] == version]
    moved = [_moved(groups[name], history) for name, one in outcomes.items() if one in MOVED]
    return Facts(
        day=rows[0]["day"],
        version=version,
        outcome=day_outcome(rows),
        p_value=smallest_p(rows),
        moved=sorted(moved, key=lambda one: severity(one.outcome)),
        calm=[named(name) for name, found in outcomes.items() if found == Outcome.CALM],
        partly=[
            f"{named(name)}: {', '.join(_lower(words(one)) for one in lacking[name])}"
            for name, found in outcomes.items()
            if found not in (None, Outcome.NOT_ENOUGH) and name in lacking
        ],
        unjudged=[named(name) for name, found in outcomes.items() if found == Outcome.NOT_ENOUGH],
        last_alarm=max(alarm_days(history), default=None),
        replaced=replaced,
    )


def by_group(rows: Iterable[Row]) -> dict[Sensor, list[Row]]:
    """Rows by modality and sensor, without the row of the day as a whole."""
    groups: dict[Sensor, list[Row]] = {}
    for row in rows:
        if row["statistic"] != DAY:
            groups.setdefault(sensor_of(row), []).append(row)
    return groups


def day_outcome(rows: Iterable[Row]) -> Outcome:
    """The verdict of a day: its own row's, or the worst of its groups where there is none.

    One sensor with too few people does not leave the day without a verdict.
    """
    rows = list(rows)
    own = next((row["verdict"] for row in rows if row["statistic"] == DAY), None)
    found = {outcome_of_sensor(group) for group in by_group(rows).values()}
    order = (*MOVED, Outcome.PARTLY, Outcome.CALM)
    return Outcome(own) if own else next((o for o in order if o in found), Outcome.NOT_ENOUGH)


def alarm_days(rows: Iterable[Row]) -> list[date]:
    """Days whose verdict was an alarm."""
    return [day for day, found in by_day(rows).items() if day_outcome(found) == Outcome.ALARM]


def smallest_p(rows: Iterable[Row]) -> float | None:
    """The smallest corrected p-value among tested rows; None where nothing was tested."""
    tested = [r["p_value"] for r in rows if r["verdict"] in SEVERITY and r["p_value"] is not None]
    return min(tested, default=None)


def _moved(rows: Sequence[Row], history: Sequence[Row]) -> Moved:
    drifted = [row for row in rows if row["verdict"] in MOVED]
    worst = min((Outcome(row["verdict"]) for row in drifted), key=severity)
    surest = sorted(by_statistic(drifted).values(), key=lambda found: found[0]["p_value"])
    name, day = sensor_of(rows[0]), rows[0]["day"]
    first = since(name, history, day)
    run = {r["day"] for r in history if sensor_of(r) == name and r["day"] >= first}
    return Moved(*name, worst, first, len(run) + 1, [_phrase(found) for found in surest])


def by_statistic(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of a group by statistic: the day's own first, then that of the recent days."""
    merged: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["statistic"].startswith(drift_table.TREND_PREFIX)):
        merged.setdefault(row["statistic"].removeprefix(drift_table.TREND_PREFIX), []).append(row)
    return merged


def _phrase(found: Sequence[Row]) -> str:
    """What a statistic says: by the day itself where that has moved, else by the recent days."""
    row, statistic = found[0], found[0]["statistic"]
    plain = statistic.removeprefix(drift_table.TREND_PREFIX)
    direction = "changed"
    if row["value"] is not None:
        number = abs(row["value"])
        much = f"{100 * number:.2g} points" if plain in SHARES else f"{number:.2g}"
        direction = f"{'fell' if row['value'] < 0 else 'rose'} by {much}"
    phrase = _PHRASES.get(plain, words(plain)).format(direction=direction)
    slowly = " over the recent days" if plain != statistic else ""
    p_value = "" if row["p_value"] is None else f" (p = {row['p_value']:.3g})"
    return f"{phrase}{slowly}{p_value}"


def words(statistic: str) -> str:
    """A statistic in plain words; its name where it has none."""
    return WORDS.get(statistic, statistic.replace("_", " "))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def severity(verdict: Outcome | None) -> int:
    """Place among the outcomes, 0 the worst; None has the last."""
    return SEVERITY.index(verdict) if verdict else len(SEVERITY)
