"""Drift of what a sensor delivers, between a reference and a day: silent on other people.

Embeddings are clustered by identity, so a day with other people in the door differs from the
reference with no sensor drift at all. What is compared here is therefore the *residual* of a probe
from the template of its claimed identity, and what else a capture says of its sensor: its genuine
score, its quality, whether it could be acquired at all. The unit is the subject
(`permutation_tests`).

Each statistic looks at a day; with the prefix `trend_`, at the recent days, older ones counting
less by a constant factor a day (an EWMA): that finds what moves too slowly for any one day.
"""

from dataclasses import dataclass

import numpy as np

from biometric_core.history.drift_table import (
    FAILURE_SHIFT,
    GENUINE_SHIFT,
    POPULATION_T2,
    QUALITY_T2,
    RESIDUAL_T2,
)
from biometric_core.monitoring.permutation_tests import (
    Design,
    Relabelling,
    contrasts,
    permutation_p,
    population_design,
    t_squared,
)
from biometric_core.monitoring.windows import Attempts, Window
from biometric_core.schemas import Float64Array


@dataclass(frozen=True)
class Statistic:
    """One tested statistic: its value, the p-value before correction, and subjects of the day."""

    name: str
    value: float
    p_value: float
    subjects: int


def probe_tests(
    reference: Window, current: Window, plan: Design, *, permutations: int, seed: int | list[int]
) -> list[Statistic]:
    """T2 of residuals, shift of the genuine score, and T2 of quality measures.

    Args:
        reference: probes the champion met before, one visit a subject.
        current: probes of the day or of the recent days.
        plan: `design(reference, current)`.
        permutations: B, at least 1.
        seed: of the permutations; the same seed gives the same p-values.

    Returns:
        Statistics with uncorrected p-values, in the order above. The shift is signed, current less
        reference; its test is two-sided.

    Raises:
        ValueError: no subject can be compared (`plan.subjects` is 0).
    """
    _require(plan)
    draws = Relabelling.draw(plan, permutations, np.random.default_rng(seed))
    genuine, _ = contrasts(plan, draws, reference.genuine[:, None], current.genuine[:, None])
    squared = {
        RESIDUAL_T2: t_squared(plan, draws, reference.residual, current.residual),
        QUALITY_T2: t_squared(plan, draws, reference.measures, current.measures),
    }
    shift = Statistic(
        GENUINE_SHIFT,
        float(genuine[0, 0]),
        permutation_p(np.abs(genuine[:, 0])),
        plan.subjects,
    )
    residual, quality = (_statistic(name, values, plan) for name, values in squared.items())
    return [residual, shift, quality]


def failure_test(
    reference: Attempts,
    current: Attempts,
    plan: Design,
    *,
    permutations: int,
    seed: int | list[int],
) -> Statistic:
    """One-sided test of the failure-to-acquire rate: has it risen? Arguments as `probe_tests`.

    Returns:
        The difference of the rates of subjects, current less reference.

    Raises:
        ValueError: no subject can be compared.
    """
    _require(plan)
    if not (reference.failed.any() or current.failed.any()):
        return Statistic(FAILURE_SHIFT, 0.0, 1.0, plan.subjects)  # as every relabelling gives
    draws = Relabelling.draw(plan, permutations, np.random.default_rng(seed))
    shift, _ = contrasts(plan, draws, reference.failed[:, None], current.failed[:, None])
    return _statistic(FAILURE_SHIFT, shift[:, 0], plan)


def population_test(
    reference: Window, current: Window, *, permutations: int, seed: int | list[int]
) -> Statistic | None:
    """T2 on the templates of new subjects: tells "new people" from "new sensor".

    Returns None where there are no new subjects, or nobody unseen to compare them with.
    """
    plan = population_design(reference, current)
    if plan.subjects == 0:
        return None
    draws = Relabelling.draw(plan, permutations, np.random.default_rng(seed))
    values = t_squared(plan, draws, reference.template, current.template)
    return _statistic(POPULATION_T2, values, plan)


def _statistic(name: str, values: Float64Array, plan: Design) -> Statistic:
    return Statistic(name, float(values[0]), permutation_p(values), plan.subjects)


def _require(plan: Design) -> None:
    if plan.subjects == 0:
        raise ValueError("no subject can be compared between the two windows")
