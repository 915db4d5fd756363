"""The tests as they were: rows averaged by subject, however many there are. The baseline."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np

from biometric_core.config import Monitoring
from biometric_core.history.drift_table import FAILURE_SHIFT
from biometric_core.monitoring import drift_tests
from biometric_core.monitoring.designs import Design, averaging
from biometric_core.monitoring.drift_tests import Statistic
from biometric_core.monitoring.equal_samples import coded
from biometric_core.monitoring.permutation_tests import holm
from biometric_core.monitoring.windows import Group, Labelled, Span


def alarm(groups: Sequence[Group], settings: Monitoring, day: date) -> bool:
    """Whether the former tests raise an alarm on a day by itself."""
    found = [
        one.p_value
        for number, group in enumerate(groups)
        for span in (group.today, group.recent)
        if span is not None
        for one in _tests(group.reference, span, settings, [day.toordinal(), number])
    ]
    return bool(found) and min(holm(found)) < settings.alpha


def _tests(before: Span, now: Span, settings: Monitoring, seed: list[int]) -> Iterator[Statistic]:
    asked: dict[str, Any] = {"permutations": settings.permutations, "seed": seed}
    plan = _design(before.probes, now.probes)
    if plan.subjects >= settings.min_subjects:
        yield from drift_tests.probe_tests(before.probes, now.probes, plan, **asked)
        yield drift_tests.quality_test(before.probes, now.probes, plan, **asked)
    plan = _design(before.attempts, now.attempts)
    if plan.subjects >= settings.min_subjects:
        yield drift_tests.rate_test(FAILURE_SHIFT, before.attempts, now.attempts, plan, **asked)


def _design(reference: Labelled, current: Labelled) -> Design:
    before, now = coded(reference, current)
    shared = np.intersect1d(before.identity, now.identity)
    unseen = ~before.trained_on & ~np.isin(before.subject, now.subject)
    new = ~now.trained_on & ~np.isin(now.subject, before.subject)
    return Design(
        averaging(before, np.flatnonzero(np.isin(before.identity, shared))),
        averaging(now, np.flatnonzero(np.isin(now.identity, shared))),
        averaging(before, np.flatnonzero(unseen)),
        averaging(now, np.flatnonzero(new)),
    )
