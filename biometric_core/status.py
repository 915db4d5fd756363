"""Where an installation stands: models, last drift verdicts, last decisions, rows in the tables."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from biometric_core import decisions
from biometric_core.config import Config
from biometric_core.errors import ServiceError
from biometric_core.schemas import KEYS
from biometric_core.store import Store
from biometric_core.tracking import registry
from biometric_core.tracking.client import tracking_uri
from biometric_core.tracking.registry import Version
from biometric_core.verdicts import Outcome

_LAST_DECISIONS = 5
_SHOWN_TAGS = ("iris_eer", "fingerprint_eer", "fused_eer")
_SEVERITY = (Outcome.ALARM, Outcome.NOT_ENOUGH, Outcome.CALM)


def status(config: Config) -> dict[str, Any]:
    """Tell where things stand; answers on an empty installation and without MLflow as well.

    Returns:
        `model` (name), `champion`, `challenger`, `previous` (each None or version, run, since,
        error rates), `verdicts` (last day of each modality and sensor), `decisions` (the last five,
        newest first), `tables` (rows by name), `problem` (None, or why MLflow didn't answer) and
        `next` (what to do).
    """
    store = Store.of(config)
    history = decisions.read(store)
    models, problem = _models(config, history)
    tables = {name: store.read(name, [keys[0]]).num_rows for name, keys in KEYS.items()}
    verdicts = _verdicts(store)
    return {
        "model": config.mlflow.model_name,
        **models,
        "verdicts": verdicts,
        "decisions": [_shown(one) for one in reversed(history[-_LAST_DECISIONS:])],
        "tables": tables,
        "problem": problem,
        "next": problem or _next(models, tables, verdicts),
    }


def _models(config: Config, history: list[decisions.Decision]) -> tuple[dict[str, Any], str | None]:
    models: dict[str, Any] = dict.fromkeys(registry.ALIASES)
    if not _database_exists(config):
        return models, None
    try:
        found = {alias: registry.get(config, alias) for alias in registry.ALIASES}
    except ServiceError as error:
        return models, str(error)
    for alias, version in found.items():
        if version is not None:
            models[alias] = _described(version)
    change = decisions.last_change(history)
    champion = models[registry.CHAMPION]
    if champion and change and change.challenger_version == champion["version"]:
        champion["since"] = change.decided_at
    return models, None


def _database_exists(config: Config) -> bool:
    """Asking for a status should not make a database where there is none."""
    uri = tracking_uri(config)
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists()


def _described(version: Version) -> dict[str, Any]:
    eers = {name: float(version.tags[name]) for name in _SHOWN_TAGS if name in version.tags}
    return {
        "version": version.version,
        "run_id": version.run_id,
        "since": version.created_at,
        "as_of": version.tags.get("as_of"),
        **eers,
    }


def _verdicts(store: Store) -> list[dict[str, Any]]:
    """The worst verdict of the last judged day, for each modality and sensor."""
    rows = [row for row in store.read("drift").to_pylist() if row["verdict"] in _SEVERITY]
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda r: (r["day"], -_SEVERITY.index(r["verdict"]))):
        last[row["modality"], row["sensor"]] = row  # the last of the newest day is its worst
    names = ("modality", "sensor", "verdict", "statistic", "p_value", "model_version", "report")
    return [
        {"day": row["day"].isoformat(), **{name: row[name] for name in names}}
        for _, row in sorted(last.items())
    ]


def _shown(decision: decisions.Decision) -> dict[str, Any]:
    hidden = ("numbers", "reused")
    return {name: value for name, value in asdict(decision).items() if name not in hidden}


def _next(models: dict[str, Any], tables: dict[str, int], verdicts: list[dict[str, Any]]) -> str:
    if not tables["captures"]:
        return (
            "nothing here yet: `make run` shows the whole loop, `biometric ingest` takes yours in"
        )
    if not tables["features"]:
        return "captures wait to be prepared: `biometric preprocess`"
    if models[registry.CHALLENGER] is not None:
        return "a challenger waits for the gate: `biometric promote`"
    if models[registry.CHAMPION] is None:
        return "no champion yet: `biometric train`, `evaluate` and `promote`, or biometric_training"
    if any(verdict["verdict"] == Outcome.ALARM for verdict in verdicts):
        return "drift was found on the last day that was judged: see the report"
    return "nothing: the champion serves and no drift is known"
