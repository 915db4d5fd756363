"""What a report says, in plain values: the table, the days before, the figures for MLflow."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow.compute as pc

from biometric_core import drift
from biometric_core.store import Store
from biometric_core.verdicts import FAILURE_RATE, QUALITY, TESTED, UNIDENTIFIED, Group, Verdict

WORDS = {
    drift.RESIDUAL_T2: "Residuals of known people (T2)",
    drift.GENUINE_SHIFT: "Change of the mean genuine score",
    drift.POPULATION_T2: "Templates of new people (T2)",
    QUALITY: "Mean quality",
    FAILURE_RATE: "Share of failures to acquire",
    UNIDENTIFIED: "Probes with nobody enrolled",
}


def table(groups: Sequence[Group], verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Everything that was looked at, a row each: modality, sensor, what, figures, verdict."""
    quality = {
        (group.modality, group.sensor): float(np.mean(group.reference.quality))
        for group in groups
        if len(group.reference)
    }
    rows = []
    for v in verdicts:
        before = quality.get((v.modality, v.sensor)) if v.statistic == QUALITY else None
        shown = (_number(v.value), _number(before), _number(v.p_value))
        words = WORDS[v.statistic]
        outcome = v.verdict.replace("_", " ")
        rows.append([v.modality, v.sensor, words, *shown, str(v.subjects or ""), outcome])
    return rows


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def history(store: Store, day: date, verdicts: Sequence[Verdict]) -> dict[str, list[list[Any]]]:
    """Corrected p-values up to this day, by modality, sensor and statistic: [day, p] each."""
    earlier = store.read("drift", filter=pc.field("day") < day).sort_by("day").to_pylist()
    now = [{**vars(verdict), "day": day} for verdict in verdicts]
    points: dict[str, list[list[Any]]] = {}
    for row in (*earlier, *now):
        if row["statistic"] in TESTED and row["p_value"] is not None:
            name = f"{row['modality']}, {row['sensor']}: {row['statistic']}"
            points.setdefault(name, []).append([row["day"].isoformat(), row["p_value"]])
    return points


def logged(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Values and p-values by a name that MLflow accepts."""
    figures = {}
    for verdict in verdicts:
        name = f"{verdict.modality}/{verdict.sensor}/{verdict.statistic}"
        for kind, number in (("value", verdict.value), ("p_value", verdict.p_value)):
            if number is not None:
                figures[re.sub(r"[^\w./ -]", "_", f"{name}/{kind}")] = number
    return figures
