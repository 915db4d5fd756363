"""The mean of figures over the folds of a cross-validation.

Rates are means over the folds, their intervals come from resampling subjects within each fold, and
numbers of comparisons and subjects are totals. Chimeric figures are of all draws pooled, with their
spread over the draws in `draws`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from biometric_core.config import Config
from biometric_core.evaluation.figures import Measured, records
from biometric_core.matching.bootstrap import mean_of


def mean_over_folds(
    measured: Sequence[Mapping[str, Measured]], reasons: Sequence[Mapping[str, str]], config: Config
) -> dict[str, Any]:
    """The mean of what each fold gives, as `figures.records` tells it.

    Args:
        measured: of each fold, figures by name.
        reasons: of each fold, why a name could not be measured.
        config: `evaluation` says how wide intervals are.

    Returns:
        By name, None for one that some fold could not measure, and `reasons`.
    """
    why: dict[str, str] = {}
    for fold in reasons:
        why = {**fold, **why}
    names = dict.fromkeys(name for figures in measured for name in figures)
    means = {}
    for name in names:
        parts = [figures[name] for figures in measured if name in figures]
        if len(parts) == len(measured):
            means[name] = _mean_of_name(parts)
        else:
            why.setdefault(name, "not in every fold")
    return records(means, why, config)


def _mean_of_name(parts: Sequence[Measured]) -> Measured:
    plain: dict[str, float | int | None] = {}
    for name in parts[0].plain:
        values = [value for part in parts if (value := part.plain[name]) is not None]
        if len(values) < len(parts):
            plain[name] = None
        else:
            plain[name] = sum(values) if name.startswith("n_") else float(np.mean(values))
    rates = {name: mean_of([part.rates[name] for part in parts]) for name in parts[0].rates}
    drawn = [name for name in parts[0].draws if all(name in part.draws for part in parts)]
    draws = {name: np.mean([part.draws[name] for part in parts], axis=0) for name in drawn}
    return Measured(rates, plain, draws)
