"""Probes for `bench-drift`: generated people, through the real pipeline once, to draw days from.

Every image is rendered, changed as a sensor would, written, ingested, prepared, embedded and
compared by all encoders. Days are drawn from what came out of that: thousands of them in minutes.
"""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, load_captures
from biometric_core.monitoring.claims import Claims, compare_claims
from biometric_core.monitoring.windows import (
    Acquired,
    Attempts,
    Labelled,
    Span,
    Window,
    measures,
)
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor
from biometric_core.parallel.progress import track
from biometric_core.recogniser import Recogniser
from biometric_core.schemas import (
    EYES,
    BoolArray,
    Float32Array,
    Float64Array,
    Modality,
    StrArray,
    identity_of,
)
from biometric_core.sources.generator.people import FINGER_ORDER, render
from biometric_core.sources.layouts import SourceCapture, flat_path
from biometric_core.sources.sensor_change import SensorChange, apply
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.storage.store import Store

ENROLLED = (1, 2)
REFERENCE = 3
VISITS = (4, 5, 6)
REGULARS = 110  # people who come back, with up to eight captures a visit
REGULAR_VISITS = (*VISITS, *range(10, 19))
CHANGED_VISITS = (VISITS[0], *range(10, 17))
SLOW_VISITS = (7, 8, 9)  # their own: a change too weak to show would give the same file again
CLEAN = "as_before"
CHANGES: Mapping[str, SensorChange] = {
    "blur": SensorChange(blur_sigma=1.5),
    "gain and offset": SensorChange(gain=0.8, offset=-15.0),
    "JPEG quality 30": SensorChange(jpeg_quality=30),
    "resolution x 0.7": SensorChange(resolution=0.7),
    "illumination gradient": SensorChange(gradient=0.3),
    "sensor noise": SensorChange(noise_sigma=8.0),
}
SLOW_DAYS = 7
SLOW_SPAN = 14
SEED = 4101
_IDENTITIES = (*((Modality.IRIS, eye) for eye in EYES), (Modality.FINGERPRINT, FINGER_ORDER[0]))
_PEOPLE_A_CHUNK = 10
_TAKEN = datetime(2026, 1, 5, tzinfo=UTC)


def at_strength(change: SensorChange, share: float) -> SensorChange:
    """A part of a change: each parameter on its way from no effect to the whole."""
    none = SensorChange()
    parts: dict[str, Any] = {}
    for field in fields(SensorChange):
        end = getattr(change, field.name)
        start = (
            100 if field.name == "jpeg_quality" and end is not None else getattr(none, field.name)
        )
        parts[field.name] = None if end is None else start + share * (end - start)
    if parts["jpeg_quality"] is not None:
        parts["jpeg_quality"] = round(parts["jpeg_quality"])
    return replace(change, **parts)


@dataclass(frozen=True)
class Condition:
    """One set of captures: a sensor, who was captured by it, and which impressions."""

    name: str
    change: SensorChange
    people: range
    impressions: tuple[int, ...]


def conditions(people: int, changed: int, slow: int) -> list[Condition]:
    """The clean pool, each change in full, and each change growing day by day."""
    once = (*ENROLLED, REFERENCE, *VISITS)
    regulars = range(min(people, REGULARS))
    found = [
        Condition(CLEAN, SensorChange(), range(people), once),
        Condition(CLEAN, SensorChange(), regulars, REGULAR_VISITS[len(VISITS) :]),
    ]
    for name, change in CHANGES.items():
        found.append(Condition(name, change, range(changed), VISITS[:1]))
        found.append(Condition(name, change, regulars, CHANGED_VISITS[1:]))
        for day in range(1, SLOW_DAYS + 1):
            part = at_strength(change, day / SLOW_SPAN)
            impression = (SLOW_VISITS[day % len(SLOW_VISITS)],)
            found.append(Condition(f"{name} {day}", part, range(slow), impression))
    return found


@dataclass(frozen=True)
class _Chunk:
    folder: str
    condition: Condition
    people: range


