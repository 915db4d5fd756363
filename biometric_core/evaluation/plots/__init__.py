"""Pictures of an evaluation, as PNG files."""

from biometric_core.evaluation.plots.differentials import group_rates
from biometric_core.evaluation.plots.quality import quality_against_error
from biometric_core.evaluation.plots.recognition import (
    confusion,
    cumulative_match,
    det,
    score_distributions,
)
from biometric_core.evaluation.plots.worst_pairs import failure_cases

__all__ = [
    "confusion",
    "cumulative_match",
    "det",
    "failure_cases",
    "group_rates",
    "quality_against_error",
    "score_distributions",
]
