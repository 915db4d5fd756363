"""Days drawn from the pool: who comes, by which sensor, and what the monitor says of it."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, delayed

from benchmarks.drift.pool import CLEAN, REFERENCE, SLOW_VISITS, VISITS, Pool, each_of
from biometric_core.config import Monitoring
from biometric_core.history.drift_table import CONFIRMED
from biometric_core.monitoring.alarms import DayAlarm, day_alarm
from biometric_core.monitoring.verdicts import Verdict, judge_day
from biometric_core.monitoring.windows import Group, Span
from biometric_core.schemas import Modality, StrArray

VISITS_A_DAY = 67  # with two eyes and a finger each: about 200 probes
EVERY_VISIT = (*VISITS, *SLOW_VISITS)  # a changed sensor has captures of one visit a person
ORDINARY_DAYS_BEFORE = 3
FIRST = date(2026, 1, 1)
_KEPT_DAYS = 20
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Visitors:
    """Who came on one day, and the captures that were made of them."""

    number: int
    condition: str
    people: StrArray
    impressions: tuple[int, ...]


@dataclass(frozen=True)
class Told:
    """What the monitor said of one day."""

    day: DayAlarm
    verdicts: list[Verdict]

    @property
    def confirmed(self) -> bool:
        """Whether there would be an alarm, whatever was told before."""
        return self.day.verdict in CONFIRMED


class World:
    """A reference of known people, and days of known and new ones.

    Args:
        pool: probes of everybody.
        settings: of the monitor.
        seed: who is known, and who comes when.
        visits: impressions that come on ordinary days.
        a_day: people who come on a day, each once.
    """

    def __init__(
        self,
        pool: Pool,
        settings: Monitoring,
        seed: int,
        visits: Sequence[int] = VISITS,
        a_day: int = VISITS_A_DAY,
    ) -> None:
        self.pool, self.settings, self.visits, self.a_day = pool, settings, visits, a_day
        self.rng = np.random.default_rng(seed)
        self.modalities = sorted({modality for modality, _ in pool})
        people = self._people(CLEAN)
        self.known = np.sort(self.rng.permutation(people)[: len(people) // 2])
        before = Visitors(-1, CLEAN, self.known, (REFERENCE,))
        self.reference = {modality: self.span(modality, before) for modality in self.modalities}

    def day(self, number: int, condition: str, new_share: float) -> Visitors:
        """Draw a day's visitors: each comes once, with the captures of one visit."""
        there = self._people(condition)
        known = np.intersect1d(there, self.known)
        strangers = np.setdiff1d(there, self.known)
        new = round(new_share * self.a_day)
        people = [
            self.rng.permutation(known)[: self.a_day - new],
            self.rng.permutation(strangers)[:new],
        ]
        visits = (int(self.rng.choice(self.visits)),) if condition == CLEAN else EVERY_VISIT
        return Visitors(number, condition, np.concatenate(people), visits)

    def first_day(self, condition: str, new_share: float) -> Told:
        """The verdict on the first day of another sensor, after some ordinary ones."""
        days = [self.day(number, CLEAN, new_share) for number in range(ORDINARY_DAYS_BEFORE)]
        days.append(self.day(ORDINARY_DAYS_BEFORE, condition, new_share))
        return told([self._verdicts(days)], self.settings)[0]

    def sequence(self, days: int, condition: Callable[[int], str], new_share: float) -> list[Told]:
        """Judge one day after the other, each with those before it as its history."""
        visitors = [self.day(number, condition(number), new_share) for number in range(days)]
        judged = [self._verdicts(visitors[: number + 1]) for number in range(days)]
        return told(judged, self.settings)

    def found_within(self, days: int, condition: Callable[[int], str], new_share: float) -> bool:
        """Whether an alarm comes within so many days after some ordinary ones; stops at the first.

        Args:
            days: at most.
            condition: of a day, ordinary ones included.
            new_share: of the visitors.
        """
        last = ORDINARY_DAYS_BEFORE + days
        visitors = [self.day(number, condition(number), new_share) for number in range(last)]
        judged: list[list[Verdict]] = []
        for number in range(ORDINARY_DAYS_BEFORE, last):
            judged.append(self._verdicts(visitors[: number + 1]))
            if told(judged, self.settings)[-1].confirmed:
                return True
        return False

    def _verdicts(self, days: Sequence[Visitors]) -> list[Verdict]:
        """Verdicts on the last of these days, those shortly before being the recent ones."""
        recent = days[-self.settings.trend_days :]
        groups = [self._group(modality, recent) for modality in self.modalities]
        return judge_day(groups, self.settings, FIRST + timedelta(days=days[-1].number))

    def _group(self, modality: Modality, days: Sequence[Visitors]) -> Group:
        last = days[-1].number
        spans = [
            self.span(modality, one, self.settings.trend_decay ** (last - one.number))
            for one in days
        ]
        recent = together(spans) if len(days) > 1 else None
        return Group(modality.value, "default", self.reference[modality], spans[-1], recent)

    def span(self, modality: Modality, day: Visitors, weight: float = 1.0) -> Span:
        """What the visitors of a day left behind."""
        came = each_of(day.people, day.impressions)
        return self.pool[modality, day.condition].span(came, came, weight)

    def _people(self, condition: str) -> StrArray:
        found = [self.pool[modality, condition].attempts.subject for modality in self.modalities]
        return np.unique(np.concatenate(found))


def told(judged: Sequence[list[Verdict]], settings: Monitoring) -> list[Told]:
    """What is said of days in a row, by the rules of confirmation in the settings."""
    history: list[dict[str, Any]] = []
    found = []
    for number, verdicts in enumerate(judged):
        day = FIRST + timedelta(days=number)
        said = day_alarm(verdicts, history, settings, day)
        found.append(Told(said, verdicts))
        history += [{**vars(row), "day": day} for row in (*verdicts, said.row(settings))]
        history = [row for row in history if (day - row["day"]).days < _KEPT_DAYS]
    return found


def by_rule(days: Sequence[Told], settings: Monitoring) -> dict[str, list[bool]]:
    """For each rule of confirmation, which of these days it confirms."""
    judged = [day.verdicts for day in days]
    found = {}
    for rule in ("at_once", "two_of_three", "either"):
        changed = settings.model_copy(update={"confirmation": rule})
        found[rule] = [one.confirmed for one in told(judged, changed)]
    return found


def side_by_side(judged: Callable[[T], R], worlds: Iterable[T]) -> list[R]:
    """What is judged of each world, on all cores; its processes have one thread of BLAS each."""
    return list(Parallel(n_jobs=os.cpu_count())(delayed(judged)(world) for world in worlds))


def together(spans: Sequence[Span]) -> Span:
    """Spans of several days, one after the other."""
    return Span(**{f.name: _joined([getattr(s, f.name) for s in spans]) for f in fields(Span)})


def _joined(parts: Sequence[Any]) -> Any:
    if parts[0] is None:
        return None
    kind = type(parts[0])
    names = [field.name for field in fields(kind)]
    return kind(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})
