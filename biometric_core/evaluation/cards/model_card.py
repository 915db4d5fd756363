"""The model card: what a model is for, what it was made of, and what it can't do.

Its fields are those of Mitchell et al. 2019, "Model cards for model reporting".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from biometric_core.evaluation.cards import sections
from biometric_core.reporting.page import templates
from biometric_core.reporting.sections import Section, Table
from biometric_core.reporting.words import NOTHING, label

TITLE = "Model card: iris and fingerprint recogniser"


@dataclass(frozen=True)
class ModelFacts:
    """What the cards don't learn from the evaluation.

    Attributes:
        details: what it was made of and with: run, data versions, code, settings; None: not known.
        training: counts of the training data by name; never names of subjects.
        thresholds: by name, score threshold (log-likelihood ratio) by FMR.
        run_id: the training run.
    """

    details: Mapping[str, str | None]
    training: Mapping[str, str]
    thresholds: Mapping[str, Mapping[float, float]]
    run_id: str


def model_card(values: Mapping[str, Any], facts: ModelFacts) -> str:
    """The model card as Markdown.

    Args:
        values: what `evaluate` found.
        facts: the rest.
    """
    reasons = values.get("reasons") or {}
    return (
        templates()
        .get_template("model_card.md.jinja")
        .render(
            title=TITLE,
            details=_table(facts.details),
            training=_table(facts.training),
            thresholds=_thresholds(facts.thresholds),
            headline=sections.headline(values, reasons),
            groups=sections.groups(values),
            acquisition=sections.acquisition(values),
            unsaid=sections.unsaid(reasons),
            run_id=facts.run_id,
        )
        .strip()
        + "\n"
    )


def _table(values: Mapping[str, str | None]) -> Section:
    rows = [[label(name), value or "not known"] for name, value in values.items()]
    return Section("", tables=[Table(["", "value"], rows)] if rows else [])


def _thresholds(thresholds: Mapping[str, Mapping[float, float]]) -> Section:
    fmrs = sorted({fmr for found in thresholds.values() for fmr in found}, reverse=True)
    rows = [
        [label(name), *(f"{found[fmr]:.3f}" if fmr in found else NOTHING for fmr in fmrs)]
        for name, found in thresholds.items()
    ]
    columns = ["accept from this score on", *(f"FMR {100 * fmr:g} %" for fmr in fmrs)]
    return Section("", tables=[Table(columns, rows)] if rows and fmrs else [])
