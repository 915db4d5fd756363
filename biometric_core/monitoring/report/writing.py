"""The report of a day: HTML to read in a minute, JSON to keep, a run in the Evidently workspace.

The verdict is this project's own (`verdicts.py`): Evidently carries it as metrics with tests, with
its own scores beside them.
"""

import json
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from biometric_core.config import Config, Monitoring
from biometric_core.history.drift_table import JudgedDay, Outcome
from biometric_core.monitoring.report import evidently_metrics, evidently_views
from biometric_core.monitoring.report.facts import Facts, Row, earlier_rows, facts, rows_of
from biometric_core.monitoring.report.table import COLUMNS, TableRow, logged, table
from biometric_core.monitoring.report.trend import trend_picture
from biometric_core.monitoring.report.workspace import keep_run, prepare_project
from biometric_core.monitoring.report.worst_probes import Example, worst_probes
from biometric_core.monitoring.verdicts import Verdict
from biometric_core.monitoring.windows import Group
from biometric_core.reporting.page import templates
from biometric_core.schemas import start_of
from biometric_core.storage.files import atomic_write, writable
from biometric_core.storage.store import Store
from biometric_core.tracking.runs import log_report

_NUMBERS = range(2, 7)  # columns, from 1


def write_report(
    store: Store,
    config: Config,
    day: date,
    version: str,
    groups: Sequence[Group],
    verdicts: Sequence[Verdict],
    *,
    replaced: JudgedDay | None = None,
) -> str:
    """Write `reports/<day>/drift.html` and `.json`, a run of the workspace and one of MLflow.

    It names no subject and no file; images are in the HTML, where `example_images` is set.

    Args:
        store: where the reports go; earlier days for the trend come from its tables.
        config: limits, number of rows drawn, seed, MLflow.
        day: the day judged.
        version: the model that looked at it.
        groups: the day's probes.
        verdicts: what was found, the day as a whole among it.
        replaced: the verdict whose place this one takes; None where it is the first on the day.

    Returns:
        Path of the HTML, relative to the storage root.

    Raises:
        StorageError, ServiceError: the disk or MLflow fails; with MLflow's, the files are there.
    """
    settings = config.monitoring
    rows, earlier = rows_of(day, version, groups, verdicts), earlier_rows(store, day)
    told, looked_at = facts(rows, earlier, replaced), table(groups, rows)
    snapshot = _snapshot(config, told, rows, looked_at, groups)
    trend = trend_picture(store, rows, earlier, settings)
    examples = worst_probes(store, config, day, version, groups)
    html = page(told, looked_at, trend, examples, snapshot.get_html_str(as_iframe=False), settings)
    uri = _write(store, day, html, _json(told, rows, snapshot))
    keep_run(config, day, snapshot, evidently_metrics.dashboard())
    _log_run(config, told, rows, store.path(uri).parent)
    return uri


def _log_run(config: Config, told: Facts, rows: Sequence[Row], folder: Path) -> None:
    """Keep the report's files and its numbers in MLflow."""
    log_report(
        config,
        name=f"drift {told.day}",
        directory=folder,
        metrics=logged(rows),
        tags={
            "day": told.day.isoformat(),
            "model_version": told.version,
            "verdict": told.outcome.value,
            "alarm": str(told.outcome == Outcome.ALARM).lower(),
        },
    )


def prepare_workspace(config: Config) -> Path:
    """The workspace of the reports, with the model's project in it, to be served by Evidently.

    Raises:
        StorageError: the disk is full or read-only.
    """
    return prepare_project(config, evidently_metrics.dashboard()).parent


def _snapshot(
    config: Config,
    told: Facts,
    rows: Sequence[Row],
    looked_at: Sequence[TableRow],
    groups: Sequence[Group],
) -> Any:
    return evidently_views.run(
        evidently_metrics.metrics(rows, config.monitoring),
        evidently_metrics.additional_data(rows, told, looked_at),
        groups,
        config.monitoring,
        timestamp=start_of(told.day),
        metadata={"day": told.day.isoformat(), "model_version": told.version},
        tags=["drift", told.outcome.value],
        name=f"drift {told.day}",
    )


def _write(store: Store, day: date, html: str, text: str) -> str:
    """Both files, the HTML last; returns its path under the storage root."""
    path = store.path("reports", day.isoformat(), "drift.html")
    with writable(store.root):
        for file, content in ((path.with_suffix(".json"), text), (path, html)):
            atomic_write(file, content.encode())
            uri = store.publish(file)
    return uri


def _json(told: Facts, rows: Sequence[Row], snapshot: Any) -> str:
    """Verdict, rows, and Evidently's metrics and tests, as JSON in the strict sense."""
    evidently = json.loads(snapshot.json())
    whole = {
        "day": told.day.isoformat(),
        "model_version": told.version,
        "verdict": told.outcome.value,
        "p_value": told.p_value,
        "headline": told.headline,
        "sentences": told.sentences,
        "moved": [asdict(one) | {"since": one.since.isoformat()} for one in told.moved],
        "rows": [{**row, "day": row["day"].isoformat()} for row in rows],
        "metrics": evidently["metrics"],
        "tests": evidently["tests"],
    }
    return json.dumps(_finite(whole), allow_nan=False, indent=1)


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def page(
    facts: Facts,
    table: Sequence[TableRow],
    trend: bytes | None,
    examples: Sequence[Example],
    evidently: str,
    settings: Monitoring,
) -> str:
    """Put the page together; text from outside is escaped.

    Args:
        facts: of the day.
        table: what was looked at.
        trend: picture of the days before, a PNG.
        examples: pictures of probes; none as a rule.
        evidently: its own page, shown in a frame so that neither styles the other.
        settings: the limits of the p-values.
    """
    return (
        templates()
        .get_template("drift_report.html.jinja")
        .render(
            title=f"Drift report of {facts.day}",
            facts=facts,
            settings=settings,
            columns=COLUMNS,
            numbers=_NUMBERS,
            table=[(name, list(rows)) for name, rows in groupby(table, lambda row: row.cells[0])],
            trend=b64encode(trend).decode() if trend else None,
            examples=[{**vars(one), "png": b64encode(one.png).decode()} for one in examples],
            evidently=evidently,
        )
    )
