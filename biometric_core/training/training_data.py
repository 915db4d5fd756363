"""What a model is fitted on, and the digest that names exactly these data."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core import provenance
from biometric_core.config import Config
from biometric_core.data.capture_sets import (
    CaptureSet,
    from_columns,
    load_captures,
    taken_before,
)
from biometric_core.data.splits import training_rows
from biometric_core.errors import DataError
from biometric_core.history.changes import Change
from biometric_core.history.rejections import rejected_claims
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.schemas import BoolArray, Modality, Split, utc
from biometric_core.storage.store import Store
from biometric_core.training.emphasis import Emphasis


@dataclass(frozen=True)
class TrainingData:
    """What a model is fitted on, and the names of exactly these data.

    Attributes:
        train: captures of training subjects, less the reserved ones.
        validation: captures of validation subjects, for early stopping and calibration.
        as_of: captures taken before this time took part.
        features_version: Delta version of the feature table.
        captures_version: Delta version of the capture table.
        emphasis: which captures are weighted, and how; None where all count alike.
        probes_version: Delta version of the probes, which say whose claim was rejected; None where
            no day had been scored.
        rejected: captures that were left out because their claim was rejected.
    """

    train: dict[Modality, CaptureSet]
    validation: dict[Modality, CaptureSet]
    as_of: datetime
    features_version: int
    captures_version: int
    emphasis: Emphasis | None = None
    probes_version: int | None = None
    rejected: int = 0

    @property
    def subjects(self) -> int:
        """Number of training subjects."""
        return len({name for found in self.train.values() for name in found.subject_id.tolist()})

    @property
    def captures(self) -> int:
        """Number of captures to train on."""
        return sum(len(np.unique(found.capture_id)) for found in self.train.values())


@dataclass(frozen=True)
class Past:
    """The data of an earlier run: versions of the tables, the end of the captures, weights."""

    features: int
    captures: int
    as_of: datetime
    emphasis: Emphasis | None
    probes: int | None = None

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Self:
        """What the tags of a training run say; `KeyError` or `ValueError` where they don't."""
        probes = tags.get("probes_version")  # none before the first day, nor by earlier versions
        return cls(
            int(tags["data_version"]),
            int(tags["captures_version"]),
            datetime.fromisoformat(tags["as_of"]),
            Emphasis.from_tags(tags),
            None if probes is None else int(probes),
        )


def fitted_rows(captures: CaptureSet, rejected: Collection[str]) -> BoolArray:
    """Captures a model is fitted on, bool (N,): `training_rows` less rejected claims.

    What is reserved doesn't depend on claims: else a capture would be reserved for one model and
    trained on by the next.

    Args:
        captures: of one modality.
        rejected: capture ids, as `rejected_claims` gives them.
    """
    return training_rows(captures) & ~np.isin(captures.capture_id, list(rejected))


def load_training_data(
    config: Config,
    as_of: datetime | None = None,
    past: Past | None = None,
    change: Change | None = None,
) -> TrainingData:
    """Read the captures a model may see; test subjects are left out here and never come near it.

    Nor does a rejected claim, after a drift either: it may be an impostor's.

    Args:
        config: names the store.
        as_of: only captures taken before this time.
        past: the data of an earlier run, exactly those.
        change: captures that a changed sensor took count `retraining.new_weight` times.

    Raises:
        DataError: nothing is prepared, too few subjects, or the run's table versions are gone.
    """
    store = Store.of(config)
    features, captures, probes = (store.version(n) for n in ("features", "captures", "probes"))
    emphasis = Emphasis(change, config.retraining.new_weight) if change else None
    if past is not None:
        features, captures, probes = past.features, past.captures, past.probes
        as_of, emphasis = past.as_of, past.emphasis
    sets = load_captures(store, config, as_of=as_of, version=features, captures_version=captures)
    if features is None or captures is None or not sets:
        raise DataError(f"no prepared captures before {as_of}: run `biometric ingest`, preprocess")
    refused = frozenset() if probes is None else rejected_claims(store, probes)
    chosen = _chosen({m: found.select(fitted_rows(found, refused)) for m, found in sets.items()})
    data = TrainingData(
        emphasis.applied(chosen, config.training.seed) if emphasis else chosen,
        _chosen({m: found.select(_validation_rows(found, refused)) for m, found in sets.items()}),
        utc(as_of or _end(sets)),
        *(features, captures, emphasis, probes),
        sum(_left_out(found, refused) for found in sets.values()),
    )
    _require_subjects(data, config.training.min_subjects)
    return data


