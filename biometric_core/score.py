"""A day's captures compared with the enrolled references, by the champion: rows of `probes`.

Two windows are scored the same way, so that drift statistics compare like with like:

* `reference`: of each identity one capture that was there when the champion was trained, but that
  it was not trained on: the reserved captures of training subjects, the latest of everybody else;
* `current`: the day's captures.

An identity is enrolled with its earliest captures, the same for both windows and at most
`ENROLMENT_CAPTURES`: a template of more captures scores higher, which is no news about the sensor.
Somebody new is enrolled with the first captures of the day and probed with the others.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.dataset import CaptureSet, load_captures
from biometric_core.preprocess import preprocess_version
from biometric_core.schemas import TABLES, Float32Array, Modality, Split
from biometric_core.splits import reserved
from biometric_core.store import Store

if TYPE_CHECKING:
    from biometric_core.recogniser import Recogniser
    from biometric_core.tracking.registry import Version

_log = logging.getLogger(__name__)
ENROLMENT_CAPTURES = 2
REFERENCE = "reference"
CURRENT = "current"
# Scores of this many probes against a whole gallery at a time: bounds the memory, not the result.
_PROBES_AT_A_TIME = 1024

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScoreResult:
    """What a run of `score` wrote; `failures` are the day's failures to acquire."""

    day: str
    model_version: str
    probes: int
    new_identities: int
    reference_probes: int
    failures: int


@dataclass(frozen=True)
class Roles:
    """What each capture of one modality is used for; row numbers into the capture set.

    Attributes:
        reference: int64; probes of the reference window.
        gallery_reference: int64; enrolled captures the reference is compared with.
        current: int64; the day's probes.
        gallery_current: int64; enrolled captures the day is compared with.
        new_identities: how many identities were enrolled from the day itself.
    """

    reference: IntArray
    gallery_reference: IntArray
    current: IntArray
    gallery_current: IntArray
    new_identities: int


def score(config: Config, *, day: date) -> ScoreResult:
    """Score a day with the champion; running it again adds nothing.

    A day the champion was trained on can't be judged by it: of such a day nothing is scored.

    Args:
        config: names store and registry.
        day: the UTC day whose captures are the probes.

    Raises:
        ModelError: there is no champion.
        DataError: nothing has been prepared yet.
        ServiceError: MLflow can't be reached.
    """
    from biometric_core.tracking.registry import load_recogniser, require

    store = Store.of(config)
    sets = load_captures(store, config)
    recogniser, version = load_recogniser(config, "champion")
    champion = require(config, version)
    tables, new_identities = [], 0
    for modality, captures in sets.items():
        roles = assign_roles(captures, known_to(champion, store, captures), day)
        new_identities += roles.new_identities
        tables += _score_modality(recogniser, version, modality, captures, roles)
    written = _append(store, tables)
    failures = sum(count.failed for count in acquisition(store, config, day))
    result = ScoreResult(
        day=day.isoformat(),
        model_version=version,
        probes=sum(len(t) for t in tables if t["window"][0].as_py() == CURRENT),
        new_identities=new_identities,
        reference_probes=sum(len(t) for t in tables if t["window"][0].as_py() == REFERENCE),
        failures=failures,
    )
    _log.info(
        "%s: %d probes and %d reference probes by version %s, %d rows new, %d identities enrolled",
        *(day, result.probes, result.reference_probes, version, written, new_identities),
    )
    return result


def known_to(champion: "Version", store: Store, captures: CaptureSet) -> BoolArray:
    """Captures that were there when a model was trained, bool (N,), from its registry tags."""
    known: BoolArray = np.ones(len(captures), dtype=bool)
    as_of, data_version = champion.tags.get("as_of"), champion.tags.get("data_version", "")
    if as_of:
        known &= captures.captured_at < _utc64(datetime.fromisoformat(as_of))
    if data_version.isdigit():
        features = store.read("features", ["capture_id"], version=int(data_version))
        known &= np.isin(captures.capture_id, features["capture_id"].to_pylist())
    return known


