"""The switch of the champion, which survives being killed, and its record."""

import json
import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from biometric_core.config import Config
from biometric_core.history import decisions
from biometric_core.history.decisions import PROMOTED, REJECTED, Decision
from biometric_core.history.drift_table import moved_during, rows_of
from biometric_core.storage.store import Store
from biometric_core.tracking import registry

_log = logging.getLogger(__name__)
PENDING = "gate.pending"
_DECISION_ID = "gate.decision_id"


def open_question(
    champion: str | None,
    challenger: str,
    *,
    trigger: str,
    drift_day: date | None,
    as_of: datetime | None,
    numbers: dict[str, Any],
) -> Decision:
    """What a decision is to answer; until then it reads as rejected, without a reason.

    Args:
        champion: the version in use; None before the first.
        challenger: the version that is judged.
        trigger: training, drift or manual.
        drift_day: the first day of the drift that the challenger is to answer.
        as_of: only captures taken before count; all when None.
        numbers: what goes on record beside the figures.
    """
    return Decision(
        decision=REJECTED,
        reason="",
        champion_version=champion,
        challenger_version=challenger,
        numbers=numbers,
        trigger=trigger,
        drift_day=drift_day.isoformat() if drift_day else None,
        drift_until=_last_day(drift_day, as_of),
    )


def _last_day(drift_day: date | None, as_of: datetime | None) -> str | None:
    """The last day of a drift that an answer has seen."""
    if drift_day is None:
        return None
    last = drift_day if as_of is None else (as_of - timedelta(microseconds=1)).date()
    return max(drift_day, last).isoformat()


def with_sensors(store: Store, decision: Decision) -> Decision:
    """Put on record which sensors a drift has moved: a day may be judged again later."""
    if decision.drift_day is None or decision.drift_until is None:
        return decision
    first, last = (date.fromisoformat(d) for d in (decision.drift_day, decision.drift_until))
    sensors = sorted(moved_during(rows_of(store, first, last)))
    found = {decisions.SENSORS: [list(sensor) for sensor in sensors]}
    return replace(decision, numbers={**decision.numbers, **found})


def switch_champion(config: Config, decision: Decision) -> Decision:
    """Move the champion's alias and record it, or record that another was faster."""
    version = decision.challenger_version
    with registry.locked(config):
        history = decisions.read(Store.of(config))
        for known in history:
            if known.decision_id == decision.decision_id:
                return replace(known, reused=True)
        decision = replace(decision, decided_at=_now())
        registry.tag(config, version, {PENDING: decision.to_json()})
        if registry.set_champion(config, version, decision.champion_version):
            _complete(config, decision)
            return decision
        registry.untag(config, version, PENDING)
        now = registry.champion_version(config)
        before = decision.champion_version or "none"
        reason = f"champion changed meanwhile: it was {before}, now it is {now or 'none'}"
        return record(config, replace(decision, decision=REJECTED, reason=reason))


def finish_pending(config: Config) -> Decision | None:
    """Complete a switch that was killed after the alias moved."""
    champion = registry.get(config, registry.CHAMPION)
    if champion is None or PENDING not in champion.tags:
        return None
    with registry.locked(config):
        champion = registry.require(config, registry.CHAMPION)
        text = champion.tags.get(PENDING)
        if text is None:
            return None
        decision = Decision.from_json(text)
        _log.warning("finishing a switch to version %s that was cut off", champion.version)
        if decision.champion_version is not None:
            registry.set_alias(config, registry.PREVIOUS, decision.champion_version)
        _complete(config, decision)
        return decision


def _complete(config: Config, decision: Decision) -> None:
    decisions.write(Store.of(config), decision)
    mark(config, decision)
    registry.untag(config, decision.challenger_version, PENDING)
    _tell(decision)


def record(config: Config, decision: Decision) -> Decision:
    """Write a decision that moves nothing to the table, and onto the version."""
    decision = replace(decision, decided_at=_now())
    decisions.write(Store.of(config), decision)
    mark(config, decision)
    _tell(decision)
    return decision


def mark(config: Config, decision: Decision) -> None:
    """Write the decision onto the version; a decided challenger no longer waits as one."""
    version = decision.challenger_version
    if decision.champion_version != version:  # else its promotion is what the tags should say
        numbers = json.dumps(decision.numbers, sort_keys=True)
        tags = {
            _DECISION_ID: decision.decision_id,
            "gate.decision": decision.decision,
            "gate.reason": decision.reason,
            "gate.decided_at": decision.decided_at,
            "gate.trigger": decision.trigger,
            "gate.numbers": numbers,
        }
        if decision.decision == PROMOTED and decision.drift_day:
            tags[registry.DRIFT_DAY] = decision.drift_day
        registry.tag(config, version, tags)
    registry.drop_alias(config, registry.CHALLENGER, version)


def _tell(decision: Decision) -> None:
    _log.info(
        "version %s %s: %s; numbers %s",
        decision.challenger_version,
        decision.decision.replace("_", " "),
        decision.reason,
        json.dumps(_readable(decision.numbers), sort_keys=True),
    )


def _readable(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {name: _readable(one) for name, one in value.items()}
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat()
