"""Does the gate let better models through, and only those? Part of `make bench-drift`.

Generated people go through the real pipeline (replay, ingest, preprocess, training data, fit,
calibration); models differ by their seed alone, or by whether they have seen the changed sensor.
Groups of test people are disjoint. Comparisons of each model and group are measured once, and every
pair of models then faces the gate's rules (`ruling.conclude`).
"""

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from itertools import permutations, product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.rows import Row, at_most, write
from biometric_core.config import Config, load_config
from biometric_core.data.capture_sets import CaptureSet, load_captures
from biometric_core.history.changes import Change
from biometric_core.matching.comparisons import Comparisons, compare_all
from biometric_core.matching.gallery import modality_gallery
from biometric_core.matching.templates import Compared, Embeddings, Templates
from biometric_core.promotion.improvement import Improvement, Measured, improvement, measured
from biometric_core.promotion.ruling import conclude
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality, Split

HISTORY = datetime(2026, 1, 1, tzinfo=UTC)
DAY = date(2026, 1, 5)
OLD, NEW = "old", "new"
OLD_UNEQUAL, NEW_UNEQUAL = "old, unequal", "new, unequal"
CHAMPION, CHALLENGER = "champion", "challenger"
_PROCESSES = 2
_WITH_FINGERS = 0.3  # of the people, where modalities are unequal
_UNEQUAL_SEEDS = 7  # 42 pairs of models in five groups are 210 gates
_UNEQUAL_BOOTSTRAP = 500  # a quarter: the interval is a little rougher, not narrower

Model = tuple[str, int]
"""A champion or a challenger, and its seed."""
Figures = Mapping[tuple[Model, int], Mapping[str, Measured]]
"""By model and group of test people: measured on old comparisons, and on those with the new; then
likewise where only some of the people have fingers."""


@dataclass(frozen=True)
class Size:
    """How much is measured: people, shares of their splits, seeds, groups of test people."""

    people: int
    validation: float
    test: float
    seeds: int
    groups: int


FULL = Size(people=200, validation=0.06, test=0.76, seeds=10, groups=5)
QUICK = Size(people=60, validation=0.15, test=0.5, seeds=2, groups=2)


def rows(work: Path, quick: bool) -> list[Row]:
    """False and missed promotions.

    Args:
        work: an empty folder for the store and the models.
        quick: fewer people, models and groups: shows that it runs, not how the gate does.
    """
    size = QUICK if quick else FULL
    config = _config(work, size)
    began = time.perf_counter()

    def done(what: str) -> None:
        print(f"gate: {what}, {time.perf_counter() - began:.0f} s", flush=True)

    _fill(config, work)
    done(f"{size.people} people prepared")
    models = list(product((CHAMPION, CHALLENGER), range(size.seeds)))
    work_of: dict[tuple[Model, int], Mapping[str, Measured]] = {}
    context = get_context("spawn")  # a forked child can hang on the locks of threads
    with ProcessPoolExecutor(_PROCESSES, context) as pool:
        for model in pool.map(partial(_train, config, work), models):
            done(f"{model[0]} {model[1]} trained")
        for found in pool.map(partial(_measure, config, work, size), range(size.groups)):
            work_of |= found
            done(f"{len(work_of)} of {len(models) * size.groups} measured")
    return _judged(work_of, config, size)


def _config(work: Path, size: Size) -> Config:
    values: dict[str, Any] = {
        "storage": {"root": str(work / "data"), "work": str(work / "work")},
        "generator": {"subjects": size.people},
        "splits": {"validation": size.validation, "test": size.test},
        "preprocess": {"executor": "multiprocessing"},
        "training": {"threads": 1},
    }
    return load_config("local", values)


def _fill(config: Config, work: Path) -> None:
    """A history through the old sensor, and one day of everybody through the changed one."""
    from biometric_core.sources.generator.people import generate
    from biometric_core.sources.replay import replay
    from biometric_core.stages.ingest import ingest
    from biometric_core.stages.preprocess import preprocess

    source = generate(config, out=str(work / "people")).path
    told = replay(config, source=source, out=str(work / "story"), first_day=DAY, days=1)
    ingest(config, source=told.history, captured_at=HISTORY)
    day = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
    ingest(config, source=f"{told.inbox}/{DAY.isoformat()}", captured_at=day)
    preprocess(config)