def assign_roles(captures: CaptureSet, known: BoolArray, day: date) -> Roles:
    """Decide what each capture of one modality is used for.

    Enrolment of an identity that was there when the model was trained is closed: captures that came
    later would give the day better templates than the reference had.

    Args:
        captures: all acquired captures of one modality.
        known: bool, (N,); captured before the model was trained.
        day: the UTC day to score.
    """
    start, end = (_utc64(datetime(d.year, d.month, d.day)) for d in (day, day + timedelta(days=1)))
    identity = captures.identity
    order = np.lexsort((captures.capture_id, captures.impression, captures.captured_at))
    reference = _held_out(captures, known, order)
    gallery = _enrolled(identity, order, known & ~reference)
    later = ~known & ~np.isin(identity, identity[gallery])
    earlier = later & (captures.captured_at < start)
    enrolled = gallery | _enrolled(identity, order, earlier)
    today = ~known & (captures.captured_at >= start) & (captures.captured_at < end)
    fresh = today & ~np.isin(identity, identity[enrolled])
    first = _enrolled(identity, order, fresh, spare=1)  # at least one capture stays a probe
    return Roles(
        reference=np.flatnonzero(reference),
        gallery_reference=np.flatnonzero(gallery),
        current=np.flatnonzero(today & ~first),
        gallery_current=np.flatnonzero(enrolled | first),
        new_identities=len(np.unique(identity[first])),
    )


def _enrolled(
    identity: npt.NDArray[np.str_], order: IntArray, among: BoolArray, spare: int = 0
) -> BoolArray:
    """The captures that make the templates, bool (N,): the earliest of each identity.

    Every template is made of `ENROLMENT_CAPTURES`; an identity with fewer (and `spare` more) has
    none. One of fewer captures lies further from its probes: people with smaller templates in one
    window than in the other would look like drift (measured: an alarm every day).
    """
    _, where, counts = np.unique(identity[among], return_inverse=True, return_counts=True)
    count = np.zeros(len(identity), dtype=np.int64)
    count[among] = counts[where]
    enough = count >= ENROLMENT_CAPTURES + spare
    return among & enough & (_rank(identity, order, among) < ENROLMENT_CAPTURES)


def _held_out(captures: CaptureSet, known: BoolArray, order: IntArray) -> BoolArray:
    """The capture of each identity that probes the reference, bool (N,)."""
    rows = np.flatnonzero(known)
    held_out = np.zeros(len(captures), dtype=bool)
    held_out[rows] = reserved(captures.select(rows))
    others = known & (captures.split != Split.TRAIN.value)
    identity = captures.identity
    _, where, counts = np.unique(identity[others], return_inverse=True, return_counts=True)
    count = np.zeros(len(captures), dtype=np.int64)
    count[others] = counts[where]
    held_out |= others & (count > 1) & (_rank(identity, order, others) == count - 1)
    return held_out


def _rank(identity: npt.NDArray[np.str_], order: IntArray, among: BoolArray) -> IntArray:
    """Place (0 is the first in `order`) of each row among its identity's rows of `among`, (N,)."""
    ranks = np.full(len(identity), len(identity), dtype=np.int64)
    rows = order[among[order]]
    _, groups = np.unique(identity[rows], return_inverse=True)
    by_group = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    ranks[rows[by_group]] = np.arange(len(rows)) - starts
    return ranks


def _score_modality(
    recogniser: "Recogniser", version: str, modality: Modality, captures: CaptureSet, roles: Roles
) -> list[pa.Table]:
    """Rows of both windows, one table each where there are any."""
    used = np.unique(np.concatenate([v for v in vars(roles).values() if isinstance(v, np.ndarray)]))
    embedded = recogniser.embed(modality, captures.images[used], captures.masks[used])
    embeddings = np.zeros((len(captures), embedded.shape[1]), dtype=np.float32)
    embeddings[used] = embedded
    windows = [
        (REFERENCE, roles.reference, roles.gallery_reference),
        (CURRENT, roles.current, roles.gallery_current),
    ]
    tables = []
    for window, probes, gallery in windows:
        if len(probes):
            templates = _Templates.of(captures.identity[gallery], embeddings[gallery])
            claimed = captures.identity[probes]
            scores = templates.compare(recogniser, modality, claimed, embeddings[probes])
            tables.append(_rows(window, version, recogniser, captures.select(probes), scores))
    return tables


@dataclass(frozen=True)
class _Scores:
    """Scores of probes (N,); NaN where there is nothing to compare with."""

    embedding: Float32Array
    residual: Float32Array
    genuine: Float32Array
    impostor: Float32Array


