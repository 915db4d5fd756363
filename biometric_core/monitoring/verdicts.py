"""From the probes of a day to verdicts: one row for each modality, sensor and statistic.

What the sensor delivers is tested: residuals, genuine scores, quality, failures to acquire, claims
rejected, of the day and of the recent days; Holm's correction (1979) runs over all of them. The
rest informs: who came, and what the measures were.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

from biometric_core.config import Monitoring
from biometric_core.history import drift_table
from biometric_core.history.drift_table import (
    ENROLLED_TODAY,
    FAILURE_RATE,
    MEASURES,
    REJECTION_RATE,
    TESTED,
    UNIDENTIFIED,
    Outcome,
)
from biometric_core.monitoring import drift_tests
from biometric_core.monitoring.designs import Design, design
from biometric_core.monitoring.drift_tests import Statistic
from biometric_core.monitoring.permutation_tests import holm
from biometric_core.monitoring.windows import Group, Labelled, Span, means


@dataclass(frozen=True)
class Verdict:
    """One row of the `drift` table, without day, model and report.

    Attributes:
        modality, sensor, statistic: what was looked at.
        value: of the statistic; None where it could not be computed.
        p_value: corrected where tested, plain for `information`; None where there is none.
        threshold: an alarm has a p-value below it; None for information.
        subjects: subjects that could be compared.
        verdict: an `Outcome`.
        raw_p_value: before the correction; None where nothing was tested.
    """

    modality: str
    sensor: str
    statistic: str
    value: float | None
    p_value: float | None
    threshold: float | None
    subjects: int
    verdict: str
    raw_p_value: float | None = None


def judge_day(groups: Sequence[Group], settings: Monitoring, day: date) -> list[Verdict]:
    """Judge a day.

    A group gets a verdict when it has at least `min_subjects` comparable subjects, and enough for
    an alarm to be possible at all; else it says so instead of guessing.

    Args:
        groups: one for each modality and sensor of the day.
        settings: thresholds, permutations, least number of subjects, seed.
        day: makes the permutations of each day their own, and the same at every run.
    """
    tests = [_tests(group, settings, day) for group in groups]
    every = [test for found in tests for test in found]
    able = _able(every, settings)
    # Fewer relabellings than this, and the correction would leave no p-value below alpha.
    count = sum(len(test.names) for test, ok in zip(every, able, strict=True) if ok)
    permutations = max(settings.permutations, math.ceil(2 * max(1, count) / settings.alpha))
    enough = iter(able)
    rows: list[tuple[Verdict, bool]] = []
    for group, planned in zip(groups, tests, strict=True):
        for test in planned:
            rows += test.verdicts(group, next(enough), permutations, settings)
        seed = _seed(settings.seed, day, group, "population")
        rows += [(row, False) for row in _information(group, settings, seed)]
    return _corrected(rows, settings)


@dataclass(frozen=True)
class _Test:
    """Statistics of one kind on one span, which share a design."""

    prefix: str
    names: tuple[str, ...]
    plan: Design
    run: Callable[[int], list[Statistic]]

    def verdicts(
        self, group: Group, enough: bool, permutations: int, settings: Monitoring
    ) -> Iterator[tuple[Verdict, bool]]:
        """A row for each statistic, and whether its values could have been significant."""
        found = {one.name: one for one in self.run(permutations)} if enough else {}
        for name in self.names:
            one = found.get(name)
            able = one is not None and one.smallest_p < settings.alpha
            row = Verdict(
                group.modality,
                group.sensor,
                self.prefix + name,
                one.value if one else None,
                one.p_value if one else None,
                None,
                self.plan.subjects,
                Outcome.NOT_ENOUGH.value,
                one.p_value if one else None,
            )
            yield row, able


def _tests(group: Group, settings: Monitoring, day: date) -> list[_Test]:
    found: list[_Test] = []
    for prefix, span in (("", group.today), (drift_table.TREND_PREFIX, group.recent)):
        if span is None:
            continue
        for kind, select in WINDOWS.items():
            before, now = select(group.reference), select(span)
            if before is None or now is None:
                continue
            seed = _seed(settings.seed, day, group, prefix + kind)
            plan = design(before, now, seed=seed, least=settings.min_subjects)
            run = partial(_run, kind, before, now, plan, seed)
            found.append(_Test(prefix, _STATISTICS[kind], plan, run))
    return found


PROBES, CAPTURED, ATTEMPTS, CLAIMS = "probes", "captured", "attempts", "claims"
WINDOWS: Mapping[str, Callable[[Span], Labelled | None]] = {
    PROBES: lambda span: span.probes,
    CAPTURED: lambda span: span.captured,
    ATTEMPTS: lambda span: span.attempts,
    CLAIMS: lambda span: span.claims,
}
"""The rows of a span that each kind of test looks at."""
_STATISTICS = {
    PROBES: (drift_table.RESIDUAL_T2, drift_table.GENUINE_SHIFT),
    CAPTURED: (drift_table.QUALITY_T2,),
    ATTEMPTS: (drift_table.FAILURE_SHIFT,),
    CLAIMS: (drift_table.REJECTION_SHIFT,),
}


def _run(
    kind: str, before: Any, now: Any, plan: Design, seed: list[int], permutations: int
) -> list[Statistic]:
    asked: dict[str, Any] = {"permutations": permutations, "seed": seed}
    if kind == PROBES:
        return drift_tests.probe_tests(before, now, plan, **asked)
    if kind == CAPTURED:
        return [drift_tests.quality_test(before, now, plan, **asked)]
    return [drift_tests.rate_test(_STATISTICS[kind][0], before, now, plan, **asked)]


def _able(tests: Sequence[_Test], settings: Monitoring) -> list[bool]:
    enough = [test.plan.subjects >= settings.min_subjects for test in tests]
    count = sum(len(test.names) for test, ok in zip(tests, enough, strict=True) if ok)
    return [
        ok and test.plan.smallest_p * count < settings.alpha
        for ok, test in zip(enough, tests, strict=True)
    ]


def _corrected(rows: Sequence[tuple[Verdict, bool]], settings: Monitoring) -> list[Verdict]:
    """The same rows with corrected p-values and outcomes.

    A test that no relabelling of its values could have made significant takes no part in the
    correction (Tarone 1990): where nothing fails, the rates of failures would only dull the others.
    """
    raw = [row.raw_p_value for row, able in rows if row.raw_p_value is not None and able]
    corrected = iter(holm(raw))
    result = []
    for row, able in rows:
        if row.raw_p_value is not None:
            p_value = next(corrected) if able else 1.0
            outcome = outcome_of(p_value, settings).value
            row = replace(row, p_value=p_value, verdict=outcome)
        if row.statistic in TESTED:
            row = replace(row, threshold=settings.alpha)
        result.append(row)
    return result


def outcome_of(p_value: float, settings: Monitoring) -> Outcome:
    """What a corrected p-value says by itself."""
    if p_value < settings.alpha:
        return Outcome.ALARM
    return Outcome.SUSPECT if p_value < settings.suspect_alpha else Outcome.CALM


def _seed(seed: int, day: date, group: Group, what: str) -> list[int]:
    name = f"{group.modality}/{group.sensor}/{what}"
    return [seed, day.toordinal(), zlib.crc32(name.encode())]


def _information(group: Group, settings: Monitoring, seed: list[int]) -> list[Verdict]:
    def row(name: str, value: float, p_value: float | None = None, subjects: int = 0) -> Verdict:
        outcome = Outcome.INFORMATION.value
        return Verdict(group.modality, group.sensor, name, value, p_value, None, subjects, outcome)

    today, rows = group.today, []
    if len(today.captured):
        found = means(today.captured)
        rows += [row(name, value) for name, value in zip(MEASURES, found, strict=True)]
    met = today.probes if group.met is None else group.met
    population = drift_tests.population_test(
        group.reference.probes, met, permutations=settings.permutations, seed=seed
    )
    if population is not None:
        rows.append(row(population.name, population.value, population.p_value, population.subjects))
    for name, tried in ((FAILURE_RATE, today.attempts), (REJECTION_RATE, today.claims)):
        if tried is not None and len(tried):
            rows.append(row(name, float(tried.failed.mean())))
    rows.append(row(UNIDENTIFIED, float(group.unidentified)))
    rows.append(row(ENROLLED_TODAY, float(group.enrolled_today)))
    return rows
