"""No drift at all, by construction: how often does a day alarm, whoever comes how often?

R people stand in the reference with one capture each and are not seen again; C others, enrolled
earlier, come on the day, or on each of 14 days, with one capture, five, or one to eight. In both
windows everybody's captures are the same template plus the same noise.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from benchmarks.drift import former
from benchmarks.drift.days import side_by_side, together
from benchmarks.rows import Row, at_most
from biometric_core.config import Monitoring
from biometric_core.history.drift_table import DAILY, Outcome
from biometric_core.monitoring.verdicts import judge_day
from biometric_core.monitoring.windows import Attempts, Group, Span, Window
from biometric_core.schemas import Float64Array, IntArray, StrArray

_WIDTH, _NOISE, _MEASURES = 128, 0.05, 4
_CAPTURES: tuple[int | None, ...] = (1, 5, None)  # None: one to eight
_DAYS = (1, 14)
_FIRST = date(2026, 1, 1)


@dataclass(frozen=True)
class Cell:
    """A world: people in the reference, visitors, captures of each a day (None: 1 to 8), days."""

    reference: int
    visitors: int
    captures: int | None
    days: int

    def __str__(self) -> str:
        number = "1 to 8" if self.captures is None else str(self.captures)
        return f"R {self.reference}, C {self.visitors}, {number} captures, {self.days} days"


def cells(references: Sequence[int], visitors: Sequence[int]) -> list[Cell]:
    """Every combination."""
    return [Cell(*one) for one in itertools.product(references, visitors, _CAPTURES, _DAYS)]


def rows(
    settings: Monitoring,
    chosen: Sequence[Cell],
    days: int,
    targets: tuple[float, float],
    *,
    beside_former: bool = True,
) -> list[Row]:
    """False alarms over all cells, in the worst one, and days without a verdict.

    Args:
        settings: of the monitor.
        chosen: the worlds.
        days: of each, every one a world of its own.
        targets: at most, in per cent: over all, and in any cell.
        beside_former: the tests as they were judge the same days; takes as long again.
    """
    numbered = [(number, cell) for number, cell in enumerate(chosen) for _ in range(days)]
    told = side_by_side(
        lambda one: _day(one[1][1], settings, (one[1][0], one[0]), beside_former),
        list(enumerate(numbered)),
    )
    by_cell = {
        str(cell): np.array(told[n * days : (n + 1) * days], dtype=float).mean(axis=0) * 100
        for n, cell in enumerate(chosen)
    }
    figures = np.array(list(by_cell.values()))
    name = f"no drift, synthetic, {len(chosen)} cells of {days} days"
    every = {
        cell: {"alarms": ours, **({"former": theirs} if beside_former else {}), "no verdict": none}
        for cell, (ours, theirs, none) in by_cell.items()
    }
    means, worst = figures.mean(axis=0).tolist(), figures.max(axis=0).tolist()  # for JSON
    former_mean, former_worst = (means[1], worst[1]) if beside_former else (None, None)
    return [
        at_most(f"{name}: alarms", means[0], targets[0], "%", baseline=former_mean, cells=every),
        at_most(f"{name}: the worst cell", worst[0], targets[1], "%", baseline=former_worst),
        at_most(f"{name}: not enough subjects, the worst cell", worst[2], 10, "%"),
    ]


def _day(
    cell: Cell, settings: Monitoring, seed: tuple[int, int], beside_former: bool
) -> tuple[bool, bool, bool]:
    """Whether a day alarms, whether it did by the former tests, and whether it has no verdict."""
    groups = [_group(cell, settings, np.random.default_rng(seed))]
    day = _FIRST + timedelta(days=seed[1] % 1000)
    found = judge_day(groups, settings, day)
    alarm = any(row.verdict == Outcome.ALARM for row in found)
    lacking = any(row.verdict == Outcome.NOT_ENOUGH for row in found if row.statistic in DAILY)
    return alarm, beside_former and former.alarm(groups, settings, day), lacking


def _group(cell: Cell, settings: Monitoring, rng: np.random.Generator) -> Group:
    once = np.ones(cell.reference, dtype=np.int64)
    reference = _span(rng, "r", _People.draw(rng, cell.reference), once, 1.0)
    visitors, spans = _People.draw(rng, cell.visitors), []
    for age in reversed(range(cell.days)):
        each = (
            rng.integers(1, 9, cell.visitors)
            if cell.captures is None
            else np.full(cell.visitors, cell.captures)
        )
        spans.append(_span(rng, "n", visitors, each, settings.trend_decay**age))
    recent = together(spans) if cell.days > 1 else None
    return Group("iris", "default", reference, spans[-1], recent)


@dataclass(frozen=True)
class _People:
    """True features and templates of two captures, float64 (P, D); shares that fail, (P,)."""

    true: Float64Array
    template: Float64Array
    failing: Float64Array

    @classmethod
    def draw(cls, rng: np.random.Generator, number: int) -> "_People":
        """One in ten can't be acquired in a third of the captures."""
        true = _unit(rng.standard_normal((number, _WIDTH)))
        captures = _unit(true[:, None] + _NOISE * rng.standard_normal((number, 2, _WIDTH)))
        return cls(true, _unit(captures.mean(axis=1)), (rng.random(number) < 0.1) / 3)


def _span(
    rng: np.random.Generator,
    prefix: str,
    people: _People,
    each: IntArray,
    weight: float,
) -> Span:
    template = np.repeat(people.template, each, axis=0)
    number = len(template)
    probes = _unit(
        np.repeat(people.true, each, axis=0) + _NOISE * rng.standard_normal((number, _WIDTH))
    )
    names = np.array([f"{prefix}{i:04d}" for i in range(len(each))])
    subject: StrArray = np.repeat(names, each)
    identity: StrArray = np.char.add(subject, "/iris/left")
    labels = (subject, identity, np.zeros(number, bool), np.full(number, weight))
    window = Window(
        *labels,
        residual=probes - template,
        template=template,
        genuine=10 * (probes * template).sum(axis=1),
        measures=rng.standard_normal((number, _MEASURES)),
    )
    failed = (rng.random(number) < np.repeat(people.failing, each)).astype(np.float64)
    return Span(window, Attempts(*labels, failed=failed))


def _unit(values: Float64Array) -> Float64Array:
    found: Float64Array = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return found
