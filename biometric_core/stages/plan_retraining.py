"""Whether a drift alarm deserves a new model: decided from the tables, never from the message.

An alert is a wake-up and no more. Alerts may come in a burst, twice, or while nobody listens, so
the drift state is read again from the store; an alarm stays pending until a decision answers it.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow.compute as pc

from biometric_core.config import Config
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
    by_day,
    moved,
    moved_during,
    read_rows,
    rows_of,
    sensor_of,
)
from biometric_core.schemas import start_of, utc
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking.registry import Version, require
from biometric_core.training.training_data import count_trainable

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

    Retrain when a confirmed drift of some sensors, as the champion judged it, has been told since
    the last decision that answered them, the cooldown (in days of the data, not of the clock) is
    over, enough captures to train on came from the sensors that moved since its first day, and the
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
    own = [judged for judged in days if judged.model_version == champion.version]
    pending = _pending(own, history)
    if pending:
        made = _weigh(config, store, champion, pending, history)
    else:
        made = RetrainPlan(False, _standing(days, history, champion.version), None, None)
    if force and not made.retrain:
        made = _forced(store, made, trigger)
    _log.info("retraining (%s): %s: %s", trigger, "yes" if made.retrain else "no", made.reason)
    return made


@dataclass(frozen=True)
class _Judged:
    """What a model said of a day: the verdict on it as a whole, and which sensors moved."""

    day: date
    model_version: str
    verdict: str
    moved: frozenset[Sensor]


def _judged_days(store: Store) -> list[_Judged]:
    """The verdicts on days as a whole, oldest first."""
    found = []
    for day, rows in by_day(read_rows(store)).items():
        for whole in (row for row in rows if row["statistic"] == DAY):
            version = whole["model_version"]
            own = moved(row for row in rows if row["model_version"] == version)
            found.append(_Judged(day, version, whole["verdict"], frozenset(own)))
    return sorted(found, key=lambda judged: judged.day)


@dataclass(frozen=True)
class _Pending:
    """A drift that waits for an answer: of which sensors, and its first and last day."""

    first: date
    last: date
    sensors: frozenset[Sensor]


def _pending(days: Sequence[_Judged], history: Sequence[Decision]) -> _Pending | None:
    """The newest confirmed drift that waits for an answer; None where none does.

    A decision answers for the sensors that it says moved: what another one did on those days, or
    earlier, still waits. After an answer a drift waits only once it has been told again: one that
    goes on is answered, until its next alarm. It goes back without a break to its first confirmed
    day.

    Args:
        days: judged by the champion, oldest first.
        history: all decisions.
    """
    told: dict[Sensor, list[_Judged]] = {}
    for judged in (one for one in days if one.verdict in CONFIRMED):
        for sensor in judged.moved:
            if not any(one.answers(sensor, judged.day) for one in history):
                told.setdefault(sensor, []).append(judged)
    waiting = {sensor: found for sensor, found in told.items() if not _goes_on(found, history)}
    if not waiting:
        return None
    last = max(found[-1].day for found in waiting.values())
    first, sensors = last, frozenset(waiting)
    for judged in reversed([one for one in days if one.day < last]):
        if judged.verdict not in MOVED or not judged.moved & sensors:
            break
        first = judged.day if judged.verdict in CONFIRMED else first
    return _Pending(first, last, sensors)


def _goes_on(found: Sequence[_Judged], history: Sequence[Decision]) -> bool:
    """Whether these days only repeat what was answered before."""
    answered = any(one.answered and one.answered < found[0].day for one in history)
    return answered and all(judged.verdict == Outcome.STANDING for judged in found)


def _weigh(
    config: Config,
    store: Store,
    champion: Version,
    pending: _Pending,
    history: Sequence[Decision],
) -> RetrainPlan:
    """Weigh a drift that waits for an answer."""
    first, day = pending.first, pending.last
    rows = rows_of(store, first, day, champion.version)
    today = [row for row in rows if row["day"] == day and sensor_of(row) in pending.sensors]
    harm = _Harm.of(today, config.monitoring.suspect_alpha)
    sensors = moved_during(rows) & pending.sensors
    end = start_of(day + timedelta(days=1))
    captures, rejected = count_trainable(store, config, Change(first, sensors), end)
    answered = [one.answered for one in history if one.answered and one.answered < day]
    last = max((d for d in (*answered, _last_day(champion)) if d is not None), default=None)
    numbers = {
        "champion_version": champion.version,
        "since": first.isoformat(),
        "moved": [named(sensor) for sensor in sorted(harm.moved)],
        "score_shift": harm.score_shift,
        "failure_shift": harm.failure_shift,
        "rejection_shift": harm.rejection_shift,
        "new_captures": captures,
        "rejected_claims": rejected,
        "min_new_captures": config.retraining.min_new_captures,
        "days_since_last": (day - last).days if last else None,
        "cooldown_days": config.retraining.cooldown_days,
    }
    found = tuple(sorted(sensors))
    objection = _objection(numbers, last, harm)
    if objection is not None:
        reason = f"drift on {day}, but {objection}"
        return RetrainPlan(False, reason, first.isoformat(), None, numbers, found)
    reason = f"drift on {day}: {harm.told()}, {captures} new captures to train on"
    return RetrainPlan(True, reason, first.isoformat(), end.isoformat(), numbers, found)


def _objection(numbers: Mapping[str, Any], last: date | None, harm: "_Harm") -> str | None:
    """Why a drift gets no new model now; None where it does."""
    days, captures = numbers["days_since_last"], numbers["new_captures"]
    if days is not None and days < numbers["cooldown_days"]:
        return f"{days} days since {last} are within the cooldown"
    if captures < numbers["min_new_captures"]:
        rejected = numbers["rejected_claims"]
        lost = f" ({rejected} more are rejected claims)" if rejected else ""
        return f"only {captures} captures to train on since then{lost}"
    if not harm.worse:
        return (
            "the champion's genuine scores are no lower on that day, "
            "and no more captures fail to be acquired or are rejected"
        )
    return None


@dataclass(frozen=True)
class _Harm:
    """How much worse the champion does where sensors moved.

    Attributes:
        moved: the sensors.
        score_shift: the largest fall of the mean genuine score, below zero; None where not tested.
        failure_shift: the largest rise of the share of failures to acquire among those that moved
            by themselves; None where none did.
        rejection_shift: likewise, of the share of claims that were rejected.
    """

    moved: set[Sensor]
    score_shift: float | None
    failure_shift: float | None
    rejection_shift: float | None

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
        moving = [row for row in own if row["verdict"] in MOVED]
        rises = [
            max((row["value"] for row in moving if row["statistic"] == rate), default=None)
            for rate in (FAILURE_SHIFT, REJECTION_SHIFT)
        ]
        return cls(sensors, min(shifts, default=None), *rises)

    @property
    def worse(self) -> bool:
        """Whether the champion does worse; not where it isn't known."""
        rises = (self.failure_shift or 0, self.rejection_shift or 0)
        return (self.score_shift or 0) < 0 or max(rises) > 0

    def told(self) -> str:
        """For people."""
        parts = []
        if (self.score_shift or 0) < 0:
            parts.append(f"genuine scores moved by {self.score_shift:.3g}")
        if (self.failure_shift or 0) > 0:
            parts.append(f"failures to acquire rose by {self.failure_shift:.3g}")
        if (self.rejection_shift or 0) > 0:
            parts.append(f"rejected claims rose by {self.rejection_shift:.3g}")
        return ", ".join(parts)


def _standing(days: Sequence[_Judged], history: Sequence[Decision], champion: str) -> str:
    """Why nothing is pending."""
    alarms = [judged for judged in days if judged.verdict in CONFIRMED]
    if not alarms:
        return "no drift alarm"
    newest = alarms[-1]
    goes_on = newest.model_version == champion  # then it was answered on an earlier day
    answers = [one for one in history if one.answered and (goes_on or one.answered >= newest.day)]
    if not answers:
        return (
            f"the drift of {newest.day} was found by version {newest.model_version}; "
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
