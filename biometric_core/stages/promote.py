"""The gate: a challenger replaces the champion only where it is provably better.

A switch survives being killed at any point: the decision is written onto the challenger first, then
the alias moves, then the decision goes into the table. Whoever comes next finishes what is pending.
"""

import hashlib
import json
import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, load_captures
from biometric_core.errors import ModelError
from biometric_core.history import decisions
from biometric_core.history.changes import Change
from biometric_core.history.decisions import PROMOTED, REJECTED, ROLLED_BACK, Decision
from biometric_core.history.drift_table import moved_during, rows_of
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.schemas import Modality, Split
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from biometric_core.tracking.registry import Version

if TYPE_CHECKING:
    from biometric_core.promotion.ruling import Verdict

__all__ = ["Decision", "promote", "reject", "rollback"]

_log = logging.getLogger(__name__)
_PENDING = "gate.pending"
_DECISION_ID = "gate.decision_id"


def promote(
    config: Config,
    *,
    version: str,
    trigger: str = "manual",
    drift_day: date | None = None,
    as_of: datetime | None = None,
    approved_by: str | None = None,
) -> Decision:
    """Decide whether a version becomes champion, and make it so.

    Both models are measured now, on the same captures of test subjects. The same question about the
    same models and captures is answered by the decision on record. Of two promoters at once one
    wins; the other's decision says that the champion changed meanwhile.

    Args:
        config: `gate` and `release` decide.
        version: a version number or alias, usually the challenger's.
        trigger: training, drift or manual; goes on record.
        drift_day: after drift, the day from which captures come from the changed sensor; the drift
            is answered up to the last day before `as_of`.
        as_of: only captures taken before; all when None.
        approved_by: who approved it, where a person did; goes on record.

    Raises:
        ModelError: there is no such version, or its bundle is damaged.
        DataError: nothing has been prepared yet.
        ServiceError: MLflow can't be reached; the champion is untouched or the switch is pending.
    """
    _finish_pending(config)
    store = Store.of(config)
    with registry.locked(config):
        challenger = registry.require(config, version)
        if _PENDING in challenger.tags:  # cut off before the alias moved: it is judged again
            registry.untag(config, challenger.version, _PENDING)
    champion = registry.get(config, registry.CHAMPION)
    sets = _test_sets(config, store, as_of)
    question = Decision(
        decision=REJECTED,
        reason="",
        champion_version=champion.version if champion else None,
        challenger_version=challenger.version,
        numbers={"data_digest": _data_digest(sets), "approved_by": approved_by},
        trigger=trigger,
        drift_day=drift_day.isoformat() if drift_day else None,
        drift_until=_until(drift_day, as_of),
    )
    history = decisions.read(store)
    question = decisions.with_id(question, config, history)
    known = decisions.on_record(question, history)
    if known is not None:
        _mark(config, known)
        registry.drop_alias(config, registry.CHALLENGER, challenger.version)
        return replace(known, reused=True)
    if champion is not None and champion.version == challenger.version:
        return _record(config, replace(question, reason="already champion"))
    question = _with_sensors(store, question)
    verdict = _judge(config, store, champion, challenger, sets, question.change)
    return _conclude(config, question, verdict)


def rollback(config: Config, *, reason: str) -> Decision:
    """Make the previous champion champion again; the present one becomes `previous`.

    Args:
        config: names registry and store.
        reason: why; goes on record.

    Raises:
        ModelError: there is no previous champion.
        ServiceError: MLflow can't be reached.
    """
    pending = _finish_pending(config)
    if pending is not None and pending.decision == ROLLED_BACK:
        return pending
    champion = registry.get(config, registry.CHAMPION)
    previous = registry.get(config, registry.PREVIOUS)
    if champion is None or previous is None or previous.version == champion.version:
        raise ModelError(
            f"no previous champion of {config.mlflow.model_name} in the registry: "
            "nothing to go back to"
        )
    decision = Decision(
        decision=ROLLED_BACK,
        reason=reason,
        champion_version=champion.version,
        challenger_version=previous.version,
    )
    decision = decisions.with_id(decision, config, decisions.read(Store.of(config)))
    return _switch(config, decision)


def reject(
    config: Config,
    *,
    version: str,
    reason: str,
    trigger: str = "manual",
    drift_day: date | None = None,
    as_of: datetime | None = None,
) -> Decision:
    """Record that a person turned a challenger down, or didn't answer; no figure is measured.

    The decision answers the drift like one of the gate does: it is not trained for again.

    Args:
        config: names registry and store.
        version: a version number or alias, usually the challenger's.
        reason: who and why; goes on record.
        trigger: training, drift or manual; goes on record.
        drift_day: the first day of the drift that the challenger was to answer.
        as_of: the challenger was trained on captures before.

    Raises:
        ModelError: there is no such version.
        ServiceError: MLflow can't be reached.
    """
    _finish_pending(config)
    decision = Decision(
        decision=REJECTED,
        reason=reason,
        champion_version=registry.champion_version(config),
        challenger_version=registry.require(config, version).version,
        numbers={"asked": "a person"},
        trigger=trigger,
        drift_day=drift_day.isoformat() if drift_day else None,
        drift_until=_until(drift_day, as_of),
    )
    history = decisions.read(Store.of(config))
    decision = decisions.with_id(decision, config, history)
    for known in history:
        if known.decision_id == decision.decision_id:
            _mark(config, known)  # cut off between the row and the tags
            return replace(known, reused=True)
    return _record(config, decision)


