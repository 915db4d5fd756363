"""Whether a drift alarm deserves a new model: decided from the tables, never from the message.

An alert is a wake-up and no more. Alerts may come in a burst, twice, or while nobody listens, so
the drift state is read again from the store; an alarm stays pending until a decision answers it.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow.compute as pc

from biometric_core import drift
from biometric_core.config import Config
from biometric_core.store import Store
from biometric_core.tracking.registry import Version, require
from biometric_core.verdicts import Outcome

_log = logging.getLogger(__name__)
_Row = dict[str, Any]


@dataclass(frozen=True)
class RetrainPlan:
    """What to do, and why.

    Attributes:
        retrain: train a challenger now.
        reason: one sentence for people.
        day: the alarm this answers, ISO 8601; None without one.
        as_of: train on captures before this time, ISO 8601; None when nothing is to do.
        numbers: what was looked at.
    """

    retrain: bool
    reason: str
    day: str | None
    as_of: str | None
    numbers: dict[str, Any] = field(default_factory=dict)


def plan(config: Config, *, trigger: str, force: bool = False) -> RetrainPlan:
    """Decide whether to train a challenger.

    Retrain when the newest alarm of the champion has no decision yet, the cooldown (in days of the
    data, not of the clock) is over, the alarm's day brought enough captures, and the champion
    scores worse on it: T2 also fires on shifts that do no harm.

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
    alarms = store.read("drift", filter=pc.field("verdict") == Outcome.ALARM.value).to_pylist()
    decisions = store.read("decisions").to_pylist()
    answered = max((d["drift_day"] for d in decisions if d["drift_day"]), default=None)
    pending = [
        row["day"]
        for row in alarms
        if row["model_version"] == champion.version and (answered is None or row["day"] > answered)
    ]
    if pending:
        made = _weigh(config, store, champion, max(pending), answered)
    else:
        made = RetrainPlan(False, _standing(alarms, decisions, champion.version), None, None)
    if force and not made.retrain:
        made = _forced(store, made, trigger)
    _log.info("retraining (%s): %s: %s", trigger, "yes" if made.retrain else "no", made.reason)
    return made


def _weigh(
    config: Config, store: Store, champion: Version, day: date, answered: date | None
) -> RetrainPlan:
    """Weigh a pending alarm."""
    shift = _score_shift(store, champion.version, day)
    since = pc.field("captured_at") >= _start(day)
    captures = store.read("captures", ["capture_id"], since).num_rows
    last = max((d for d in (answered, _last_day(champion)) if d is not None), default=None)
    days = (day - last).days if last else None
    numbers = {
        "champion_version": champion.version,
        "score_shift": shift,
        "new_captures": captures,
        "min_new_captures": config.retraining.min_new_captures,
        "days_since_last": days,
        "cooldown_days": config.retraining.cooldown_days,
    }
    end = _start(day + timedelta(days=1)).isoformat()
    if days is not None and days < config.retraining.cooldown_days:
        reason = f"drift on {day}, but {days} days since {last} are within the cooldown"
    elif captures < config.retraining.min_new_captures:
        reason = f"drift on {day}, but only {captures} captures since then"
    elif shift is None or shift >= 0:
        reason = f"drift on {day}, but the champion's genuine scores are no lower on that day"
    else:
        reason = f"drift on {day}: genuine scores moved by {shift:.3g}, {captures} new captures"
        return RetrainPlan(True, reason, day.isoformat(), end, numbers)
    return RetrainPlan(False, reason, day.isoformat(), None, numbers)


def _score_shift(store: Store, version: str, day: date) -> float | None:
    """The largest fall of the mean genuine score among modalities and sensors with an alarm."""
    chosen = (pc.field("day") == day) & (pc.field("model_version") == version)
    rows = store.read("drift", filter=chosen).to_pylist()
    alarmed = {(r["modality"], r["sensor"]) for r in rows if r["verdict"] == Outcome.ALARM}
    shifts = [
        row["value"]
        for row in rows
        if row["statistic"] == drift.GENUINE_SHIFT and (row["modality"], row["sensor"]) in alarmed
    ]
    return min((shift for shift in shifts if shift is not None), default=None)


def _standing(alarms: list[_Row], decisions: list[_Row], champion: str) -> str:
    """Why nothing is pending."""
    if not alarms:
        return "no drift alarm"
    newest = max(alarms, key=lambda row: row["day"])
    answers = [d for d in decisions if d["drift_day"] and d["drift_day"] >= newest["day"]]
    if not answers:
        return (
            f"the drift of {newest['day']} was found by version {newest['model_version']}; "
            f"version {champion} is champion now"
        )
    answer = max(answers, key=lambda d: d["decided_at"])
    what = f"version {answer['challenger_version']} was {answer['decision']}".replace("_", " ")
    return f"the drift of {answer['drift_day']} was answered: {what}"


def _forced(store: Store, made: RetrainPlan, trigger: str) -> RetrainPlan:
    times = store.read("captures", ["captured_at"])["captured_at"]
    newest: datetime | None = pc.max(times).as_py()
    end = _start((newest or datetime.now(UTC)).date() + timedelta(days=1))
    reason = f"forced ({trigger}) although: {made.reason}"
    return RetrainPlan(True, reason, made.day, end.isoformat(), made.numbers)


def _last_day(champion: Version) -> date | None:
    """The last day of data that the champion was trained on; None where its tags don't say."""
    as_of = champion.tags.get("as_of")
    if not as_of:
        return None
    moment = datetime.fromisoformat(as_of)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return (moment - timedelta(microseconds=1)).date()


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
