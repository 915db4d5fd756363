"""This project's statistics as Evidently metrics with tests, and the dashboard over them.

A metric's fields are the same every day, so that Evidently can draw its values over days; what was
found on the day comes to it as an additional data set.
"""

import os
from collections.abc import Sequence
from typing import Any

# Before the import: Evidently decides then whether to send telemetry.
os.environ.setdefault("DO_NOT_TRACK", "1")

import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.metric_types import (
    SingleValue,
    SingleValueCalculation,
    SingleValueMetric,
)
from evidently.legacy.renderers.html_widgets import table_data, text_widget
from evidently.sdk.models import DashboardPanelPlot, PanelMetric
from evidently.sdk.panels import line_plot_panel
from evidently.tests import eq, gte

from biometric_core.config import Monitoring
from biometric_core.history.changes import named
from biometric_core.history.drift_table import ALL, CONFIRMED, DAY, FAILURE_RATE, Outcome
from biometric_core.monitoring.report.facts import GENUINE, Facts, Row, day_outcome, words
from biometric_core.monitoring.report.table import COLUMNS, TableRow
from biometric_core.schemas import Modality

FOUND, TABLE, TOLD = "found", "table", "told"  # names of the additional data sets


class DayVerdict(SingleValueMetric):  # type: ignore[misc]
    """The day as a whole: its value is 1 where a drift is confirmed, else 0."""


class DayVerdictCalculation(SingleValueCalculation[DayVerdict]):  # type: ignore[misc]
    """Shows the verdict in words and a table of everything that was looked at."""

    def calculate(
        self, context: Any, current_data: Any, reference_data: Any
    ) -> tuple[SingleValue, None]:
        """Return whether a drift is confirmed, with its widgets."""
        told, table = (context.additional_data[name].as_dataframe() for name in (TOLD, TABLE))
        result = self.result(int(told["confirmed"].iloc[0]))
        result.widget = [
            text_widget(title="", text="\n\n".join(told["sentence"])),
            table_data(
                title="What was looked at", column_names=COLUMNS, data=table.to_numpy().tolist()
            ),
        ]
        return result, None

    def display_name(self) -> str:
        """Name of the metric and of its test."""
        return "Confirmed drift"


class DriftPValue(SingleValueMetric):  # type: ignore[misc]
    """One test of one modality and sensor: its value is the corrected p-value."""

    modality: str
    sensor: str
    statistic: str


class DriftPValueCalculation(SingleValueCalculation[DriftPValue]):  # type: ignore[misc]
    """Takes the p-value; the table of the day shows it."""

    def calculate(
        self, context: Any, current_data: Any, reference_data: Any
    ) -> tuple[SingleValue, None]:
        """Return the p-value."""
        result = self.result(float(_found(context, self.metric)["p_value"]))
        result.widget = []
        return result, None

    def display_name(self) -> str:
        """Name of the metric and of its test."""
        return f"{_title(self.metric)}: corrected p-value"


class DayFigure(SingleValueMetric):  # type: ignore[misc]
    """What informs about a day, of one modality and sensor: a mean, a share or a count."""

    modality: str
    sensor: str
    statistic: str


class DayFigureCalculation(SingleValueCalculation[DayFigure]):  # type: ignore[misc]
    """Takes the number; the table of the day shows it."""

    def calculate(
        self, context: Any, current_data: Any, reference_data: Any
    ) -> tuple[SingleValue, None]:
        """Return the number."""
        result = self.result(float(_found(context, self.metric)["value"]))
        result.widget = []
        return result, None

    def display_name(self) -> str:
        """Name of the metric."""
        return _title(self.metric)


def metrics(rows: Sequence[Row], settings: Monitoring) -> list[SingleValueMetric]:
    """The day's metrics: the verdict, what was tested, what informs.

    Where a drift is confirmed the day's test fails, and those of the statistics below alpha; what
    is only suspected is a warning.

    Args:
        rows: of the `drift` table.
        settings: the limits of the p-values.
    """
    confirmed = day_outcome(rows) in CONFIRMED
    tested = [
        DriftPValue(**_fields(row), tests=_tests(row, confirmed, settings))
        for row in rows
        if row["p_value"] is not None and row["verdict"] != Outcome.INFORMATION
    ]
    informing = [
        DayFigure(**_fields(row), tests=[])
        for row in rows
        if row["value"] is not None and row["verdict"] == Outcome.INFORMATION
    ]
    return [DayVerdict(tests=[eq(0)]), *tested, *informing]


def additional_data(rows: Sequence[Row], told: Facts, table: Sequence[TableRow]) -> dict[str, Any]:
    """What the metrics of a day take their values from, by name."""
    columns = (*_FIELDS, "value", "p_value")
    found = pd.DataFrame([{name: row[name] for name in columns} for row in rows])
    sentences = [f"**{told.headline}**", *told.sentences]
    frames = {
        FOUND: found.astype({"value": "float64", "p_value": "float64"}),
        TABLE: pd.DataFrame([row.cells for row in table], columns=list(COLUMNS)),
        TOLD: pd.DataFrame(
            {"sentence": sentences, "confirmed": [told.outcome in CONFIRMED] * len(sentences)}
        ),
    }
    return {name: Dataset.from_pandas(frame, DataDefinition()) for name, frame in frames.items()}


def dashboard() -> list[DashboardPanelPlot]:
    """Panels over days for the workspace."""
    day = {"modality": ALL, "sensor": ALL, "statistic": DAY}
    smallest = PanelMetric(metric="DriftPValue", metric_labels=day, legend="all")
    return [
        line_plot_panel("Smallest corrected p-value of the day", [smallest]),
        *(_by_modality(title, statistic) for title, statistic in _OVER_DAYS.items()),
    ]


_OVER_DAYS = {
    "Mean genuine score": GENUINE,
    "Failure-to-acquire rate": FAILURE_RATE,
}
_FIELDS = ("modality", "sensor", "statistic")


def _by_modality(title: str, statistic: str) -> DashboardPanelPlot:
    lines = [
        PanelMetric(
            metric="DayFigure",
            metric_labels={"modality": modality.value, "statistic": statistic},
            legend="{{modality}}, {{sensor}}",
        )
        for modality in Modality
    ]
    return line_plot_panel(title, lines, size="half")


def _fields(row: Row) -> dict[str, str]:
    return {name: row[name] for name in _FIELDS}


def _tests(row: Row, confirmed: bool, settings: Monitoring) -> list[Any]:
    if row["verdict"] == Outcome.CALM:
        return [gte(settings.alpha)]
    limit = max(settings.alpha, settings.suspect_alpha)
    return [gte(limit, is_critical=confirmed and row["verdict"] in CONFIRMED)]


def _found(context: Any, metric: Any) -> Any:
    found = context.additional_data[FOUND].as_dataframe()
    for name in _FIELDS:
        found = found[found[name] == getattr(metric, name)]
    return found.iloc[0]


def _title(metric: Any) -> str:
    if metric.statistic == DAY:
        return words(DAY)
    return f"{named((metric.modality, metric.sensor))}: {words(metric.statistic)}"
