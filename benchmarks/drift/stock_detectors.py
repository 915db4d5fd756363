"""Evidently's own embedding drift methods, with their default thresholds, on the same days."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from evidently.legacy.metrics.data_drift.embedding_drift_methods import distance, mmd, model, ratio

from benchmarks.drift.days import World
from benchmarks.drift.pool import CHANGES, CLEAN, Pool
from benchmarks.rows import Row
from biometric_core.config import Monitoring
from biometric_core.monitoring.windows import Window
from biometric_core.parallel.progress import track

METHODS: Mapping[str, Any] = {
    "classifier": model,
    "MMD": mmd,
    "ratio of components": ratio,
    "distance of means": distance,
}
_SHARES = (0.0, 0.5, 1.0)


def rows(pool: Pool, settings: Monitoring, days: int, ours: Mapping[str, float]) -> list[Row]:
    """Alarms of each method, in any modality: on ordinary days, and on the first changed day.

    Args:
        pool: of probes.
        settings: of the monitor.
        days: of each kind.
        ours: share of days with an alarm by this project, `ordinary` and `changed`, in per cent.
    """
    ordinary = [(share, CLEAN) for share in _SHARES for _ in range(max(1, days // len(_SHARES)))]
    changed = [(0.5, name) for name in CHANGES for _ in range(max(1, days // len(CHANGES)))]
    found = []
    for kind, drawn in (("ordinary", ordinary), ("changed", changed)):
        alarms = _alarms(pool, settings, drawn, kind)
        for method, share in alarms.items():
            name = f"Evidently, {method}: alarms on {kind} days"
            # For comparison, with no target of its own.
            details = {"days": len(drawn), "baseline_is": "ours"}
            found.append(Row(name, share, ours[kind], 100.0, "%", True, details))
    return found


def _alarms(
    pool: Pool, settings: Monitoring, drawn: list[tuple[float, str]], kind: str
) -> dict[str, float]:
    hits = dict.fromkeys(METHODS, 0)
    numbered = list(enumerate(drawn))
    for number, (share, condition) in track(
        numbered, total=len(drawn), description=f"stock, {kind}"
    ):
        world = World(pool, settings, seed=7000 + number)
        day = world.day(0, condition, share)
        spans = [
            (world.span(modality, day).probes, world.reference[modality].probes)
            for modality in world.modalities
        ]
        for name, method in METHODS.items():
            fires = [method()(_frame(now), _frame(before))[1] for now, before in spans]
            hits[name] += any(fires)
    return {name: 100 * count / len(drawn) for name, count in hits.items()}


def _frame(window: Window) -> pd.DataFrame:
    """Embeddings; text for names of columns, as the methods add one."""
    values = window.residual + window.template
    return pd.DataFrame(values, columns=[str(number) for number in range(values.shape[1])])
