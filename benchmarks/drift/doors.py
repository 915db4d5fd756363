"""Days at a door where people come back: daily, weekly or once, with one to eight captures.

Some are known to the model, some were enrolled before they came, some on the day they first came,
some never. What a visit brings is dealt from the pool; the same capture may come again another day.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from benchmarks.drift import former
from benchmarks.drift.days import FIRST, Told, together, told
from benchmarks.drift.pool import CLEAN, ENROLLED, REFERENCE, Pool, each_of
from biometric_core.config import Monitoring
from biometric_core.monitoring.verdicts import Verdict, judge_day
from biometric_core.monitoring.windows import Group, Span
from biometric_core.schemas import BoolArray, Modality, StrArray

DAILY, WEEKLY, ONCE = "daily", "weekly", "once"
BEFORE, SAME_DAY, NEVER = "before", "same day", "never"
_RHYTHMS, _ENROLMENTS = (DAILY, WEEKLY, ONCE), (BEFORE, SAME_DAY, NEVER)


@dataclass(frozen=True)
class Person:
    """Somebody who comes: when, and since when there is something to compare with."""

    name: str
    rhythm: str
    enrolled: str
    first: int  # the weekday of who comes weekly, the day of who comes once

    def comes(self, day: int) -> bool:
        """Whether on this day."""
        if self.rhythm == WEEKLY:
            return day % 7 == self.first % 7
        return self.rhythm == DAILY or day == self.first


@dataclass(frozen=True)
class Plan:
    """What a door is like.

    Attributes:
        known: people in the reference.
        others: people who are not.
        days: in a row; those who come once are spread over them.
        visits: impressions of the pool that ordinary days are dealt from.
        most: captures a visit at most, at least one.
        enrolments: of the others.
        rhythms: of all.
    """

    known: int
    others: int
    days: int
    visits: tuple[int, ...]
    most: int
    enrolments: tuple[str, ...] = _ENROLMENTS
    rhythms: tuple[str, ...] = _RHYTHMS


class Door:
    """One world.

    Args:
        pool: captures of everybody.
        settings: of the monitor.
        plan: who comes, and how.
        people: names to draw from.
        seed: of all that is drawn.
    """

    def __init__(
        self, pool: Pool, settings: Monitoring, plan: Plan, people: StrArray, seed: int
    ) -> None:
        self.pool, self.settings, self.plan = pool, settings, plan
        self.rng = np.random.default_rng(seed)
        self.modalities = sorted({modality for modality, _ in pool})
        drawn = self.rng.permutation(people)[: plan.known + plan.others]
        self.known = drawn[: plan.known]
        self.people = [self._person(name, n < plan.known) for n, name in enumerate(drawn.tolist())]
        self._met: set[str] = set()

    def _person(self, name: str, known: bool) -> Person:
        rhythm = str(self.rng.choice(self.plan.rhythms))
        enrolled = BEFORE if known else str(self.rng.choice(self.plan.enrolments))
        return Person(name, rhythm, enrolled, int(self.rng.integers(self.plan.days)))

    def reference(self, modality: Modality) -> Span:
        """What the model knew: one probe each, and all captures that were taken by then."""
        before = each_of(self.known, (*ENROLLED, REFERENCE))
        probes = each_of(self.known, (REFERENCE,))
        return self.pool[modality, CLEAN].span(before, probes)

    def day(
        self,
        number: int,
        condition: str = CLEAN,
        visits: Sequence[int] = (),
        everybody: bool = False,
    ) -> "Visits":
        """Draw who comes on a day, by their rhythm or all of them, and with which captures."""
        came: list[str] = []
        compared: list[str] = []
        for person in self.people:
            if not (everybody or person.comes(number)):
                continue
            each = int(self.rng.integers(1, self.plan.most + 1))
            known = person.name in self.known  # whose reference is no capture of the day
            usual = [one for one in self.plan.visits if one != REFERENCE or not known]
            drawn = self.rng.permutation(visits or usual)[:each]
            keys = [f"{person.name} {impression}" for impression in drawn.tolist()]
            came += keys
            if person.enrolled == BEFORE or (
                person.enrolled == SAME_DAY and person.name in self._met
            ):
                compared += keys
            self._met.add(person.name)
        return Visits(number, condition, np.array(came, np.str_), np.array(compared, np.str_))

    def groups(self, days: Sequence["Visits"]) -> list[Group]:
        """The last of these days by modality, the others being the recent ones.

        A day may come in several parts, one after the other.
        """
        return [self._group(modality, days) for modality in self.modalities]

    def _group(self, modality: Modality, days: Sequence["Visits"]) -> Group:
        last, decay = days[-1].number, self.settings.trend_decay
        spans = [
            self.pool[modality, one.condition].span(
                one.came, one.compared, decay ** (last - one.number)
            )
            for one in days
        ]
        today = [span for span, one in zip(spans, days, strict=True) if one.number == last]
        recent = together(spans) if len(today) < len(spans) else None
        return Group(modality.value, "default", self.reference(modality), together(today), recent)

    def judge(self, days: Sequence["Visits"]) -> list[Verdict]:
        """Verdicts on the last of these days."""
        when = FIRST + timedelta(days=days[-1].number)
        return judge_day(self.groups(days), self.settings, when)

    def former(self, days: Sequence["Visits"]) -> bool:
        """Whether the tests of before raise an alarm on the last of these days."""
        when = FIRST + timedelta(days=days[-1].number)
        return former.alarm(self.groups(days), self.settings, when)

    def in_a_row(
        self, condition: Callable[[int], str] = lambda _: CLEAN
    ) -> Iterator[list["Visits"]]:
        """Each day with the recent ones before it."""
        days = [self.day(number, condition(number)) for number in range(self.plan.days)]
        for number in range(len(days)):
            yield days[max(0, number + 1 - self.settings.trend_days) : number + 1]

    def told(self) -> tuple[list[Told], list[bool]]:
        """What is said of ordinary days in a row, and where the tests of before raise an alarm."""
        windows = list(self.in_a_row())
        judged = [self.judge(days) for days in windows]
        return told(judged, self.settings), [self.former(days) for days in windows]


@dataclass(frozen=True)
class Visits:
    """What came on a day: keys of captures, and of those whose identity is enrolled."""

    number: int
    condition: str
    came: StrArray
    compared: StrArray

    def part(self, rows: BoolArray) -> "Visits":
        """Some of its captures, bool (N,)."""
        came = self.came[rows]
        return Visits(self.number, self.condition, came, np.intersect1d(came, self.compared))
