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
    GENUINE_SHIFT,
    POPULATION_T2,
    QUALITY_T2,
    RESIDUAL_T2,
)
from biometric_core.monitoring.designs import Design, population_design
from biometric_core.monitoring.permutation_tests import (
    Relabelling,
    contrasts,
    permutation_p,
    smallest_p,
    t_squared,
)
from biometric_core.monitoring.windows import Acquired, Attempts, Window
from biometric_core.schemas import Float64Array

Seed = int | list[int]


@dataclass(frozen=True)
class Statistic:
    """One tested statistic.

    Attributes:
        name: of the statistic.
        value: observed.
        p_value: before the correction.
        subjects: of the day.
        smallest_p: the smallest p-value that these values could have given.
    """

    name: str
    value: float
    p_value: float
    subjects: int
    smallest_p: float = 0.0


def probe_tests(
    reference: Window, current: Window, plan: Design, *, permutations: int, seed: Seed
) -> list[Statistic]:
    """T2 of residuals, and shift of the genuine score.

    Args:
        reference: probes the champion met before.
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
    draws = _draws(plan, permutations, seed)
    residual = t_squared(plan, draws, reference.residual, current.residual)
    genuine, _ = contrasts(plan, draws, reference.genuine[:, None], current.genuine[:, None])
    p_value = permutation_p(np.abs(genuine[:, 0]))
    return [
        _statistic(RESIDUAL_T2, residual, plan),
        Statistic(GENUINE_SHIFT, float(genuine[0, 0]), p_value, plan.subjects),
    ]


def quality_test(
    reference: Window | Acquired,
    current: Window | Acquired,
    plan: Design,
    *,
    permutations: int,
    seed: Seed,
) -> Statistic:
    """T2 of quality measures; arguments and errors as `probe_tests`."""
    draws = _draws(plan, permutations, seed)
    return _statistic(
        QUALITY_T2, t_squared(plan, draws, reference.measures, current.measures), plan
    )


def rate_test(
    name: str,
    reference: Attempts,
    current: Attempts,
    plan: Design,
    *,
    permutations: int,
    seed: Seed,
) -> Statistic:
    """One-sided test of a rate of failures: has it risen? The rest as `probe_tests`.

    Returns:
        The difference of the rates of subjects, current less reference.
    """
    _require(plan)
    if not (reference.failed.any() or current.failed.any()):
        return Statistic(name, 0.0, 1.0, plan.subjects, 1.0)  # as every relabelling gives
    draws = _draws(plan, permutations, seed)
    shift, _ = contrasts(plan, draws, reference.failed[:, None], current.failed[:, None])
    return _statistic(name, shift[:, 0], plan)


def population_test(
    reference: Window, current: Window, *, permutations: int, seed: Seed
) -> Statistic | None:
    """T2 on the templates of new subjects: tells "new people" from "new sensor".

    Returns None where there are no new subjects, or nobody unseen to compare them with.
    """
    plan = population_design(reference, current, seed=seed)
    if plan.subjects == 0:
        return None
    draws = _draws(plan, permutations, seed)
    values = t_squared(plan, draws, reference.template, current.template)
    return _statistic(POPULATION_T2, values, plan)


def _draws(plan: Design, permutations: int, seed: Seed) -> Relabelling:
    _require(plan)
    return Relabelling.draw(plan, permutations, np.random.default_rng(seed))


def _statistic(name: str, values: Float64Array, plan: Design) -> Statistic:
    p_value, least = permutation_p(values), smallest_p(values)
    return Statistic(name, float(values[0]), p_value, plan.subjects, least)


def _require(plan: Design) -> None:
    if plan.subjects == 0:
        raise ValueError("no subject can be compared between the two windows")
