"""Whether a drift alarm deserves a new model: decided from the tables, never from the message.

An alert is a wake-up and no more. Alerts may come in a burst, twice, or while nobody listens, so
the drift state is read again from the store; an alarm stays pending until a decision answers it.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.capture_sets import str_array
from biometric_core.history import decisions
from biometric_core.history.changes import Change, Sensor, named
from biometric_core.history.decisions import Decision
from biometric_core.history.drift_table import (
    CONFIRMED,
    DAY,
    FAILURE_SHIFT,
    GENUINE_SHIFT,
    MOVED,
    REJECTION_SHIFT,
    TREND_PREFIX,
    Outcome,
    Row,
    moved,
    moved_during,
    rows_of,
    sensor_of,
)
from biometric_core.schemas import start_of, utc
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking.registry import Version, require

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetrainPlan:
    """What to do, and why.

    Attributes:
        retrain: train a challenger now.
        reason: one sentence for people.
        day: the first day of the drift this answers, ISO 8601; None without one.
        as_of: train on captures before this time, ISO 8601; None when nothing is to do.
        numbers: what was looked at.
        sensors: modality and sensor of each that moved during the drift, sorted.
    """

    retrain: bool
    reason: str
    day: str | None
    as_of: str | None
    numbers: dict[str, Any] = field(default_factory=dict)
    sensors: tuple[Sensor, ...] = ()


@owner_only()
def plan_retraining(config: Config, *, trigger: str, force: bool = False) -> RetrainPlan:
    """Decide whether to train a challenger.

    Retrain when a confirmed drift, as the champion judged it, has been told since the last
    decision that answered it, the cooldown (in days of the data, not of the clock) is over, enough
    captures of known subjects came from the sensors that moved since its first day, and the
    champion does worse: genuine scores fell by more than chance explains, or more captures fail to
    be acquired. T2 also fires on shifts that do no harm.

    Args:
        config: cooldown and least number of captures.
        trigger: `asset` or `manual`; goes into the reason.
        force: train even so, on all captures there are.

    Raises:
        ModelError: there is no champion.
        ServiceError: MLflow can't be reached.
    """
    store = Store.of(config)
    champion = require(config, "champion")
    days = _judged_days(store)
    history = decisions.read(store)
    answered = max((one.answered for one in history if one.answered), default=None)
    pending = _pending(days, champion.version, answered)
    if pending:
        made = _weigh(config, store, champion, pending, answered)
    else:
        made = RetrainPlan(False, _standing(days, history, champion.version), None, None)
    if force and not made.retrain:
        made = _forced(store, made, trigger)
    _log.info("retraining (%s): %s: %s", trigger, "yes" if made.retrain else "no", made.reason)
    return made


def _judged_days(store: Store) -> list[Row]:
    """The verdicts on days as a whole, oldest first."""
    found: list[Row] = store.read("drift", filter=pc.field("statistic") == DAY).to_pylist()
    return sorted(found, key=lambda row: row["day"])


def _pending(days: list[Row], champion: str, answered: date | None) -> tuple[date, date] | None:
    """First and last day of the champion's newest confirmed drift; None where none waits.

    It goes back without a break to its first confirmed day. After an answer it waits only once it
    has been told again: a drift that goes on is answered, until its next alarm.
    """
    own = [row for row in days if row["model_version"] == champion]
    later = [row for row in own if answered is None or row["day"] > answered]
    confirmed = [row for row in later if row["verdict"] in CONFIRMED]
    goes_on = answered is not None and all(r["verdict"] == Outcome.STANDING for r in confirmed)
    if not confirmed or goes_on:
        return None
    last = confirmed[-1]["day"]
    first = last
    for row in reversed([row for row in own if row["day"] < last]):
        if row["verdict"] not in MOVED:
            break
        first = row["day"] if row["verdict"] in CONFIRMED else first
    return first, last


def _weigh(
    config: Config,
    store: Store,
    champion: Version,
    pending: tuple[date, date],
    answered: date | None,
) -> RetrainPlan:
    """Weigh a drift that waits for an answer."""
    first, day = pending
    rows = rows_of(store, first, day, champion.version)
    today = [row for row in rows if row["day"] == day]
    harm = _Harm.of(today, config.monitoring.suspect_alpha)
    sensors = moved_during(rows)
    captures = _labelled(store, Change(first, sensors))
    last = max((d for d in (answered, _last_day(champion)) if d is not None), default=None)
    days = (day - last).days if last else None
    numbers = {
        "champion_version": champion.version,
        "since": first.isoformat(),
        "moved": [named(sensor) for sensor in sorted(harm.moved)],
        "score_shift": harm.score_shift,
        "failure_shift": harm.failure_shift,
        "new_captures": captures,
        "min_new_captures": config.retraining.min_new_captures,
        "days_since_last": days,
        "cooldown_days": config.retraining.cooldown_days,
    }
    found = tuple(sorted(sensors))
    objection = _objection(numbers, last, harm)
    if objection is not None:
        reason = f"drift on {day}, but {objection}"
        return RetrainPlan(False, reason, first.isoformat(), None, numbers, found)
    reason = f"drift on {day}: {harm.told()}, {captures} new captures of known subjects"
    end = start_of(day + timedelta(days=1)).isoformat()
    return RetrainPlan(True, reason, first.isoformat(), end, numbers, found)


def _objection(numbers: Mapping[str, Any], last: date | None, harm: "_Harm") -> str | None:
    """Why a drift gets no new model now; None where it does."""
    days, captures = numbers["days_since_last"], numbers["new_captures"]
    if days is not None and days < numbers["cooldown_days"]:
        return f"{days} days since {last} are within the cooldown"
    if captures < numbers["min_new_captures"]:
        return f"only {captures} captures of known subjects since then"
    if not harm.worse:
        return (
            "the champion's genuine scores are no lower on that day, "
            "and no more captures fail to be acquired or to match"
        )
    return None


@dataclass(frozen=True)
class _Harm:
    """How much worse the champion does where sensors moved.

    Attributes:
        moved: the sensors.
        score_shift: the largest fall of the mean genuine score, below zero; None where not tested.
        failure_shift: the largest rise of the share of failures to acquire, or of claims rejected,
            among those that moved by themselves; None where none did.
    """

    moved: set[Sensor]
    score_shift: float | None
    failure_shift: float | None

    @classmethod
    def of(cls, rows: list[Row], suspect_alpha: float) -> "_Harm":
        """From the rows of a day; a shift that chance explains by itself is none."""
        sensors = moved(rows)
        own = [
            row | {"statistic": row["statistic"].removeprefix(TREND_PREFIX)}
            for row in rows
            if sensor_of(row) in sensors
            and row["value"] is not None
            and math.isfinite(row["value"])
        ]
        shifts = [
            row["value"]
            for row in own
            if row["statistic"] == GENUINE_SHIFT
            and (row["raw_p_value"] is None or row["raw_p_value"] < suspect_alpha)
        ]
        failures = [
            row["value"]
            for row in own
            if row["statistic"] in (FAILURE_SHIFT, REJECTION_SHIFT) and row["verdict"] in MOVED
        ]
        return cls(sensors, min(shifts, default=None), max(failures, default=None))

    @property
    def worse(self) -> bool:
        """Whether the champion does worse; not where it isn't known."""
        return (self.score_shift or 0) < 0 or (self.failure_shift or 0) > 0

    def told(self) -> str:
        """For people."""
        parts = []
        if (self.score_shift or 0) < 0:
            parts.append(f"genuine scores moved by {self.score_shift:.3g}")
        if (self.failure_shift or 0) > 0:
            parts.append(f"failures to acquire or to match rose by {self.failure_shift:.3g}")
        return ", ".join(parts)


