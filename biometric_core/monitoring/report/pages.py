"""The report as one HTML page: verdict in words, trend, table, Evidently's views last."""

from base64 import b64encode
from collections.abc import Sequence
from itertools import groupby

from biometric_core.config import Monitoring
from biometric_core.monitoring.report.facts import Facts
from biometric_core.monitoring.report.table import COLUMNS, TableRow
from biometric_core.monitoring.report.worst_probes import Example
from biometric_core.reporting.page import templates

_NUMBERS = range(2, 7)  # columns, from 1


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
