"""Ordinary days of thirty real people: a bootstrap of days from the eyes of the Kaggle subset.

The set has five captures of each eye, from one session. In each world it is drawn anew which of
them are enrolled, which is the reference and which come on a day, and who is known. The fingers
have one capture each and can't be compared with themselves.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.drift.days import Told, World
from benchmarks.drift.doors import Door, Plan
from benchmarks.drift.pool import CLEAN, REFERENCE, Pool, scored
from biometric_core.config import Config, Monitoring
from biometric_core.data.capture_sets import CaptureSet, load_captures
from biometric_core.parallel.progress import track
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import Modality
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.storage.store import Store

_VISITS = (4, 5)
_PEOPLE_A_DAY, _KNOWN = 20, 15
_DAYS_A_WORLD = 5
_SEED = 53


def ordinary_days(
    config: Config, recogniser: Recogniser, source: Path, days: int, settings: Monitoring
) -> tuple[list[list[Told]], list[tuple[list[Told], list[bool]]]]:
    """Verdicts on days that hold half known and half new people, five days in a row a world.

    Args:
        config: of an empty store.
        recogniser: has seen none of these people.
        source: the set, folder or .zip.
        days: how many in all.
        settings: of the monitor.

    Returns:
        Days in a row, by world: of visits as large as each other, and of doors where the same
        people return with one to three captures (`Door.told`).
    """
    sensor = config.source.model_copy(update={"sensor": CLEAN})
    ingest(config.model_copy(update={"source": sensor}), source=str(source))
    preprocess(config)
    worlds = _worlds(config, recogniser, max(1, days // _DAYS_A_WORLD))
    alike: list[list[Told]] = []
    returning: list[tuple[list[Told], list[bool]]] = []
    plan = Plan(_KNOWN, _KNOWN, _DAYS_A_WORLD, (REFERENCE, *_VISITS), 3)
    for seed, pool in track(worlds, total=days // _DAYS_A_WORLD, description="real people"):
        world = World(pool, settings, seed, visits=_VISITS, a_day=_PEOPLE_A_DAY)
        alike.append(world.sequence(_DAYS_A_WORLD, lambda _: CLEAN, 0.5))
        people = np.unique(pool[Modality.IRIS, CLEAN].attempts.subject)
        returning.append(Door(pool, settings, plan, people, seed).told())
    return alike, returning


def _worlds(config: Config, recogniser: Recogniser, count: int) -> Iterator[tuple[int, Pool]]:
    store = Store.of(config)
    table = store.read("captures")
    eyes = load_captures(store, config)[Modality.IRIS]
    embeddings = recogniser.embed_set(eyes)
    for number in range(count):
        rng = np.random.default_rng((_SEED, number))
        yield number, scored(recogniser, _renumbered(eyes, rng), embeddings, table)


def _renumbered(captures: CaptureSet, rng: np.random.Generator) -> CaptureSet:
    """The same captures with the impressions of each eye in another order."""
    impression = captures.impression.copy()
    for identity in np.unique(captures.identity):
        rows = captures.identity == identity
        impression[rows] = 1 + rng.permutation(int(rows.sum()))
    return replace(captures, impression=impression)
