"""A day's verdicts in worlds where people come back, come once, and come with many captures."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from biometric_core.config import Monitoring
from biometric_core.history.drift_table import DAILY, QUALITY_T2, Outcome
from biometric_core.monitoring.alarms import day_alarm
from biometric_core.monitoring.verdicts import Verdict, judge_day
from biometric_core.monitoring.windows import Acquired, Attempts, Group, Span, Window

DAY = date(2026, 1, 1)
SETTINGS = Monitoring(permutations=399)
WIDTH, SPREAD = 32, 0.05


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def span(rng: np.random.Generator, names: list[str], captures: np.ndarray, age: int = 0) -> Span:
    """So many captures of the left eye of each person: the same template, the same noise."""
    subject = np.repeat(np.array(names), captures)
    number = len(subject)
    template = np.repeat(unit(rng.normal(size=(len(names), WIDTH))), captures, axis=0)
    residual = SPREAD * rng.normal(size=(number, WIDTH))
    labels = {
        "subject": subject,
        "identity": np.char.add(subject, "/iris/left"),
        "trained_on": np.zeros(number, bool),
        "weight": np.full(number, 0.8**age),
    }
    # A third of the captures of one person in five fail: they depend on each other.
    clumsy = np.repeat(rng.random(len(names)) < 0.2, captures)
    failed = (clumsy & (rng.random(number) < 0.3)) * 1.0
    probes = Window(
        **labels,
        residual=residual,
        template=template,
        genuine=rng.normal(size=number),
        measures=rng.normal(size=(number, 4)),
    )
    return Span(probes, Attempts(**labels, failed=failed))


@pytest.mark.parametrize(
    ("known", "visitors", "captures"), [(36, 100, 5), (18, 100, 3), (36, 40, None)]
)
def test_without_drift_days_are_calm_however_many_captures_each_brings(
    known: int, visitors: int, captures: int | None
) -> None:
    alarms, uncorrected = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        reference = span(rng, [f"r{i}" for i in range(known)], np.ones(known, int))
        each = rng.integers(1, 9, visitors) if captures is None else np.full(visitors, captures)
        today = span(rng, [f"n{i}" for i in range(visitors)], each)
        rows = judge_day([Group("iris", "door", reference, today)], SETTINGS, DAY)
        found = [row for row in rows if row.p_value is not None and row.statistic in DAILY]
        alarms += any(row.verdict == Outcome.ALARM for row in found)
        uncorrected += [row.raw_p_value for row in found]
    # 1 % are expected: 5 of 60 or more have a probability of 0.0004.
    assert alarms < 5
    assert np.mean(np.array(uncorrected) < 0.05) < 0.09


def strangers(seed: int, darker: float = 0.0) -> Group:
    """People that nobody has enrolled, one capture each: there is nothing to compare but images."""
    rng = np.random.default_rng(seed)
    reference = span(rng, [f"r{i}" for i in range(40)], np.full(40, 3))
    today = span(rng, [f"n{i}" for i in range(40)], np.ones(40, int))
    none = np.zeros(0, int)
    labels = {n: getattr(today.probes, n) for n in ("subject", "identity", "trained_on", "weight")}
    images = today.probes.measures - [0, 0, 0, darker]
    seen = replace(
        today, probes=today.probes.take(none), acquired=Acquired(**labels, measures=images)
    )
    return Group("iris", "door", reference, seen, unidentified=40)


def told(rows: list[Verdict]) -> tuple[str, str]:
    found = day_alarm(rows, [], SETTINGS, DAY)
    return found.verdict, found.reason


def test_a_door_of_strangers_is_watched_by_what_their_captures_look_like() -> None:
    rows = judge_day([strangers(1, darker=2.0)], SETTINGS, DAY)
    assert {row.statistic for row in rows if row.verdict == Outcome.ALARM} == {QUALITY_T2}
    assert told(rows)[0] == Outcome.ALARM


def test_a_door_of_strangers_is_not_calm_and_the_verdict_says_what_was_not_looked_at() -> None:
    verdict, reason = told(judge_day([strangers(1)], SETTINGS, DAY))
    assert verdict == Outcome.PARTLY
    assert "iris, sensor door: residual_t2, genuine_shift" in reason
    assert QUALITY_T2 not in reason


def test_one_sensor_with_too_few_people_makes_the_day_partly_tested() -> None:
    rng = np.random.default_rng(0)
    reference = span(rng, [f"r{i}" for i in range(40)], np.ones(40, int))
    today = span(rng, [f"n{i}" for i in range(40)], np.ones(40, int))
    busy = Group("iris", "door", reference, today)
    alone = Group("iris", "side", reference, span(rng, ["n0", "n1"], np.ones(2, int)))
    assert told(judge_day([busy], SETTINGS, DAY))[0] == Outcome.CALM
    verdict, reason = told(judge_day([busy, alone], SETTINGS, DAY))
    assert verdict == Outcome.PARTLY
    assert "NOT tested, with too few comparable people: iris, sensor side: " in reason


def test_what_can_be_tested_of_the_recent_days_is_tested() -> None:
    rng = np.random.default_rng(0)
    reference = span(rng, [f"r{i}" for i in range(40)], np.ones(40, int))
    recent = span(rng, [f"n{i}" for i in range(40)], np.ones(40, int), age=1)
    today = span(rng, ["m0", "m1"], np.ones(2, int))
    rows = judge_day([Group("iris", "door", reference, today, recent)], SETTINGS, DAY)
    assert told(rows)[0] == Outcome.CALM


def test_rejected_claims_that_become_more_are_an_alarm_of_their_own() -> None:
    rng = np.random.default_rng(0)
    spans = []
    for names, refused in ((range(40), 2), (range(40, 80), 20)):
        found = span(rng, [f"p{i}" for i in names], np.ones(40, int))
        claims = replace(found.attempts, failed=(np.arange(40) < refused) * 1.0)
        spans.append(replace(found, claims=claims))
    rows = {row.statistic: row for row in judge_day([Group("iris", "d", *spans)], SETTINGS, DAY)}
    assert rows["rejection_shift"].verdict == Outcome.ALARM
    assert rows["rejection_shift"].value == pytest.approx(18 / 40)
    assert rows["rejection_rate"].value == pytest.approx(0.5)