def _labelled(store: Store, change: Change) -> int:
    """Captures of known subjects by sensors since they changed: others can't be trained on."""
    since = pc.field("captured_at") >= start_of(change.day)
    rows = store.read("captures", ["subject_id", "modality", "sensor"], since)
    known = np.array([bool(subject) for subject in rows["subject_id"].to_pylist()], dtype=np.bool_)
    modality, sensor = (str_array(rows[n].to_pylist()) for n in ("modality", "sensor"))
    return int(np.count_nonzero(known & change.concerns(modality, sensor)))


def _standing(days: list[Row], history: list[Decision], champion: str) -> str:
    """Why nothing is pending."""
    alarms = [row for row in days if row["verdict"] in CONFIRMED]
    if not alarms:
        return "no drift alarm"
    newest = max(alarms, key=lambda row: row["day"])
    goes_on = newest["model_version"] == champion  # then it was answered on an earlier day
    answers = [
        one for one in history if one.answered and (goes_on or one.answered >= newest["day"])
    ]
    if not answers:
        return (
            f"the drift of {newest['day']} was found by version {newest['model_version']}; "
            f"version {champion} is champion now"
        )
    answer = answers[-1]
    what = f"version {answer.challenger_version} was {answer.decision}".replace("_", " ")
    return f"the drift of {answer.drift_day} was answered: {what}"


def _forced(store: Store, made: RetrainPlan, trigger: str) -> RetrainPlan:
    times = store.read("captures", ["captured_at"])["captured_at"]
    newest: datetime | None = pc.max(times).as_py()
    end = start_of((newest or datetime.now(UTC)).date() + timedelta(days=1))
    reason = f"forced ({trigger}) although: {made.reason}"
    return replace(made, retrain=True, reason=reason, as_of=end.isoformat())


def _last_day(champion: Version) -> date | None:
    """The last day of data that the champion was trained on; None where its tags don't say."""
    as_of = champion.tags.get("as_of")
    if not as_of:
        return None
    return (utc(datetime.fromisoformat(as_of)) - timedelta(microseconds=1)).date()
