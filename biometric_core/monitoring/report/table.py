"""What a day's report shows of its rows: the table, and the figures for MLflow."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biometric_core.history.changes import Sensor, named
from biometric_core.history.drift_table import (
    FAILURE_RATE,
    MEASURES,
    REJECTION_RATE,
    TREND_PREFIX,
    outcome_of_sensor,
)
from biometric_core.monitoring.report.facts import (
    GENUINE,
    SHARES,
    Row,
    by_group,
    by_statistic,
    severity,
    words,
)
from biometric_core.monitoring.windows import Group, means


@dataclass(frozen=True)
class TableRow:
    """A row of the report's table: cells as text, and the verdict for its colour."""

    cells: list[str]
    verdict: str


COLUMNS = ("of", "what", "value", "reference", "p-value", "recent days", "people", "verdict")


def table(groups: Sequence[Group], rows: Sequence[Row]) -> list[TableRow]:
    """Everything that was looked at, what moved first; `recent days` is a p-value as well."""
    references = {(g.modality, g.sensor): _reference(g) for g in groups}
    found = sorted(by_group(rows).items(), key=lambda item: severity(outcome_of_sensor(item[1])))
    return [
        _table_row(name, statistic, merged, references.get(name, {}).get(statistic))
        for name, group in found
        for statistic, merged in by_statistic(group).items()
    ]


def _table_row(
    name: Sensor, statistic: str, found: Sequence[Row], reference: float | None
) -> TableRow:
    own, verdict = found[0], outcome_of_sensor(found)
    p_values = {row["statistic"]: row["p_value"] for row in found}
    unit = ".1%" if statistic in SHARES else ".4g"
    shown = [
        "" if number is None else format(number, form)
        for number, form in (
            (own["value"], unit),
            (reference, unit),
            (p_values.get(statistic), ".3g"),
            (p_values.get(TREND_PREFIX + statistic), ".3g"),
        )
    ]
    told = verdict.value if verdict else own["verdict"]
    people = str(own["subjects"] or "")
    cells = [named(name), words(statistic), *shown, people, told.replace("_", " ")]
    return TableRow(cells, told)


def _reference(group: Group) -> dict[str, float]:
    """Means of the reference, by statistic."""
    reference, found = group.reference, dict[str, float]()
    if len(reference.captured):
        found = dict(zip(MEASURES, means(reference.captured), strict=True))
    if len(reference.probes):
        found[GENUINE] = float(np.mean(reference.probes.genuine))
    rates = ((FAILURE_RATE, reference.attempts), (REJECTION_RATE, reference.claims))
    found |= {name: float(np.mean(r.failed)) for name, r in rates if r is not None and len(r)}
    return found


def logged(rows: Sequence[Row]) -> dict[str, float]:
    """Values and p-values by a name that MLflow accepts."""
    figures = {}
    for row in rows:
        name = f"{row['modality']}/{row['sensor']}/{row['statistic']}"
        for kind in ("value", "p_value"):
            if row[kind] is not None:
                figures[re.sub(r"[^\w./ -]", "_", f"{name}/{kind}")] = row[kind]
    return figures