@dataclass(frozen=True)
class _Templates:
    """Enrolled identities: the normalised mean of their captures' embeddings, (M, D)."""

    identity: npt.NDArray[np.str_]
    mean: Float32Array

    @classmethod
    def of(cls, identity: npt.NDArray[np.str_], embeddings: Float32Array) -> "_Templates":
        names, where = np.unique(identity, return_inverse=True)
        total = np.zeros((len(names), embeddings.shape[1]), dtype=np.float64)
        np.add.at(total, where, embeddings)
        length = np.maximum(np.linalg.norm(total, axis=1, keepdims=True), np.finfo(np.float32).eps)
        return cls(names, (total / length).astype(np.float32))

    def compare(
        self,
        recogniser: "Recogniser",
        modality: Modality,
        claimed: npt.NDArray[np.str_],
        embeddings: Float32Array,
    ) -> _Scores:
        """Compare probes with the template they claim, and with all others."""
        genuine = np.full(len(claimed), np.nan, dtype=np.float32)
        impostor = genuine.copy()
        own = np.searchsorted(self.identity, claimed)
        own[own == len(self.identity)] = 0
        enrolled = self.identity[own] == claimed if len(self.identity) else np.zeros(len(own), bool)
        for start in range(0, len(claimed) if len(self.identity) else 0, _PROBES_AT_A_TIME):
            rows = np.arange(start, min(start + _PROBES_AT_A_TIME, len(claimed)))
            scores = recogniser.compare(modality, embeddings[rows], self.mean).copy()
            mated = rows[enrolled[rows]]
            genuine[mated] = scores[mated - start, own[mated]]
            scores[mated - start, own[mated]] = -np.inf
            best = scores.max(axis=1)
            impostor[rows] = np.where(np.isfinite(best), best, np.nan)
        residual = np.full_like(embeddings, np.nan)
        residual[enrolled] = embeddings[enrolled] - self.mean[own[enrolled]]
        return _Scores(embeddings, residual, genuine, impostor)


def _rows(
    window: str, version: str, recogniser: "Recogniser", probes: CaptureSet, scores: _Scores
) -> pa.Table:
    columns = {
        "capture_id": probes.capture_id,
        "model_version": np.full(len(probes), version),
        "window": np.full(len(probes), window),
        "day": probes.captured_at.astype("datetime64[D]"),
        "subject_id": probes.subject_id,
        "modality": np.full(len(probes), probes.modality.value),
        "position": probes.position,
        "sensor": probes.sensor,
        "embedding": pa.array(list(scores.embedding)),
        "residual": pa.array([r if np.isfinite(r).all() else None for r in scores.residual]),
        "genuine_score": pa.array(scores.genuine, from_pandas=True),
        "top_impostor_score": pa.array(scores.impostor, from_pandas=True),
        "quality": probes.quality,
        "trained_on": np.isin(probes.subject_id, recogniser.subjects),
    }
    return pa.table(columns).cast(TABLES["probes"])


def _append(store: Store, tables: list[pa.Table]) -> int:
    return store.append_new("probes", pa.concat_tables(tables)) if tables else 0


@dataclass(frozen=True)
class Acquisition:
    """Captures of a day of one modality and sensor, and how many could not be acquired."""

    modality: str
    sensor: str
    captures: int
    failed: int


def acquisition(store: Store, config: Config, day: date) -> list[Acquisition]:
    """Count the day's failures to acquire, by modality and sensor (ISO/IEC 19795-1: FTA)."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    taken, end = pc.field("captured_at"), start + timedelta(days=1)
    during = (taken >= start) & (taken < end)
    captures = store.read("captures", ["capture_id", "modality", "sensor"], during)
    prepared = pc.field("preprocess_version") == preprocess_version(config)
    failed = store.read("features", ["capture_id"], prepared & pc.field("failure").is_valid())
    is_failed = pc.is_in(captures["capture_id"], value_set=failed["capture_id"].combine_chunks())
    counted = (
        captures.append_column("failed", is_failed.cast(pa.int64()))
        .group_by(["modality", "sensor"])
        .aggregate([("failed", "sum"), ("failed", "count")])
        .sort_by([("modality", "ascending"), ("sensor", "ascending")])
    )
    return [
        Acquisition(row["modality"], row["sensor"], row["failed_count"], row["failed_sum"])
        for row in counted.to_pylist()
    ]


def _utc64(time: datetime) -> np.datetime64:
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return np.datetime64(aware.replace(tzinfo=None), "us")
