"""The switch of the champion, which survives being killed, and its record.

The table of decisions says who is champion, and the registry's aliases follow it. A switch is won
by whoever commits its row first; a tag on the version says, from before that until the aliases have
followed, that somebody is about it. Whoever comes next finishes what was cut off.
"""

import json
import logging
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from biometric_core.config import Config
from biometric_core.history import decisions
from biometric_core.history.decisions import PROMOTED, REJECTED, Decision
from biometric_core.history.drift_table import moved_during, rows_of
from biometric_core.storage.store import Store
from biometric_core.tracking import registry

_log = logging.getLogger(__name__)
_PENDING = "gate.pending."  # and the decision's id: several may be about the same version
_DECISION_ID = "gate.decision_id"


@dataclass(frozen=True)
class Standing:
    """Who is champion, and the record by which it is.

    Attributes:
        champion: the version that the registry names; None before the first.
        history: all decisions, oldest first.
        finished: the switch that had been cut off and was completed now; None where there was none.
    """

    champion: str | None
    history: list[Decision]
    finished: Decision | None = None


def standing(config: Config) -> Standing:
    """Complete a switch that was cut off, and tell who is champion.

    Registry and record are read until nobody wrote in between. A champion that is another one than
    the record says was set by hand: it is taken as it is, and said.
    """
    store = Store.of(config)
    finished: Decision | None = None
    while True:
        seen = store.version("decisions")
        history = decisions.read(store)
        change = decisions.last_change(history)
        if change is not None and is_cut_off(config, change):
            to = change.challenger_version
            _log.warning("finishing a switch to version %s that is only half done", to)
            _complete(config, change)
            finished = change
            continue
        champion = registry.champion_version(config)
        if store.version("decisions") == seen:
            break
    if change is not None and champion != change.challenger_version:
        _log.warning("%s", moved_by_hand(champion, change))
    return Standing(champion, history, finished)


def decision_on(config: Config, version: str) -> Decision | None:
    """The newest decision on a version as challenger; None while it waits for its first."""
    found = registry.require(config, version)
    history = decisions.read(Store.of(config))
    return decisions.on_version(history, found.version, found.created_at)


def is_cut_off(config: Config, change: Decision) -> bool:
    """Whether the registry has yet to follow a switch that is on record."""
    version = registry.get(config, change.challenger_version)
    return version is not None and _pending(change) in version.tags


def moved_by_hand(champion: str | None, change: Decision) -> str:
    """What is to be said of a champion that is not the one on record."""
    if champion is None:
        return (
            "the registry names no champion, but by the decisions on record it is version "
            f"{change.challenger_version}: somebody removed the alias or the version by hand, or "
            "mlflow.tracking_uri leads to another registry; the next model is judged as the first"
        )
    return (
        f"the registry's champion is version {champion}, but by the decisions on record it is "
        f"version {change.challenger_version}: somebody moved the alias by hand; it is taken as "
        "it is, and no decision tells since when"
    )


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


def switch_champion(config: Config, decision: Decision, history: list[Decision]) -> Decision:
    """Make the challenger champion and record it, or record that another was faster.

    Args:
        config: names registry and store.
        decision: promoted or rolled back.
        history: the record that it was made against. Where it holds another switch by now, the
            champion is another one than was looked at.
    """
    before = _id(decisions.last_change(history))

    def overtaken(now: list[Decision]) -> bool:
        moved = registry.champion_version(config) != decision.champion_version
        return moved or _id(decisions.last_change(now)) != before

    version, pending = decision.challenger_version, _pending(decision)
    registry.tag(config, version, {pending: decision.decision})
    made = decisions.write(Store.of(config), decision, unless=overtaken)
    if made is not None and made.decision == decision.decision:
        _complete(config, made)
        return made
    registry.untag(config, version, pending)
    if made is not None:  # the same question was answered by somebody else meanwhile
        mark(config, made)
        return made
    now, was = standing(config).champion, decision.champion_version
    reason = f"champion changed meanwhile: it was {_named(was)}, now it is {_named(now)}"
    numbers = {**decision.numbers, decisions.CHAMPION_NOW: now}
    return record(config, replace(decision, decision=REJECTED, reason=reason, numbers=numbers))


def _complete(config: Config, change: Decision) -> None:
    """Let the registry follow a switch that is on record; several may do so at once, and again."""
    newest = decisions.last_change(decisions.read(Store.of(config)))
    if _id(newest) == change.decision_id:
        registry.set_champion(config, change.challenger_version, change.champion_version)
    mark(config, change)
    registry.untag(config, change.challenger_version, _pending(change))
    _tell(change)


def _pending(decision: Decision) -> str:
    return _PENDING + decision.decision_id


def _id(decision: Decision | None) -> str | None:
    return decision.decision_id if decision else None


def _named(version: str | None) -> str:
    return f"version {version}" if version else "none"


def record(config: Config, decision: Decision) -> Decision:
    """Write a decision that moves nothing to the table, and onto the version."""
    made = decisions.write(Store.of(config), decision) or decision
    mark(config, made)
    _tell(made)
    return made


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
