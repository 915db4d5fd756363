"""From the probes of a day to verdicts: one row for each modality, sensor and statistic.

Only the residual T2 and the shift of the genuine score can raise an alarm, after Holm's correction
over all of them. The rest informs: what else moved, and whether it is other people or other pixels.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np

from biometric_core import drift
from biometric_core.config import Monitoring
from biometric_core.drift import Design, Window

FAILURE_RATE = "failure_rate"
QUALITY = "quality"
UNIDENTIFIED = "unidentified"
TESTED = (drift.RESIDUAL_T2, drift.GENUINE_SHIFT)


class Outcome(StrEnum):
    """What a row says."""

    CALM = "calm"
    ALARM = "alarm"
    NOT_ENOUGH = "not_enough_subjects"
    INFORMATION = "information"  # never raises an alarm


@dataclass(frozen=True)
class Group:
    """A day's probes of one modality and sensor, and the reference they are compared with.

    Attributes:
        modality: of the probes.
        sensor: of the day's probes.
        reference: probes of the reference window.
        current: probes of the day whose identity is enrolled.
        unidentified: probes of the day with nobody enrolled to compare with; kept apart.
        captures: captures of the day, acquired or not.
        failed: how many of them could not be acquired.
    """

    modality: str
    sensor: str
    reference: Window
    current: Window
    unidentified: int = 0
    captures: int = 0
    failed: int = 0

    @property
    def name(self) -> str:
        """For people: modality and sensor."""
        return f"{self.modality}, sensor {self.sensor}"


@dataclass(frozen=True)
class Verdict:
    """One row of the `drift` table, without day, model and report.

    Attributes:
        modality, sensor, statistic: what was looked at.
        value: of the statistic; None where it could not be computed.
        p_value: corrected for `calm` and `alarm`, plain for `information`; None where not tested.
        threshold: an alarm has a p-value below it; None for information.
        subjects: subjects of the day that could be compared.
        verdict: an `Outcome`.
    """

    modality: str
    sensor: str
    statistic: str
    value: float | None
    p_value: float | None
    threshold: float | None
    subjects: int
    verdict: str


def judge(groups: Sequence[Group], settings: Monitoring, day: date) -> list[Verdict]:
    """Judge a day.

    A group gets a verdict when it has at least `min_subjects` comparable subjects, and enough for
    an alarm to be possible at all; else it says so instead of guessing.

    Args:
        groups: one for each modality and sensor of the day.
        settings: alpha (after correction), permutations, least number of subjects, seed.
        day: makes the permutations of each day their own, and the same at every run.
    """
    plans = [drift.design(group.reference, group.current) for group in groups]
    able = _able(plans, settings)
    tests = len(TESTED) * max(1, sum(able))
    # Fewer relabellings than this, and the correction would leave no p-value below alpha.
    permutations = max(settings.permutations, math.ceil(2 * tests / settings.alpha))
    plain: list[drift.Statistic] = []
    rows: list[list[Verdict]] = []
    for group, plan, enough in zip(groups, plans, able, strict=True):
        seed = _seed(settings.seed, day, group)
        found: list[drift.Statistic] = []
        if enough:
            found = drift.drift_tests(
                group.reference, group.current, plan, permutations=permutations, seed=seed
            )
            plain += [statistic for statistic in found if statistic.name in TESTED]
        population = drift.population_test(
            group.reference, group.current, permutations=settings.permutations, seed=seed
        )
        rows.append(_information(group, plan, found, population))
    corrected = iter(drift.holm([s.p_value for s in plain]))
    statistics = iter(plain)
    result: list[Verdict] = []
    for group, plan, enough, informed in zip(groups, plans, able, rows, strict=True):
        for name in TESTED:
            tested = (next(statistics), next(corrected)) if enough else None
            result.append(_verdict(group, plan, name, tested, settings.alpha))
        result += informed
    return result


def _able(plans: Sequence[Design], settings: Monitoring) -> list[bool]:
    enough = [plan.subjects >= settings.min_subjects for plan in plans]
    tests = len(TESTED) * sum(enough)
    return [
        ok and plan.smallest_p * tests < settings.alpha
        for ok, plan in zip(enough, plans, strict=True)
    ]


def _seed(seed: int, day: date, group: Group) -> list[int]:
    return [seed, day.toordinal(), zlib.crc32(f"{group.modality}/{group.sensor}".encode())]


def _verdict(
    group: Group,
    plan: Design,
    name: str,
    tested: tuple[drift.Statistic, float] | None,
    alpha: float,
) -> Verdict:
    value = p_value = None
    outcome = Outcome.NOT_ENOUGH
    if tested is not None:
        value, p_value = tested[0].value, tested[1]
        outcome = Outcome.ALARM if p_value < alpha else Outcome.CALM
    return Verdict(
        group.modality, group.sensor, name, value, p_value, alpha, plan.subjects, outcome.value
    )


def _information(
    group: Group,
    plan: Design,
    found: Sequence[drift.Statistic],
    population: drift.Statistic | None,
) -> list[Verdict]:
    def row(name: str, value: float, p_value: float | None = None, subjects: int = 0) -> Verdict:
        outcome = Outcome.INFORMATION.value
        return Verdict(group.modality, group.sensor, name, value, p_value, None, subjects, outcome)

    rows = []
    if len(group.current):
        shift = next((s.p_value for s in found if s.name == drift.QUALITY_SHIFT), None)
        rows.append(row(QUALITY, float(np.mean(group.current.quality)), shift, plan.subjects))
    if population is not None:
        rows.append(row(population.name, population.value, population.p_value, population.subjects))
    if group.captures:
        rows.append(row(FAILURE_RATE, group.failed / group.captures))
    rows.append(row(UNIDENTIFIED, float(group.unidentified)))
    return rows