def _draw(chunk: _Chunk) -> None:
    cv2.setNumThreads(1)
    condition = chunk.condition
    for person in chunk.people:
        for modality, position in _IDENTITIES:
            for impression in condition.impressions:
                capture = SourceCapture(f"{person:04d}", modality, position, impression)
                rng = np.random.default_rng((SEED, person, len(position), impression))
                image = apply(render((SEED, person), capture), condition.change, rng)
                path = Path(chunk.folder, flat_path(capture, ".png"))
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def acquire(config: Config, wanted: Sequence[Condition], scratch: Path) -> None:
    """Render, ingest and prepare all conditions; the store of `config` then holds them."""
    folders = [scratch / str(number) for number in range(len(wanted))]
    chunks = [
        _Chunk(str(folder), condition, condition.people[start : start + _PEOPLE_A_CHUNK])
        for folder, condition in zip(folders, wanted, strict=True)
        for start in range(0, len(condition.people), _PEOPLE_A_CHUNK)
    ]
    done = map_chunks(_draw, chunks, Executor.MULTIPROCESSING, config)
    for _ in track(done, total=len(chunks), description="drawing people"):
        pass
    for folder, condition in zip(folders, wanted, strict=True):
        sensor = config.source.model_copy(update={"sensor": condition.name})
        from_sensor = config.model_copy(update={"source": sensor})
        ingest(from_sensor, source=str(folder), captured_at=_TAKEN)
    preprocess(config)


@dataclass(frozen=True)
class Probes:
    """Everything known of one modality under one condition; nobody was trained on.

    Attributes:
        window: probes, compared with what is enrolled.
        rejected: bool, (N,); which of their claims the recogniser rejects.
        captured: all that could be acquired, those that are enrolled among them.
        attempts: all captures, acquired or not.
        keys: of each of `window`, `captured` and `attempts` the rows' `subject impression`.
    """

    window: Window
    rejected: BoolArray
    captured: Acquired
    attempts: Attempts
    keys: tuple[pa.StringArray, pa.StringArray, pa.StringArray]

    def span(self, captures: StrArray, compared: StrArray, weight: float = 1.0) -> Span:
        """What came, each row of this weight.

        Args:
            captures: keys of the captures.
            compared: keys of those among them whose identity is enrolled.
            weight: above 0.
        """
        probe = _among(self.keys[0], compared)
        refused = self.rejected[probe]
        probes = _weighed(self.window.take(probe), weight)
        labels = {name: getattr(probes, name) for name in _LABELS}
        return Span(
            probes=probes.take(~refused),
            attempts=_weighed(self.attempts.take(_among(self.keys[2], captures)), weight),
            acquired=_weighed(self.captured.take(_among(self.keys[1], captures)), weight),
            claims=Attempts(**labels, failed=refused.astype(np.float64)),
        )


def _among(keys: pa.StringArray, wanted: StrArray) -> BoolArray:
    """Which rows have one of these keys; a day asks dozens of times, and numpy would sort them."""
    return np.asarray(pc.is_in(keys, value_set=pa.array(wanted.tolist(), pa.string())))


_LABELS = [field.name for field in fields(Labelled)]
Rows = TypeVar("Rows", bound=Labelled)


def _weighed(rows: Rows, weight: float) -> Rows:
    return replace(rows, weight=np.full(len(rows), weight))


def keys(subject: Sequence[str] | StrArray, impression: Iterable[int]) -> pa.StringArray:
    """`subject impression` of each row."""
    found = [f"{s} {i}" for s, i in zip(subject, impression, strict=True)]
    return pa.array(found, pa.string())


def each_of(subjects: StrArray, impressions: Sequence[int]) -> StrArray:
    """Keys of these impressions of all these subjects."""
    found = [f"{s} {i}" for s in subjects.tolist() for i in impressions]
    return np.array(found, dtype=np.str_)


Pool = Mapping[tuple[Modality, str], Probes]


class SharedPool(dict[tuple[Modality, str], Probes]):
    """A pool kept in a file, so that processes beside each other are sent where it is, no more."""

    def __init__(self, pool: Pool, path: Path) -> None:
        super().__init__(pool)
        self.path = path
        path.write_bytes(pickle.dumps(dict(pool)))

    def __reduce__(self) -> tuple[Callable[[Path], Pool], tuple[Path]]:
        return (_read, (self.path,))


@lru_cache(maxsize=1)
def _read(path: Path) -> Pool:
    found: Pool = pickle.loads(path.read_bytes())
    return found