def _until(drift_day: date | None, as_of: datetime | None) -> str | None:
    """The last day of a drift that an answer has seen."""
    if drift_day is None:
        return None
    last = drift_day if as_of is None else (as_of - timedelta(microseconds=1)).date()
    return max(drift_day, last).isoformat()


def _with_sensors(store: Store, decision: Decision) -> Decision:
    """Put on record which sensors a drift has moved: a day may be judged again later."""
    if decision.drift_day is None or decision.drift_until is None:
        return decision
    first, last = (date.fromisoformat(d) for d in (decision.drift_day, decision.drift_until))
    sensors = sorted(moved_during(rows_of(store, first, last)))
    found = {decisions.SENSORS: [list(sensor) for sensor in sensors]}
    return replace(decision, numbers={**decision.numbers, **found})


def _test_sets(config: Config, store: Store, as_of: datetime | None) -> dict[Modality, CaptureSet]:
    sets = load_captures(store, config, as_of=as_of)
    return {m: found.select(found.split == Split.TEST) for m, found in sets.items()}


def _data_digest(sets: dict[Modality, CaptureSet]) -> str:
    digest = hashlib.sha256()
    for modality in sorted(sets):
        digest.update(f"{modality}\n".encode())
        digest.update("\n".join(sets[modality].capture_id.tolist()).encode())
    return digest.hexdigest()[:16]


def _judge(
    config: Config,
    store: Store,
    champion: Version | None,
    challenger: Version,
    sets: dict[Modality, CaptureSet],
    change: Change | None,
) -> "Verdict":
    from biometric_core.promotion.ruling import Verdict, judge
    from biometric_core.stages.evaluate import latency

    models = {}
    for role, found in (("challenger", challenger), ("champion", champion)):
        if found is None:
            continue
        models[role], _ = registry.load_recogniser(config, found.version)
        needed, made = models[role].preprocess_version, preprocess_version(config)
        if needed != made:
            reason = f"the {role} needs captures prepared as {needed}, but they are made as {made}"
            return Verdict(False, f"{reason}: the two models can't be measured alike", {})
    try:
        return judge(
            models["challenger"],
            models.get("champion"),
            sets,
            config,
            latency=latency(models["challenger"], store, sets),
            change=change,
        )
    except (ModelError, ValueError) as error:  # scores that are no numbers, shapes that don't fit
        return Verdict(False, f"not measurable: {error}", {})


def _conclude(config: Config, question: Decision, verdict: "Verdict") -> Decision:
    numbers = {**verdict.numbers, **question.numbers}
    decision = replace(question, reason=verdict.reason, numbers=numbers)
    if not verdict.promote:
        return _record(config, decision)
    return _switch(config, replace(decision, decision=PROMOTED))


def _switch(config: Config, decision: Decision) -> Decision:
    """Move the champion's alias and record it, or record that another was faster."""
    version = decision.challenger_version
    with registry.locked(config):
        history = decisions.read(Store.of(config))
        for known in history:
            if known.decision_id == decision.decision_id:
                return replace(known, reused=True)
        decision = replace(decision, decided_at=_now())
        registry.tag(config, version, {_PENDING: decision.to_json()})
        if registry.set_champion(config, version, decision.champion_version):
            _complete(config, decision)
            return decision
        registry.untag(config, version, _PENDING)
        now = registry.champion_version(config)
        before = decision.champion_version or "none"
        reason = f"champion changed meanwhile: it was {before}, now it is {now or 'none'}"
        return _record(config, replace(decision, decision=REJECTED, reason=reason))


def _finish_pending(config: Config) -> Decision | None:
    """Complete a switch that was killed after the alias moved."""
    champion = registry.get(config, registry.CHAMPION)
    if champion is None or _PENDING not in champion.tags:
        return None
    with registry.locked(config):
        champion = registry.require(config, registry.CHAMPION)
        text = champion.tags.get(_PENDING)
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
    _mark(config, decision)
    registry.untag(config, decision.challenger_version, _PENDING)
    _tell(decision)


def _record(config: Config, decision: Decision) -> Decision:
    decision = replace(decision, decided_at=_now())
    decisions.write(Store.of(config), decision)
    _mark(config, decision)
    _tell(decision)
    return decision


def _mark(config: Config, decision: Decision) -> None:
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