def _train(config: Config, work: Path, model: Model) -> Model:
    from biometric_core.training.assembly import recogniser_of
    from biometric_core.training.fit import fit
    from biometric_core.training.training_data import load_training_data

    kind, seed = model
    training = config.training.model_copy(update={"seed": seed})
    config = config.model_copy(update={"training": training})
    end = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) if kind == CHAMPION else None
    data = load_training_data(config, end, change=None if end else Change(DAY))
    fitted = fit(data.train, data.validation, config)
    recogniser_of(fitted, data.validation, config).save(_folder(work, model))
    return model


def _folder(work: Path, model: Model) -> Path:
    return work / "models" / f"{model[0]}-{model[1]}"


def _measure(
    config: Config, work: Path, size: Size, group: int
) -> dict[tuple[Model, int], Mapping[str, Measured]]:
    """All models on one group of test people."""
    import torch

    torch.set_num_threads(1)
    sets = _group(config, size, group)
    codes: dict[Modality, list[Templates]] = {}
    found: dict[tuple[Model, int], Mapping[str, Measured]] = {}
    for model in product((CHAMPION, CHALLENGER), range(size.seeds)):
        recogniser = Recogniser.load(_folder(work, model))
        parts: dict[str, list[Comparisons]] = {OLD: [], NEW: []}
        for modality, captures in sets.items():
            if modality not in codes:  # not learned: the same for every model
                made = recogniser.codes(modality, captures.images, captures.masks)
                codes[modality] = [Compared.of(one) for one in made]
            vectors = Embeddings(recogniser.embed_set(captures))
            encoders = recogniser.weighed(modality, [vectors, *codes[modality]])
            comparisons = compare_all(modality_gallery(captures, encoders))
            changed = Change(DAY).changed(captures)
            new = changed[comparisons.first] | changed[comparisons.second]
            parts[OLD].append(comparisons.select(~new))
            parts[NEW].append(comparisons.select(new))
        own = {name: measured(part, config.gate) for name, part in parts.items()}
        found[model, group] = own | (_unequal(parts, config) if model[1] < _UNEQUAL_SEEDS else {})
    return found


def _unequal(parts: Mapping[str, list[Comparisons]], config: Config) -> dict[str, Measured]:
    """The same irises with the fingers of some of the people."""
    settings = config.gate.model_copy(update={"bootstrap": _UNEQUAL_BOOTSTRAP})
    found = {}
    for name, of_all in ((OLD_UNEQUAL, parts[OLD]), (NEW_UNEQUAL, parts[NEW])):
        irises, fingers = of_all
        people = np.unique(irises.subjects)
        some = people[: max(2, round(_WITH_FINGERS * len(people)))]
        rows = np.isin(fingers.subject_a, some) & np.isin(fingers.subject_b, some)
        found[name] = measured([irises, fingers.select(rows)], settings)
    return found


def _group(config: Config, size: Size, group: int) -> dict[Modality, CaptureSet]:
    """The captures of one of the disjoint groups of test people."""
    from biometric_core.storage.store import Store

    sets = load_captures(Store.of(config), config)
    test = {m: found.select(found.split == Split.TEST) for m, found in sets.items()}
    names = np.unique(np.concatenate([found.subject_id for found in test.values()]))
    chosen = np.array_split(np.random.default_rng(0).permutation(names), size.groups)[group]
    return {m: found.select(np.isin(found.subject_id, chosen)) for m, found in test.items()}