def _validation_rows(captures: CaptureSet, rejected: Collection[str]) -> BoolArray:
    own = captures.split == Split.VALIDATION
    return np.asarray(own & ~np.isin(captures.capture_id, list(rejected)))


def _left_out(captures: CaptureSet, rejected: Collection[str]) -> int:
    """Captures that take no part because their claim was rejected."""
    with_them = training_rows(captures) | (captures.split == Split.VALIDATION)
    return int(np.count_nonzero(with_them & np.isin(captures.capture_id, list(rejected))))


def count_trainable(
    store: Store, config: Config, change: Change, as_of: datetime
) -> tuple[int, int]:
    """How many captures by what has changed a training on captures before `as_of` would fit.

    And how many more it would, were their claims not rejected.

    The rows are chosen as for a training (`fitted_rows`). No pixel is read, and none is copied
    to this machine.
    """
    prepared = pc.field("preprocess_version") == preprocess_version(config)
    acquired = prepared & pc.field("failure").is_null()
    names = store.read("features", ["capture_id"], acquired)["capture_id"].combine_chunks()
    captures = store.read("captures", filter=taken_before(as_of))
    captures = captures.filter(pc.is_in(captures["capture_id"], names))
    refused, found, rejected = rejected_claims(store), 0, 0
    for modality in Modality:
        rows = captures.filter(pc.equal(captures["modality"], modality.value))
        known = _without_pixels(modality, rows)
        among, fitted = change.changed(known), fitted_rows(known, refused)
        found += int(np.count_nonzero(among & fitted))
        rejected += int(np.count_nonzero(among & training_rows(known) & ~fitted))
    return found, rejected


def _without_pixels(modality: Modality, rows: pa.Table) -> CaptureSet:
    nothing = np.zeros((len(rows), 0, 0), np.uint8)
    quality = np.zeros(len(rows), np.float32)
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    columns["captured_at"] = rows["captured_at"].to_numpy()
    return from_columns(modality, columns, nothing, nothing, quality)


def _end(sets: Mapping[Modality, CaptureSet]) -> datetime:
    """The first moment after all captures."""
    last = max(found.captured_at.max() for found in sets.values())
    end: datetime = (last + np.timedelta64(1, "us")).astype(datetime)
    return end


def _require_subjects(data: TrainingData, least: int) -> None:
    if data.subjects < least:
        less = f" ({data.rejected} captures whose claim was rejected left out)"
        raise DataError(
            f"{data.subjects} training subjects with usable captures{less if data.rejected else ''}"
            f", training.min_subjects is {least}: ingest more people"
        )


def _chosen(sets: dict[Modality, CaptureSet]) -> dict[Modality, CaptureSet]:
    return {modality: found for modality, found in sets.items() if len(found)}


def training_digest(data: TrainingData, config: Config) -> str:
    """SHA-256 (first 16 hex digits) of all that decides the model: captures, settings, code."""
    from biometric_core.training.trainer import NOT_FITTED

    settings = config.training.model_dump(mode="json", exclude=set(NOT_FITTED))
    facts = [preprocess_version(config), settings, provenance.code_digest()]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for role, sets in (("train", data.train), ("validation", data.validation)):
        for modality in sorted(sets):
            digest.update(f"\n{role} {modality}\n".encode())
            digest.update("\n".join(sets[modality].capture_id.tolist()).encode())
    return digest.hexdigest()[:16]
