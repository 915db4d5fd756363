"""Invented days of drift: groups of probes, and rows of the `drift` table, made in milliseconds."""

from dataclasses import asdict
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from biometric_core.config import Config, Monitoring
from biometric_core.history.drift_table import ALL, DAILY, DAY, MEASURES, Outcome
from biometric_core.monitoring.alarms import day_alarm
from biometric_core.monitoring.report.writing import write_report
from biometric_core.monitoring.verdicts import Verdict, judge_day
from biometric_core.monitoring.windows import Attempts, Group, Span, Window
from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store

TODAY = date(2026, 1, 7)
SETTINGS = Monitoring(permutations=199)
IRIS, FINGER = ("iris", "gate"), ("fingerprint", "x<y>")


def span(seed: int, subjects: int, shift: float = 0.0) -> Span:
    rng = np.random.default_rng(seed)
    names = np.array([f"person{i}" for i in range(subjects)])
    labels = (names, names, np.zeros(subjects, bool), np.ones(subjects))
    probes = Window(
        *labels,
        residual=rng.normal(size=(subjects, 8)) + shift,
        template=rng.normal(size=(subjects, 8)),
        genuine=rng.normal(size=subjects) - shift,
        measures=rng.uniform(size=(subjects, len(MEASURES))),
    )
    return Span(probes, Attempts(*labels, failed=np.zeros(subjects)))


def groups(shift: float = 0.0) -> list[Group]:
    """One sensor that may have moved, and one with too few people."""
    moved = Group(*IRIS, span(1, 60), span(2, 30, shift))
    return [moved, Group(*FINGER, span(3, 60), span(4, 2))]


def report(config: Config, shift: float = 0.0, day: date = TODAY) -> str:
    """Judge an invented day and write its report; returns the path of the HTML."""
    found = groups(shift)
    verdicts = judge_day(found, SETTINGS, day)
    verdicts.append(day_alarm(verdicts, [], SETTINGS, day).row(SETTINGS))
    return write_report(Store.of(config), config, day, "3", found, verdicts)


def row(
    outcome: Outcome,
    statistic: str = DAILY[0],
    of: tuple[str, str] = IRIS,
    p_value: float | None = 0.5,
    value: float | None = 1.0,
) -> Verdict:
    return Verdict(*of, statistic, value, p_value, 0.01, 30, outcome.value)


def day_row(outcome: Outcome, p_value: float | None = 0.5) -> Verdict:
    return row(outcome, DAY, (ALL, ALL), p_value, None)


def stored(days: dict[date, list[Verdict]], version: str = "3") -> list[dict]:
    """Rows as they come out of the table, oldest day first."""
    return [
        asdict(verdict) | {"day": day, "model_version": version, "report": "reports/none.html"}
        for day, verdicts in sorted(days.items())
        for verdict in verdicts
    ]


def keep(config: Config, days: dict[date, list[Verdict]], version: str = "3") -> None:
    """Put rows into the `drift` table."""
    rows = pa.Table.from_pylist(stored(days, version), schema=TABLES["drift"])
    Store.of(config).append_new("drift", rows)


def before(days: int) -> date:
    return TODAY - timedelta(days=days)
