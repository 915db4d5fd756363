"""Where an installation stands: models, the last day, alarms, decisions, and what to do next."""

from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from biometric_core.config import Config
from biometric_core.errors import ServiceError
from biometric_core.history import decisions
from biometric_core.history.drift_table import (
    CONFIRMED,
    JudgedDay,
    Outcome,
    judged_days,
    moved_since,
    of_sensors,
)
from biometric_core.promotion import switch
from biometric_core.provenance import without_password
from biometric_core.schemas import KEYS
from biometric_core.stages import plan_retraining
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from biometric_core.tracking.client import tracking_uri
from biometric_core.tracking.registry import Version

_LAST_DECISIONS = 5
_LAST_REPLACED = 5
_SHOWN_TAGS = ("iris_eer", "fingerprint_eer", "fused_eer")


@owner_only()
def status(config: Config) -> dict[str, Any]:
    """Tell where things stand; answers on an empty installation and without MLflow as well.

    Returns:
        `store` (the storage root), `registry` (MLflow's address, without a password), `model`
        (name), `champion`, `challenger`, `previous` (each None or version, run, since,
        error rates), `by_hand` (None, or that the champion is not the one on record, and why),
        `day` (the last judged one: verdict, since when, p-value, model version,
        report; None before the first), `verdicts` (its worst of each modality and sensor),
        `replaced` (the last five days that were judged again: verdict, the one before, when),
        `alarms` (what stands: modality, sensor, since, and the decision that answered it),
        `retraining` (None without a champion, or whether it is due, and why), `decisions` (the
        last five, newest first), `tables` (rows by name), `problem` (None, or why MLflow didn't
        answer) and `next` (what to do).
    """
    store = Store.of(config)
    history = decisions.read(store)
    models, problem = _models(config, history)
    days = judged_days(store)
    told: dict[str, Any] = {
        "store": without_password(store.root),
        "registry": without_password(tracking_uri(config)),
        "model": config.mlflow.model_name,
        **models,
        "day": _day(days),
        "verdicts": of_sensors(days),
        "replaced": _replaced(days),
        "alarms": _alarms(days, history),
        "retraining": _retraining(config, models, problem),
        "decisions": [_shown(one) for one in reversed(history[-_LAST_DECISIONS:])],
        "tables": {name: store.read(name, [keys[0]]).num_rows for name, keys in KEYS.items()},
        "problem": problem,
    }
    return {**told, "next": problem or _next(told)}


def _models(config: Config, history: list[decisions.Decision]) -> tuple[dict[str, Any], str | None]:
    models: dict[str, Any] = dict.fromkeys((*registry.ALIASES, "by_hand"))
    if not _database_exists(config):
        return models, None
    try:
        found = {alias: registry.get(config, alias) for alias in registry.ALIASES}
    except ServiceError as error:
        return models, str(error)
    for alias, version in found.items():
        if version is not None:
            models[alias] = _described(version)
    challenger = found[registry.CHALLENGER]
    if challenger and decisions.on_version(history, challenger.version, challenger.created_at):
        models[registry.CHALLENGER] = None  # cut off before its alias was dropped
    change = decisions.last_change(history)
    champion = models[registry.CHAMPION]
    if champion and change and change.challenger_version == champion["version"]:
        champion["since"] = change.decided_at
    elif change:
        models["by_hand"] = _not_on_record(config, champion and champion["version"], change)
    return models, None


def _not_on_record(config: Config, champion: str | None, change: decisions.Decision) -> str:
    if switch.is_cut_off(config, change):
        return (
            f"the switch to version {change.challenger_version} is only half done: "
            "`biometric promote` completes it"
        )
    return switch.moved_by_hand(champion, change)


def _database_exists(config: Config) -> bool:
    """Asking for a status should not make a database where there is none."""
    uri = tracking_uri(config)
    return (
        not uri.startswith("sqlite:///") or Path(unquote(uri.removeprefix("sqlite:///"))).exists()
    )


def _described(version: Version) -> dict[str, Any]:
    eers = {name: float(version.tags[name]) for name in _SHOWN_TAGS if name in version.tags}
    return {
        "version": version.version,
        "run_id": version.run_id,
        "since": version.created_at,
        "as_of": version.tags.get("as_of"),
        **eers,
    }


def _day(days: list[JudgedDay]) -> dict[str, Any] | None:
    if not days:
        return None
    last = days[-1]
    return {
        "day": last.day.isoformat(),
        "verdict": last.verdict,
        "since": last.since.isoformat(),
        "p_value": last.p_value,
        "model_version": last.model_version,
        "report": last.report,
    }


def _replaced(days: list[JudgedDay]) -> list[dict[str, Any]]:
    """Days whose verdict took the place of an earlier one, newest first."""
    found = [one for one in reversed(days) if one.replaced]
    return [
        {
            "day": one.day.isoformat(),
            "verdict": one.verdict,
            "before": one.replaced,
            "judged_at": one.judged_at.isoformat() if one.judged_at else None,
        }
        for one in found[:_LAST_REPLACED]
    ]


def _alarms(days: list[JudgedDay], history: list[decisions.Decision]) -> list[dict[str, Any]]:
    """What is confirmed and hasn't gone away on the last judged day."""
    if not days or days[-1].verdict not in CONFIRMED:
        return []
    found = []
    for (modality, sensor), since in moved_since(days).items():
        answers = [
            f"version {one.challenger_version} {one.decision}"
            for one in history
            if one.answers((modality, sensor), since)
        ]
        answer = answers[-1] if answers else None
        told = {"modality": modality, "sensor": sensor, "since": since.isoformat()}
        found.append({**told, "answered": answer})
    return found


def _retraining(
    config: Config, models: dict[str, Any], problem: str | None
) -> dict[str, Any] | None:
    if problem or models[registry.CHAMPION] is None:
        return None
    made = plan_retraining.plan_retraining(config, trigger="status")
    return {"due": made.retrain, "reason": made.reason, "day": made.day}


def _shown(decision: decisions.Decision) -> dict[str, Any]:
    hidden = ("numbers", "reused")
    return {name: value for name, value in asdict(decision).items() if name not in hidden}


def _next(told: dict[str, Any]) -> str:
    if not told["tables"]["captures"]:
        return (
            "nothing here yet: `make run` shows the whole loop, `biometric ingest` takes yours in"
        )
    if not told["tables"]["features"]:
        return "captures wait to be prepared: `biometric preprocess`"
    if told[registry.CHALLENGER] is not None:
        return "a challenger waits for the gate: `biometric promote`"
    if told["by_hand"]:
        return str(told["by_hand"])
    if told[registry.CHAMPION] is None:
        return "no champion yet: `biometric train`, `evaluate` and `promote`, or biometric_training"
    day = told["day"]
    if told["retraining"]["due"]:
        return (
            "retraining is due: the alarm's event starts biometric_retraining; trigger it where "
            "it is not under way"
        )
    if told["alarms"]:
        return f"drift was found and stands: read {day['report']}; {told['retraining']['reason']}"
    if day and day["verdict"] == Outcome.SUSPECT:
        return "the last day is suspect: wait for the next days to confirm it or not"
    if day and day["verdict"] == Outcome.PARTLY:
        return (
            "nothing of what could be tested has moved; not all could on the last day: its "
            "verdicts name what was not"
        )
    if day and day["verdict"] == Outcome.NOT_ENOUGH:
        return "the last day had too few comparable people for a verdict: see its failures"
    return "nothing: the champion serves and no drift is known"
