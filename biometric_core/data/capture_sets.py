"""Prepared captures as arrays: from the store, memory-mapped, or straight from a source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.memory_map import Origin
from biometric_core.data.pixels import Pixels, open_materialised
from biometric_core.errors import DataError
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.schemas import Float32Array, Modality, StrArray, UInt8Array, identity_of, utc
from biometric_core.storage.store import Store

Images = UInt8Array | Pixels
_TEXT = ("capture_id", "subject_id", "position", "sensor", "split", "sex")


@dataclass(frozen=True)
class CaptureSet:
    """Prepared captures of one modality; rows are aligned and sorted by capture id.

    Attributes:
        modality: iris or fingerprint.
        capture_id, subject_id, position, sensor, split: str, (N,).
        sex: str, (N,), "M" or "F" where the capture's source says it, else "".
        impression: int32, (N,).
        captured_at: datetime64[us], UTC, (N,).
        images, masks: uint8, (N, H, W); those of a store stay on the disk (`Pixels`).
        quality: float32, (N,), in [0, 1].
    """

    modality: Modality
    capture_id: StrArray
    subject_id: StrArray
    position: StrArray
    sensor: StrArray
    split: StrArray
    sex: StrArray
    impression: npt.NDArray[np.int32]
    captured_at: npt.NDArray[np.datetime64]
    images: Images
    masks: Images
    quality: Float32Array

    def __len__(self) -> int:
        return len(self.capture_id)

    @property
    def identity(self) -> StrArray:
        """The eye or finger of each row, str, (N,)."""
        pairs = zip(self.subject_id, self.position, strict=True)
        return np.array([identity_of(s, self.modality, p) for s, p in pairs], dtype=np.str_)

    def select(self, rows: npt.NDArray[Any]) -> "CaptureSet":
        """The rows of a boolean mask or an index, in that order."""
        chosen: dict[str, Any] = {}
        for name in (f.name for f in fields(self) if f.name != "modality"):
            values = getattr(self, name)
            chosen[name] = values.select(rows) if isinstance(values, Pixels) else values[rows]
        return CaptureSet(self.modality, **chosen)


Sets = Mapping[Modality, CaptureSet]


def load_captures(
    store: Store,
    config: Config,
    *,
    as_of: datetime | None = None,
    version: int | None = None,
    captures_version: int | None = None,
    prepared_by: str | None = None,
) -> dict[Modality, CaptureSet]:
    """All acquired captures of one preprocessing, by modality.

    Args:
        store: where the tables are.
        config: names the caches, and the preprocessing version where nobody does.
        as_of: only captures taken before this time.
        version: Delta version of the feature table; the latest when None.
        captures_version: Delta version of the capture table; the latest when None.
        prepared_by: preprocessing version, a model's own; that of `config` when None.

    Raises:
        DataError: nothing has been prepared yet, or a version doesn't exist (any more).
        StorageError: no space for the memory-mapped file.
    """
    version = store.version("features") if version is None else version
    if version is None:
        raise DataError(
            f"no prepared captures in {store.root}: run `biometric ingest`, then "
            "`biometric preprocess`"
        )
    columns = [*_TEXT, "modality", "impression", "captured_at"]
    captures = store.read("captures", columns, taken_before(as_of), captures_version)
    prepared_by = prepared_by or preprocess_version(config)
    sets = {}
    for modality in Modality:
        rows = captures.filter(pc.equal(captures["modality"], modality.value))
        origin = Origin(store.root, config.storage.work, prepared_by, modality, version)
        features = open_materialised(origin) if rows.num_rows else rows
        if features.num_rows:
            sets[modality] = _joined(rows, features, origin)
    return {modality: found for modality, found in sets.items() if len(found)}


def taken_before(as_of: datetime | None) -> pc.Expression | None:
    """A filter on the capture table: captures taken before this time; None for all."""
    return pc.field("captured_at") < utc(as_of) if as_of else None


def from_columns(
    modality: Modality,
    columns: Mapping[str, Sequence[Any]],
    images: UInt8Array,
    masks: UInt8Array,
    quality: Float32Array,
) -> CaptureSet:
    """A capture set from plain columns, sorted by capture id (for data outside the store).

    The column `sex` may be missing, or None in places.
    """
    order = np.argsort(str_array(columns["capture_id"]), kind="stable")
    columns = {"sex": [None] * len(order), **columns}
    return CaptureSet(
        modality,
        **{name: str_array(columns[name])[order] for name in _TEXT},
        impression=np.array(columns["impression"], dtype=np.int32)[order],
        captured_at=np.array(columns["captured_at"], dtype="datetime64[us]")[order],
        images=images[order],
        masks=masks[order],
        quality=quality[order],
    )


def str_array(values: Sequence[str | None]) -> StrArray:
    """A column of text as an array; None is the empty text."""
    return np.array(["" if value is None else value for value in values], dtype=np.str_)


def _joined(captures: pa.Table, features: pa.Table, origin: Origin) -> CaptureSet:
    stored = str_array(features["capture_id"].to_pylist())
    order = np.argsort(stored, kind="stable")
    captures = captures.sort_by("capture_id")
    wanted = str_array(captures["capture_id"].to_pylist())
    place = np.minimum(np.searchsorted(stored, wanted, sorter=order), len(stored) - 1)
    rows = order[place]
    found = stored[rows] == wanted
    captures, rows = captures.filter(pa.array(found)), rows[found]
    return CaptureSet(
        origin.modality,
        **{name: str_array(captures[name].to_pylist()) for name in _TEXT},
        impression=captures["impression"].to_numpy(),
        captured_at=captures["captured_at"].to_numpy().astype("datetime64[us]"),
        images=Pixels(origin, "image", rows),
        masks=Pixels(origin, "mask", rows),
        quality=features["quality"].to_numpy()[rows],
    )
