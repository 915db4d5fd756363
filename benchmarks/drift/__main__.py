"""False alarms, detection, false and missed promotions: `make bench-drift [DATA=folder]`.

Days are drawn from generated people who went through the real pipeline once, changed as a sensor
would change their images, and compared by the shipped recogniser, which has seen none of them. The
folder may hold thirty subjects of the Kaggle set: days of real people are drawn from those as well.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.captures import KAGGLE
from benchmarks.drift import cost_of_a_day, gate, returning, stock_detectors, synthetic
from benchmarks.drift.days import ORDINARY_DAYS_BEFORE, Told, World, by_rule, side_by_side
from benchmarks.drift.pool import (
    CHANGES,
    CLEAN,
    SLOW_DAYS,
    Pool,
    acquire,
    conditions,
    score_pool,
)
from benchmarks.drift.real_days import ordinary_days
from benchmarks.rows import Row, at_least, at_most, write
from biometric_core.config import Config, Monitoring, load_config
from biometric_core.history.drift_table import TESTED, Outcome
from biometric_core.parallel.progress import track
from biometric_core.recogniser import Recogniser
from biometric_core.training import pretrained

PEOPLE, CHANGED_PEOPLE, SLOW_PEOPLE = 600, 300, 150
_DAYS, _TRIALS, _SLOW_TRIALS, _STOCK_DAYS = 300, 100, 60, 60
_CELL_DAYS, _RETURNING_TRIALS = 60, 60
_THOROUGH = (synthetic.cells((18, 36, 100, 200), (30, 100, 150)), 300, (1.2, 3.0))
_ROW = 15  # days in a row in one world
_SHARES = (0.0, 0.5, 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show and write; 0 where every target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the Kaggle subset")
    parser.add_argument(
        "--thorough", action="store_true", help="only the worlds without drift, many more of them"
    )
    parser.add_argument("--part", type=int, default=1, help="measure with 1/PART of the days")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    rows: list[Row] = []
    if given.thorough:
        write("drift-thorough", synthetic.rows(_settings(), *_THOROUGH, beside_former=False))
        return 0
    with TemporaryDirectory(prefix="biometric-drift-") as name:
        for part in _measured(Path(name), given.data, given.part):
            rows += part
            print(f"after {(time.monotonic() - began) / 60:.1f} minutes:", flush=True)
            write("drift", rows)  # an hour is long: what is known so far
    minutes = (time.monotonic() - began) / 60
    rows.append(at_most("the whole benchmark, from nothing", minutes, 75, "minutes"))
    path = write("drift", rows)
    print(f"written: {path}")
    return 0 if all(row.met for row in rows) else 1


def _measured(scratch: Path, data: Path, part: int) -> Iterator[list[Row]]:
    settings = _settings()
    cells = synthetic.cells((18, 36, 100), (30, 100))
    yield synthetic.rows(settings, cells, _CELL_DAYS // part, (1.5, 100 * 4 / _CELL_DAYS))
    recogniser = Recogniser.load(pretrained.FOLDER)
    config = _config(scratch / "pool")
    acquire(config, conditions(PEOPLE, CHANGED_PEOPLE, SLOW_PEOPLE), scratch / "images")
    pool = score_pool(config, recogniser, scratch / "pool.pickle")
    ordinary = _ordinary(pool, settings, _DAYS // part)
    yield ordinary
    yield _real(scratch / "real", data, recogniser, settings, _DAYS // part)
    yield [returning.ordinary(pool, settings, _DAYS // part)]
    yield returning.detected(pool, settings, _RETURNING_TRIALS // part)
    yield returning.late(pool, settings, _RETURNING_TRIALS // part)
    detected = _detected(pool, settings, _TRIALS // part)
    yield detected
    yield _slow(pool, settings, _SLOW_TRIALS // part)
    ours = {"ordinary": _mean(ordinary), "changed": _mean(detected)}
    yield stock_detectors.rows(pool, settings, _STOCK_DAYS // part, ours)
    yield cost_of_a_day.rows(scratch / "day")
    yield gate.rows(scratch / "gate", quick=part > 1)


def _settings() -> Monitoring:
    # Each day is judged by itself: an alarm within a cooldown is one all the same.
    return load_config().monitoring.model_copy(update={"cooldown_days": 0})


def _config(folder: Path) -> Config:
    values = {
        "storage": {"root": str(folder / "data"), "work": str(folder / "work")},
        # People are the same in all conditions, and a weak change hardly changes a file.
        "ingest": {"max_duplicates_share": 1.0, "max_refused_share": 1.0},
    }
    return load_config(overrides=values)


def _mean(rows: Sequence[Row]) -> float:
    return float(np.mean([row.measured for row in rows if row.measured is not None]))


def _ordinary(pool: Pool, settings: Monitoring, days: int) -> list[Row]:
    rows = []
    for share in track(_SHARES, total=len(_SHARES), description="ordinary days"):
        # Days of one world share their reference: many of them tell how often a monitor errs.
        worlds = [World(pool, settings, 100 + number) for number in range(max(1, days // _ROW))]

        def row(world: World, share: float = share) -> list[Told]:
            return world.sequence(_ROW, lambda _: CLEAN, share)

        told = side_by_side(row, worlds)
        name = f"false alarms, {100 * share:.0f} % new people"
        rows.append(_false_alarms(name, told, 2, settings))
    return rows


def _false_alarms(
    name: str, worlds: Sequence[Sequence[Told]], target: float, settings: Monitoring
) -> Row:
    told = [one for world in worlds for one in world]
    by = [by_rule(world, settings) for world in worlds]
    by_statistic = {
        statistic: float(np.mean(np.array(found) < settings.suspect_alpha))
        for statistic in TESTED
        if (found := _raw_p_values(told, statistic))
    }
    return at_most(
        name,
        _hits_per_cent([one.confirmed for one in told]),
        target,
        "%",
        days=len(told),
        worlds=len(worlds),
        by_rule={rule: _hits_per_cent([hit for one in by for hit in one[rule]]) for rule in by[0]},
        below_suspect_alpha_uncorrected=by_statistic,
    )


def _raw_p_values(told: Sequence[Told], statistic: str) -> list[float]:
    rows = (row for one in told for row in one.verdicts if row.statistic == statistic)
    return [row.raw_p_value for row in rows if row.raw_p_value is not None]


def _hits_per_cent(hits: Sequence[bool]) -> float:
    return 100 * float(np.mean(hits))


def _real(
    folder: Path, data: Path, recogniser: Recogniser, settings: Monitoring, days: int
) -> list[Row]:
    names = [f"false alarms, eyes of 30 real people, {how}" for how in ("50 % new", "who return")]
    source = data / KAGGLE
    if not source.is_file():
        missing = {"missing": f"{KAGGLE} in DATA=folder"}
        return [Row(name, None, None, 5, "%", False, missing) for name in names]
    alike, worlds = ordinary_days(_config(folder), recogniser, source, days, settings)
    return [
        _false_alarms(names[0], alike, 5, settings),
        returning.false_alarms(names[1], worlds, 3),
    ]


def _detected(pool: Pool, settings: Monitoring, trials: int) -> list[Row]:
    rows = []
    for condition in track(CHANGES, total=len(CHANGES), description="changed sensors"):

        def first(world: World, condition: str = condition) -> Told:
            return world.first_day(condition, 0.5)

        told = side_by_side(first, (World(pool, settings, 1000 + trial) for trial in range(trials)))
        details = {"trials": trials, "change": vars(CHANGES[condition]), "by": _found_by(told)}
        name = f"{condition}: found on the first day"
        rate = _hits_per_cent([one.confirmed for one in told])
        rows.append(at_least(name, rate, 90, "%", **details))
    return rows


def _found_by(told: Sequence[Told]) -> dict[str, float]:
    """Share of the days on which each statistic alone raises the alarm, in any modality."""
    return {
        name: float(
            np.mean(
                [
                    any(r.statistic == name and r.verdict == Outcome.ALARM for r in one.verdicts)
                    for one in told
                ]
            )
        )
        for name in TESTED
    }


def _slow(pool: Pool, settings: Monitoring, trials: int) -> list[Row]:
    rows = []
    for name in track(CHANGES, total=len(CHANGES), description="slow drift"):

        def condition(number: int, name: str = name) -> str:
            day = number + 1 - ORDINARY_DAYS_BEFORE
            return CLEAN if day < 1 else f"{name} {day}"

        def found(world: World, condition: Callable[[int], str] = condition) -> bool:
            return world.found_within(SLOW_DAYS, condition, 0.5)

        worlds = (World(pool, settings, 2000 + trial) for trial in range(trials))
        rate = _hits_per_cent(side_by_side(found, worlds))
        what = f"{name}, growing over 14 days: found by day 7"
        rows.append(at_least(what, rate, 90, "%", trials=trials))
    return rows


if __name__ == "__main__":
    sys.exit(main())