def score_pool(config: Config, recogniser: Recogniser, kept: Path) -> Pool:
    """Compare everything in the store with what is enrolled from the clean pool.

    Args:
        config: names the store.
        recogniser: whose scores.
        kept: file that other processes read the pool from.
    """
    store = Store.of(config)
    table = store.read("captures")

    def of_modality(found: CaptureSet) -> Pool:
        return scored(recogniser, found, recogniser.embed_set(found), table)

    pool: dict[tuple[Modality, str], Probes] = {}
    with ThreadPoolExecutor() as threads:
        for part in threads.map(of_modality, load_captures(store, config).values()):
            pool |= part
    return SharedPool(pool, kept)


def scored(
    recogniser: Recogniser, captures: CaptureSet, embeddings: Float32Array, table: pa.Table
) -> Pool:
    """Probes of one modality by sensor, compared with the clean captures that are enrolled.

    Args:
        recogniser: whose scores.
        captures: all acquired ones; their impressions say which are enrolled.
        embeddings: float32, (N, D), of the same captures.
        table: rows of `captures`, acquired or not.
    """
    modality = captures.modality
    enrolled = (captures.sensor == CLEAN) & np.isin(captures.impression, ENROLLED)
    gallery, probes = np.flatnonzero(enrolled), np.flatnonzero(~enrolled)
    claims = compare_claims(recogniser, captures, embeddings, probes, gallery)
    known = np.isfinite(claims.genuine)
    of_modality = table.filter(pc.equal(table["modality"], modality.value))
    chosen = captures.select(probes[known])
    window = _window(chosen, claims, known, of_modality)
    rejected = window.genuine < recogniser.claim_threshold(modality)
    seen = Acquired(**_labels(captures), measures=_measures(captures, of_modality))
    pool = {}
    for name in np.unique(captures.sensor).tolist():
        attempts, attempted = _attempts(of_modality, name, captures)
        rows, own = chosen.sensor == name, captures.sensor == name
        of_rows = (
            keys(chosen.subject_id[rows], chosen.impression[rows]),
            keys(captures.subject_id[own], captures.impression[own]),
            attempted,
        )
        pool[modality, name] = Probes(
            window.take(rows), rejected[rows], seen.take(own), attempts, of_rows
        )
    return pool


def _window(chosen: CaptureSet, claims: Claims, known: BoolArray, captures: pa.Table) -> Window:
    return Window(
        **_labels(chosen),
        residual=claims.residual[known].astype(np.float64),
        template=(claims.embedding - claims.residual)[known].astype(np.float64),
        genuine=claims.genuine[known].astype(np.float64),
        measures=_measures(chosen, captures),
    )


def _labels(captures: CaptureSet) -> dict[str, Any]:
    return {
        "subject": captures.subject_id,
        "identity": captures.identity,
        "trained_on": np.zeros(len(captures), dtype=bool),
        "weight": np.ones(len(captures)),
    }


def _measures(chosen: CaptureSet, captures: pa.Table) -> Float64Array:
    order = {name: row for row, name in enumerate(captures["capture_id"].to_pylist())}
    rows = [order[name] for name in chosen.capture_id.tolist()]
    return measures(chosen.quality, captures.take(rows))


def _attempts(table: pa.Table, sensor: str, captures: CaptureSet) -> tuple[Attempts, StrArray]:
    rows = table.filter(pc.equal(table["sensor"], sensor))
    subjects, ids = rows["subject_id"].to_pylist(), rows["capture_id"].to_pylist()
    columns = (subjects, rows["modality"].to_pylist(), rows["position"].to_pylist())
    taken = dict(zip(captures.capture_id.tolist(), captures.impression.tolist(), strict=True))
    # Whose captures are renumbered says so in the capture set; failures are only in the table.
    numbers = zip(ids, rows["impression"].to_pylist(), strict=True)
    attempts = Attempts(
        subject=np.array(subjects, dtype=np.str_),
        identity=np.array([identity_of(*row) for row in zip(*columns, strict=True)], np.str_),
        trained_on=np.zeros(len(rows), dtype=bool),
        weight=np.ones(len(rows)),
        failed=np.array([name not in taken for name in ids], dtype=np.float64),
    )
    return attempts, keys(subjects, (taken.get(name, number) for name, number in numbers))
