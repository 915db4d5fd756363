"""Rows of doors where people come back, come late and come once."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.drift.days import ORDINARY_DAYS_BEFORE, Told, side_by_side, told
from benchmarks.drift.doors import NEVER, ONCE, Door, Plan, Visits
from benchmarks.drift.pool import (
    CHANGED_VISITS,
    CHANGES,
    CLEAN,
    REGULAR_VISITS,
    REGULARS,
    VISITS,
    Pool,
)
from benchmarks.rows import Row, at_least, at_most
from biometric_core.config import Monitoring
from biometric_core.history.drift_table import CONFIRMED, Outcome
from biometric_core.parallel.progress import track
from biometric_core.schemas import StrArray

KNOWN, OTHERS = 36, 60
_ROW = 15  # days in a row in one world
_LATE_SHARE, _LATEST = 0.2, 5
_STRANGERS = 40


def regulars(pool: Pool) -> StrArray:
    """People of the pool who have captures for many visits, in every modality."""
    many = []
    for (_, condition), found in pool.items():
        if condition == CLEAN:
            names, counts = np.unique(found.attempts.subject, return_counts=True)
            many.append(names[counts > counts.max() / 2])
    common = many[0]
    for names in many[1:]:
        common = np.intersect1d(common, names)
    people: StrArray = common[:REGULARS]
    return people


def ordinary(pool: Pool, settings: Monitoring, days: int) -> Row:
    """False alarms where people return, with one to eight captures a visit."""
    plan, people = Plan(KNOWN, OTHERS, _ROW, REGULAR_VISITS, 8), regulars(pool)
    worlds = max(1, days // _ROW)
    doors = [Door(pool, settings, plan, people, 300 + number) for number in range(worlds)]
    name = "no drift, people who return, 1 to 8 captures a visit"
    return false_alarms(name, side_by_side(Door.told, doors), 2)


def false_alarms(name: str, worlds: Sequence[tuple[list[Told], list[bool]]], target: float) -> Row:
    """Alarms on ordinary days, beside those of the former tests; a world is `Door.told`."""
    days = [one for row, _ in worlds for one in row]
    former = [hit for _, hits in worlds for hit in hits]
    verdicts = {v.value: sum(d.day.verdict == v for d in days) for v in Outcome}
    details: dict[str, Any] = {"days": len(days), "worlds": len(worlds), "verdicts": verdicts}
    rate = 100 * float(np.mean([day.confirmed for day in days]))
    return at_most(name, rate, target, "%", baseline=100 * float(np.mean(former)), **details)


def detected(pool: Pool, settings: Monitoring, trials: int) -> list[Row]:
    """First days of a changed sensor, at doors of people who return and at doors of strangers."""
    plan = Plan(KNOWN, OTHERS, ORDINARY_DAYS_BEFORE + 1, REGULAR_VISITS, 8)
    found = _first_days(pool, settings, plan, trials, everybody=True)
    # Harder, and without a target: who comes on the day is who comes on such days, about forty.
    fewer = _first_days(pool, settings, plan, trials, everybody=False)
    rows = [
        at_least(
            f"{condition}: found on the first day, {KNOWN} known and {OTHERS} others who return",
            100 * float(np.mean([one.confirmed for one, _ in days])),
            90,
            "%",
            baseline=100 * float(np.mean([former for _, former in days])),
            trials=trials,
            of_forty=100 * float(np.mean([one.confirmed for one, _ in fewer[condition]])),
        )
        for condition, days in found.items()
    ]
    alone = Plan(0, _STRANGERS, ORDINARY_DAYS_BEFORE + 1, VISITS[:1], 1, (NEVER,), (ONCE,))
    return [*rows, *_strangers(pool, settings, alone, trials)]


def _first_days(
    pool: Pool, settings: Monitoring, plan: Plan, trials: int, *, everybody: bool
) -> Mapping[str, list[tuple[Told, bool]]]:
    people = regulars(pool)

    def first(condition: str, door: Door) -> tuple[Told, bool]:
        days = [door.day(number) for number in range(ORDINARY_DAYS_BEFORE)]
        days.append(door.day(ORDINARY_DAYS_BEFORE, condition, CHANGED_VISITS, everybody))
        return told([door.judge(days)], settings)[0], door.former(days)

    found = {}
    for condition in track(CHANGES, total=len(CHANGES), description="people who return"):
        doors = [Door(pool, settings, plan, people, 5000 + trial) for trial in range(trials)]
        found[condition] = side_by_side(partial(first, condition), doors)
    return found


def _strangers(pool: Pool, settings: Monitoring, plan: Plan, trials: int) -> list[Row]:
    people = regulars(pool)

    def first(condition: str, trial: int) -> tuple[Told, bool]:
        # The reference is of other people; on the day each of forty strangers comes once.
        rng = np.random.default_rng((61, trial))
        drawn = rng.permutation(people)
        known = Door(pool, settings, Plan(KNOWN, 0, 1, VISITS[:1], 1), drawn[:KNOWN], trial)
        names = drawn[KNOWN : KNOWN + plan.others]
        came = np.array([f"{name} {VISITS[0]}" for name in names.tolist()], np.str_)
        day = Visits(0, condition, came, came[:0])
        return told([known.judge([day])], settings)[0], known.former([day])

    rates, former, silent = {}, {}, []
    for condition in track(CHANGES, total=len(CHANGES), description="strangers"):
        days = side_by_side(partial(first, condition), range(trials))
        rates[condition] = 100 * float(np.mean([one.confirmed for one, _ in days]))
        former[condition] = 100 * float(np.mean([hit for _, hit in days]))
        silent += [one.day.verdict == Outcome.CALM for one, _ in days]
    found, before = (sum(rate >= 90 for rate in of.values()) for of in (rates, former))
    details = {"rates": rates, "former": former, "trials": trials}
    name = f"a door of {_STRANGERS} strangers, one capture each"
    return [
        at_least(f"{name}: changes found", found, 4, "of 6", baseline=before, **details),
        at_most(f"{name}: changed days called calm", 100 * float(np.mean(silent)), 0, "%"),
    ]


def late(pool: Pool, settings: Monitoring, trials: int) -> list[Row]:
    """Days of which a fifth arrives one to five days later, judged again at each arrival."""
    plan = Plan(KNOWN, OTHERS, ORDINARY_DAYS_BEFORE + 1, REGULAR_VISITS, 8)
    kinds = {
        "wholly of a changed sensor": (True, True),
        "of a changed sensor in the late captures only": (False, True),
        "unchanged": (False, False),
    }
    people, rows = regulars(pool), []
    changes = list(CHANGES)
    for kind, changed in kinds.items():

        def trial(number: int, changed: tuple[bool, bool] = changed) -> tuple[bool, bool]:
            door = Door(pool, settings, plan, people, 8000 + number)
            return _late_day(door, changes[number % len(changes)], changed)

        found = np.array(side_by_side(trial, range(trials)), dtype=float).mean(axis=0) * 100
        name = f"a fifth of the day arrives late, {kind}: told by the day of arrival"
        details = {"baseline": float(found[1]), "baseline_is": "the first verdict", "n": trials}
        if kind == "unchanged":
            rows.append(at_most(name, float(found[0]), 2, "%", **details))
        else:
            target = 90 if changed[0] else 0  # the second kind has a rate, and no target
            rows.append(at_least(name, float(found[0]), target, "%", **details))
    return rows


def _late_day(door: Door, condition: str, changed: tuple[bool, bool]) -> tuple[bool, bool]:
    """Whether a day is told by the arrival of its last captures, and by its first verdict."""
    before = [door.day(number) for number in range(ORDINARY_DAYS_BEFORE)]
    names = [condition if one else CLEAN for one in changed]
    visits = CHANGED_VISITS if any(changed) else REGULAR_VISITS
    whole = door.day(ORDINARY_DAYS_BEFORE, names[0], visits)
    after = np.where(
        door.rng.random(len(whole.came)) < _LATE_SHARE,
        door.rng.integers(1, _LATEST + 1, len(whole.came)),
        0,
    )
    late_ones = Visits(whole.number, names[1], whole.came, whole.compared)
    days = [*before, whole.part(after == 0)]
    hits = []
    for lag in range(_LATEST + 1):
        if lag and (after == lag).any():
            days.append(late_ones.part(after == lag))
        if not lag or (after == lag).any():
            said = told([door.judge(days)], door.settings)[0]
            hits.append(said.day.verdict in CONFIRMED)
    return any(hits), hits[0]
