"""A day's captures compared with the enrolled references, by the champion: rows of `probes`."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.capture_sets import CaptureSet, load_captures
from biometric_core.monitoring.claims import Claims, compare_claims
from biometric_core.monitoring.roles import Roles, assign_roles
from biometric_core.monitoring.scoring_model import ScoringModel, scoring_model
from biometric_core.monitoring.watched import watched_ids
from biometric_core.monitoring.windows import CURRENT, ENROLLED, REFERENCE
from biometric_core.schemas import TABLES, Float32Array, IntArray
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store

if TYPE_CHECKING:
    from biometric_core.recogniser import Recogniser

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreResult:
    """What a run of `score` found; rows that were there before count as well."""

    day: str
    model_version: str
    probes: int
    new_identities: int
    reference_probes: int


@owner_only()
def score(config: Config, *, day: date, model: ScoringModel | None = None) -> ScoreResult:
    """Score a day's watched captures with the champion; running it again adds nothing.

    A day that the champion was trained on is scored by the one before it. Embeddings of
    enrolled captures are kept as well: each is made once for a model.

    Args:
        config: names store and registry.
        day: the UTC day whose captures are the probes.
        model: that scores it; the one that serves when None.

    Raises:
        ModelError: there is no champion, or captures can't be prepared as it needs them.
        DataError: nothing has been prepared yet.
        ServiceError: MLflow can't be reached.
    """
    from biometric_core.tracking.own_preparation import prepare_for
    from biometric_core.tracking.registry import load_recogniser, require

    store = Store.of(config)
    model = model or scoring_model(config, store, day)
    recogniser, _ = load_recogniser(config, model.version)
    prepare_for(config, store, recogniser, require(config, model.version).run_id)
    sets = load_captures(store, config, prepared_by=recogniser.preprocess_version)
    counts, written = [0, 0, 0], 0
    for captures in sets.values():
        roles = _roles(store, config, model, captures, day)
        written += _score_modality(store, recogniser, model, captures, roles)
        counts[0] += len(roles.current)
        counts[1] += roles.new_identities
        counts[2] += len(roles.reference)
    result = ScoreResult(day.isoformat(), model.version, *counts)
    _log.info(
        "%s: %d probes and %d reference probes by version %s, %d rows new, %d identities enrolled",
        *(day, result.probes, result.reference_probes, model.version, written),
        result.new_identities,
    )
    return result


def _roles(
    store: Store, config: Config, model: ScoringModel, captures: CaptureSet, day: date
) -> Roles:
    known = model.known(store, captures.capture_id, captures.captured_at)
    enough = config.monitoring.min_subjects
    watched = np.isin(captures.capture_id, watched_ids(store, day))
    return assign_roles(
        captures, known, day, answered=model.answered, enough=enough, watched=watched
    )


def _score_modality(
    store: Store, recogniser: "Recogniser", model: ScoringModel, captures: CaptureSet, roles: Roles
) -> int:
    """Score what is not in the table yet; returns the number of new rows."""
    stored = _stored(store, model.version, captures)
    windows = (
        (REFERENCE, stored.missing(captures, REFERENCE, roles.reference), roles.gallery_reference),
        (CURRENT, stored.missing(captures, CURRENT, roles.current), roles.gallery_current),
    )
    probes = np.concatenate([missing for _, missing, _ in windows])
    embeddings, fresh = _embedded(recogniser, captures, roles, stored.enrolled, probes)
    tables = [_rows(ENROLLED, model.version, recogniser, captures.select(fresh), embeddings[fresh])]
    for window, missing, gallery in windows:
        if len(missing):
            claims = compare_claims(recogniser, captures, embeddings, missing, gallery)
            chosen = captures.select(missing)
            tables.append(
                _rows(window, model.version, recogniser, chosen, claims.embedding, claims)
            )
    rows = pa.concat_tables(tables)
    return store.append_new("probes", rows) if len(rows) else 0


@dataclass(frozen=True)
class _Stored:
    """What is in the table: probes as (capture, window), embeddings of enrolled captures."""

    probes: frozenset[tuple[str, str]]
    enrolled: dict[str, Float32Array]

    def missing(self, captures: CaptureSet, window: str, rows: IntArray) -> IntArray:
        """Those of the rows that are no probes of this window yet."""
        names = captures.capture_id[rows].tolist()
        new = [(name, window) not in self.probes for name in names]
        return np.asarray(rows[np.array(new, dtype=bool)], dtype=np.int64)


def _stored(store: Store, version: str, captures: CaptureSet) -> _Stored:
    chosen = (pc.field("model_version") == version) & (
        pc.field("modality") == captures.modality.value
    )
    enrolled = pc.field("window") == ENROLLED
    probes = store.read("probes", ["capture_id", "window"], chosen & ~enrolled)
    names = zip(probes["capture_id"].to_pylist(), probes["window"].to_pylist(), strict=True)
    gallery = store.read("probes", ["capture_id", "embedding"], chosen & enrolled)
    vectors = pc.list_flatten(gallery["embedding"]).to_numpy()
    by_name = vectors.reshape(len(gallery), -1) if len(gallery) else vectors
    return _Stored(
        probes=frozenset(names),
        enrolled=dict(zip(gallery["capture_id"].to_pylist(), by_name, strict=True)),
    )


def _embedded(
    recogniser: "Recogniser",
    captures: CaptureSet,
    roles: Roles,
    known: Mapping[str, Float32Array],
    probes: IntArray,
) -> tuple[Float32Array, IntArray]:
    """Embeddings (N, D) of enrolled captures and probes, else zero; the rows newly enrolled."""
    enrolled = np.union1d(roles.gallery_reference, roles.gallery_current)
    fresh = enrolled[~np.isin(captures.capture_id[enrolled], list(known))]
    todo = np.union1d(fresh, probes)
    made = recogniser.embed_set(captures.select(todo))
    embeddings = np.zeros((len(captures), made.shape[1]), dtype=np.float32)
    embeddings[todo] = made
    old = np.setdiff1d(enrolled, fresh)
    if len(old):
        embeddings[old] = [known[name] for name in captures.capture_id[old].tolist()]
    return embeddings, fresh


def _rows(
    window: str,
    version: str,
    recogniser: "Recogniser",
    captures: CaptureSet,
    embeddings: Float32Array,
    claims: Claims | None = None,
) -> pa.Table:
    none = [None] * len(captures)
    threshold = recogniser.claim_threshold(captures.modality)
    columns = {
        "capture_id": captures.capture_id,
        "model_version": np.full(len(captures), version),
        "window": np.full(len(captures), window),
        "day": captures.captured_at.astype("datetime64[D]"),
        "subject_id": captures.subject_id,
        "modality": np.full(len(captures), captures.modality.value),
        "position": captures.position,
        "sensor": captures.sensor,
        "embedding": pa.array(list(embeddings), pa.list_(pa.float32())),
        "residual": list(_vectors(claims.residual)) if claims else none,
        "genuine_score": pa.array(claims.genuine, from_pandas=True) if claims else none,
        "top_impostor_score": pa.array(claims.impostor, from_pandas=True) if claims else none,
        "quality": captures.quality,
        "trained_on": np.isin(captures.subject_id, recogniser.subjects),
        "threshold": np.full(len(captures), threshold) if claims else none,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in TABLES["probes"]]
    return pa.Table.from_arrays(arrays, schema=TABLES["probes"])


def _vectors(residuals: Float32Array) -> Iterator[Float32Array | None]:
    for residual in residuals:
        yield residual if np.isfinite(residual).all() else None