def _judged(figures: Figures, config: Config, size: Size) -> list[Row]:
    seeds = range(size.seeds)
    others = list(permutations(seeds, 2))
    everyone = list(product(seeds, seeds))
    again = "the same data, another seed: "
    gates = partial(_gates, figures, config, size)
    few = range(min(size.seeds, _UNEQUAL_SEEDS))
    unequal = f"unequal modalities (fingers of {100 * _WITH_FINGERS:g} % of the people)"
    return [
        _share(f"false promotions, {again}ordinary", gates(CHAMPION, CHAMPION, others, (OLD,)), 5),
        _share(
            f"false promotions, {again}after drift, neither knows the new sensor",
            gates(CHAMPION, CHAMPION, others, (OLD, NEW)),
            5,
        ),
        _share(
            f"false promotions, {again}after drift, both know the new sensor",
            gates(CHALLENGER, CHALLENGER, others, (OLD, NEW)),
            5,
        ),
        _share(
            "missed promotions: the challenger knows the new sensor",
            gates(CHAMPION, CHALLENGER, everyone, (OLD, NEW)),
            10,
            missed=True,
        ),
        _share(
            f"false promotions, {again}{unequal}",
            gates(CHAMPION, CHAMPION, list(permutations(few, 2)), (OLD_UNEQUAL,)),
            5,
        ),
        _share(
            f"missed promotions: the challenger knows the new sensor; {unequal}",
            gates(CHAMPION, CHALLENGER, list(product(few, few)), (OLD_UNEQUAL, NEW_UNEQUAL)),
            10,
            missed=True,
        ),
    ]


@dataclass(frozen=True)
class _Gate:
    """One decision: by the gate, by the EER alone (the rule before), and what was measured."""

    promoted: bool
    by_eer: bool
    found: Mapping[str, Improvement]


def _gates(
    figures: Figures,
    config: Config,
    size: Size,
    champion: str,
    challenger: str,
    pairs: Iterable[tuple[int, int]],
    parts: tuple[str, ...],
) -> Iterator[_Gate]:
    settings = config.gate
    for (one, other), group in product(pairs, range(size.groups)):
        before, after = figures[(champion, one), group], figures[(challenger, other), group]
        found = {
            name: improvement(before[part], after[part], settings)
            for name, part in zip((OLD, NEW), parts, strict=False)
        }
        asked = found if len(parts) > 1 else {"all": found[OLD]}
        eer = {part: one.eer for part, one in found.items()}
        by_eer = (
            eer[NEW].above(0) and eer[OLD].above(-settings.margin)
            if NEW in eer
            else eer[OLD].above(0)
        )
        yield _Gate(conclude(asked, settings).promote, by_eer, found)


def _share(name: str, gates: Iterable[_Gate], target: float, *, missed: bool = False) -> Row:
    made = list(gates)
    counted: Callable[[bool], bool] = (lambda promoted: not promoted) if missed else bool
    share, baseline = (
        100 * sum(map(counted, promoted)) / len(made)
        for promoted in ([g.promoted for g in made], [g.by_eer for g in made])
    )
    return at_most(
        name,
        share,
        target,
        "%",
        baseline=baseline,
        gates=len(made),
        baseline_is="the interval of the EER alone",
        differences={part: _spread(made, part) for part in made[0].found},
    )


def _spread(gates: list[_Gate], part: str) -> dict[str, float]:
    """Champion less challenger, over all gates: mean and quantiles of the figures."""
    found = [gate.found[part] for gate in gates]
    cllr = np.array([one.cllr.value for one in found], dtype=np.float64)
    eer = 100 * np.array([one.eer.value for one in found], dtype=np.float64)
    spread = {"champion_cllr_bits": float(np.mean([one.cllr.champion for one in found]))}
    for name, values in (("cllr_bits", cllr), ("eer_points", eer)):
        low, high = np.quantile(values, [0.05, 0.95])
        spread |= {f"{name}_mean": float(values.mean()), f"{name}_5": low, f"{name}_95": high}
    return {name: round(float(value), 5) for name, value in spread.items()}


def main() -> None:
    """Run this part alone."""
    parser = argparse.ArgumentParser(prog="benchmarks.drift.gate", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with TemporaryDirectory(prefix="biometric-bench-") as scratch:
        write("drift-gate", rows(given.work or Path(scratch), given.quick))


if __name__ == "__main__":
    main()
