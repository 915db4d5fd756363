"""The report of a day, by Evidently: HTML to read in a minute, JSON to keep.

The verdict is this project's own (`verdicts.py`): Evidently carries it as metrics with tests. Its
own scores stand beside them for the eye and have no tests, because embeddings are clustered by
identity and a stock drift score rises whenever other people come through the door.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

# Before the import: Evidently decides then whether to send telemetry.
os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from evidently import DataDefinition, Dataset, Report
from evidently.core.metric_types import (
    SingleValue,
    SingleValueCalculation,
    SingleValueMetric,
)
from evidently.legacy.renderers.html_widgets import (
    CounterData,
    WidgetSize,
    counter,
    plotly_figure,
    table_data,
)
from evidently.metrics import EmbeddingsDrift, ValueDrift
from evidently.metrics.embeddings import DistanceDriftMethod
from evidently.tests import gte

from biometric_core.config import Config
from biometric_core.drift import Window
from biometric_core.report_facts import WORDS, history, logged, table
from biometric_core.store import Store, atomic_write
from biometric_core.tracking.runs import log_report
from biometric_core.verdicts import TESTED, Group, Outcome, Verdict

IntArray = npt.NDArray[np.int64]
# Evidently draws a t-SNE of the embeddings: below this many rows there is no picture to draw.
_MIN_ROWS = 5
# Its perplexity of 30 needs more rows than that in both windows together.
_MIN_DRAWN = 20
_COLUMNS = ("modality", "sensor", "what", "value", "reference", "p-value", "people", "verdict")


class DayVerdict(SingleValueMetric):  # type: ignore[misc]
    """The day as a whole: its value is the smallest corrected p-value."""

    day: str
    verdict: str
    model_version: str
    p_value: float
    rows: list[list[str]]
    trend: dict[str, list[list[Any]]]
    alpha: float


class DayVerdictCalculation(SingleValueCalculation[DayVerdict]):  # type: ignore[misc]
    """Shows the verdict, a table of everything that was looked at, and the days before."""

    def calculate(
        self, context: Any, current_data: Any, reference_data: Any
    ) -> tuple[SingleValue, None]:
        """Return the p-value, with its widgets."""
        metric = self.metric
        facts = {"verdict": metric.verdict, "day": metric.day, "champion": metric.model_version}
        result = self.result(metric.p_value)
        result.widget = [
            counter(title="", counters=[CounterData(name, text) for name, text in facts.items()]),
            table_data(title="What was looked at", column_names=_COLUMNS, data=metric.rows),
            plotly_figure(title="p-values of all days", figure=_trend(metric.trend, metric.alpha)),
        ]
        return result, None

    def display_name(self) -> str:
        """Name of the metric and of its test."""
        return f"Smallest corrected p-value of {self.metric.day}"


class DriftStatistic(SingleValueMetric):  # type: ignore[misc]
    """One test of one modality and sensor: its value is the corrected p-value."""

    modality: str
    sensor: str
    statistic: str
    statistic_value: float
    p_value: float
    subjects: int


class DriftStatisticCalculation(SingleValueCalculation[DriftStatistic]):  # type: ignore[misc]
    """Shows the statistic and its p-value."""

    def calculate(
        self, context: Any, current_data: Any, reference_data: Any
    ) -> tuple[SingleValue, None]:
        """Return the p-value, with its widget."""
        metric = self.metric
        result = self.result(metric.p_value)
        shown = [("p-value", f"{metric.p_value:.4f}"), ("value", f"{metric.statistic_value:.4g}")]
        counters = [CounterData(name, text) for name, text in shown]
        result.widget = [
            counter(title=self.display_name(), counters=counters, size=WidgetSize.HALF)
        ]
        return result, None

    def display_name(self) -> str:
        """Name of the metric and of its test."""
        words = WORDS[self.metric.statistic]
        return f"{self.metric.modality}, sensor {self.metric.sensor}: {words}"


@dataclass(frozen=True)
class _Panel:
    """A group to draw: which rows of its windows, repeated where there are too few."""

    group: Group
    prefix: str
    reference: IntArray
    current: IntArray

    @property
    def columns(self) -> list[str]:
        return [f"{self.prefix} {i}" for i in range(self.group.current.residual.shape[1])]

    @property
    def scores(self) -> dict[str, str]:
        return {name: f"{self.group.name}: {name}" for name in ("genuine score", "quality")}


def write_report(
    store: Store,
    config: Config,
    day: date,
    version: str,
    groups: Sequence[Group],
    verdicts: Sequence[Verdict],
) -> str:
    """Write `reports/<day>/drift.html` and `.json` under the storage root, and to MLflow.

    No subject and no file is named in it.

    Args:
        store: where the reports go; earlier days for the trend come from its `drift` table.
        config: number of rows drawn, seed, MLflow.
        day: the day judged.
        version: the model that looked at it.
        groups: the day's probes.
        verdicts: what was found.

    Returns:
        Path of the HTML, relative to the storage root.

    Raises:
        ServiceError: MLflow can't be reached; the files are there all the same.
    """
    alarm = any(verdict.verdict == Outcome.ALARM for verdict in verdicts)
    drawn = max(_MIN_DRAWN, config.monitoring.max_report_rows // 2)
    panels = _panels(groups, drawn, config.monitoring.seed)
    summary = _summary(store, day, version, groups, verdicts, config.monitoring.alpha)
    report = Report([summary, *_metrics(verdicts), *_drawings(panels)], include_tests=True)
    moment = datetime.combine(day, time(), tzinfo=UTC)
    with _numpy_seed(config.monitoring.seed):
        snapshot = report.run(
            _dataset(panels, drawn, current=True),
            _dataset(panels, drawn, current=False),
            timestamp=moment,
            metadata={"day": day.isoformat(), "model_version": version},
            tags=["drift", "alarm" if alarm else "calm"],
            name=f"drift {day}",
        )
    html = store.path("reports", day.isoformat(), "drift.html")
    atomic_write(html, snapshot.get_html_str(as_iframe=False).encode())
    atomic_write(html.with_suffix(".json"), snapshot.json().encode())
    log_report(
        config,
        name=f"drift {day}",
        directory=html.parent,
        metrics=logged(verdicts),
        tags={"day": day.isoformat(), "model_version": version, "alarm": str(alarm).lower()},
    )
    return html.relative_to(store.root).as_posix()


def _metrics(verdicts: Sequence[Verdict]) -> list[DriftStatistic]:
    return [
        DriftStatistic(
            modality=verdict.modality,
            sensor=verdict.sensor,
            statistic=verdict.statistic,
            statistic_value=verdict.value,
            p_value=verdict.p_value,
            subjects=verdict.subjects,
            tests=[gte(verdict.threshold)],
        )
        for verdict in verdicts
        if verdict.statistic in TESTED and verdict.p_value is not None
    ]


def _summary(
    store: Store,
    day: date,
    version: str,
    groups: Sequence[Group],
    verdicts: Sequence[Verdict],
    alpha: float,
) -> DayVerdict:
    tested = [v.p_value for v in verdicts if v.statistic in TESTED and v.p_value is not None]
    verdict = Outcome.CALM if tested else Outcome.NOT_ENOUGH
    if any(v.verdict == Outcome.ALARM for v in verdicts):
        verdict = Outcome.ALARM
    return DayVerdict(
        day=day.isoformat(),
        verdict=verdict.value.replace("_", " "),
        model_version=version,
        p_value=min(tested, default=1.0),
        rows=table(groups, verdicts),
        trend=history(store, day, verdicts),
        alpha=alpha,
        tests=[gte(alpha)] if tested else [],
    )


def _trend(history: dict[str, list[list[Any]]], alpha: float) -> go.Figure:
    figure = go.Figure()
    for name, points in history.items():
        days, p_values = zip(*points, strict=True)
        figure.add_trace(go.Scatter(x=days, y=p_values, name=name, mode="lines+markers"))
    figure.add_hline(y=alpha, line_dash="dash", annotation_text="alarm below")
    figure.update_yaxes(type="log", title="corrected p-value")
    figure.update_xaxes(type="date", tickformat="%Y-%m-%d")
    return figure


def _panels(groups: Sequence[Group], drawn: int, seed: int) -> list[_Panel]:
    rng = np.random.default_rng(seed)
    return [
        _Panel(
            group,
            f"{group.modality} {number}",
            _sample(rng, len(group.reference), drawn),
            _sample(rng, len(group.current), drawn),
        )
        for number, group in enumerate(groups)
        if min(len(group.reference), len(group.current)) >= _MIN_ROWS
    ]


def _sample(rng: np.random.Generator, available: int, drawn: int) -> IntArray:
    """`drawn` rows, each at most once until all have been taken; Evidently wants equal lengths."""
    return np.resize(rng.permutation(available), drawn)


def _dataset(panels: Sequence[_Panel], drawn: int, *, current: bool) -> Dataset:
    frame: dict[str, npt.NDArray[np.float64]] = {"row": np.arange(drawn, dtype=np.float64)}
    for panel in panels:
        window: Window = panel.group.current if current else panel.group.reference
        rows = panel.current if current else panel.reference
        embeddings = (window.residual + window.template)[rows]
        frame |= dict(zip(panel.columns, embeddings.T, strict=True))
        # A repeated row would count twice in a histogram.
        once = np.arange(drawn) < len(window)
        for name, values in (("genuine score", window.genuine), ("quality", window.quality)):
            frame[panel.scores[name]] = np.where(once, values[rows], np.nan)
    numbers = [column for panel in panels for column in panel.scores.values()]
    definition = DataDefinition(
        numerical_columns=[*numbers, "row"],
        embeddings={panel.group.name: panel.columns for panel in panels} or None,
    )
    return Dataset.from_pandas(pd.DataFrame(frame), data_definition=definition)


def _drawings(panels: Sequence[_Panel]) -> list[Any]:
    """Evidently's own views; `tests=[]` because its thresholds are none of ours."""
    metrics: list[Any] = []
    for panel in panels:
        method = DistanceDriftMethod(dist="cosine", bootstrap=False)
        metrics += [
            ValueDrift(column=column, method="ks", tests=[]) for column in panel.scores.values()
        ]
        metrics.append(
            EmbeddingsDrift(embeddings_name=panel.group.name, drift_method=method, tests=[])
        )
    return metrics


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Evidently's t-SNE takes numpy's global generator: the same picture at every run."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
