"""Pictures of an evaluation, as PNG files."""

from biometric_core.plots.failures import failure_cases
from biometric_core.plots.groups import group_rates
from biometric_core.plots.quality import quality_against_error
from biometric_core.plots.recognition import (
    confusion,
    cumulative_match,
    det,
    score_distributions,
)
from biometric_core.plots.trend import Line, Panel, trend

__all__ = [
    "Line",
    "Panel",
    "confusion",
    "cumulative_match",
    "det",
    "failure_cases",
    "group_rates",
    "quality_against_error",
    "score_distributions",
    "trend",
]
