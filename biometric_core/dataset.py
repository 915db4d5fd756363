"""Prepared captures as arrays: from the store, memory-mapped, or straight from a source."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.errors import DataError
from biometric_core.preprocess import preprocess_version
from biometric_core.schemas import Float32Array, Modality, UInt8Array, identity_of
from biometric_core.store import Store

StrArray = npt.NDArray[np.str_]
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
        images, masks: uint8, (N, H, W); read-only when memory-mapped.
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
    images: UInt8Array
    masks: UInt8Array
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
        columns = (f.name for f in fields(self) if f.name != "modality")
        return CaptureSet(self.modality, **{name: getattr(self, name)[rows] for name in columns})


def load_captures(
    store: Store,
    config: Config,
    *,
    as_of: datetime | None = None,
    version: int | None = None,
) -> dict[Modality, CaptureSet]:
    """All acquired captures of the current preprocessing, by modality.

    Args:
        store: where the tables are.
        config: decides the preprocessing version.
        as_of: only captures taken before this time.
        version: Delta version of the feature table; the latest when None.

    Raises:
        DataError: nothing has been prepared yet.
    """
    version = store.version("features") if version is None else version
    if version is None:
        raise DataError(
            f"no prepared captures in {store.root}: run `biometric ingest`, then "
            "`biometric preprocess`"
        )
    columns = [*_TEXT, "modality", "impression", "captured_at"]
    captures = store.read("captures", columns, taken_before(as_of))
    sets = {}
    for modality in Modality:
        rows = captures.filter(pc.equal(captures["modality"], modality.value))
        features = _materialised(store, preprocess_version(config), modality, version)
        if features.num_rows and rows.num_rows:
            sets[modality] = _joined(modality, rows, features)
    return {modality: found for modality, found in sets.items() if len(found)}


def taken_before(as_of: datetime | None) -> pc.Expression | None:
    """A filter on the capture table: captures taken before this time; None for all."""
    return pc.field("captured_at") < _utc(as_of) if as_of else None


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
    order = np.argsort(np.array(columns["capture_id"], dtype=np.str_), kind="stable")
    columns = {"sex": [None] * len(order), **columns}
    return CaptureSet(
        modality,
        **{name: _text(columns[name])[order] for name in _TEXT},
        impression=np.array(columns["impression"], dtype=np.int32)[order],
        captured_at=np.array(columns["captured_at"], dtype="datetime64[us]")[order],
        images=images[order],
        masks=masks[order],
        quality=quality[order],
    )


def _text(values: Sequence[str | None]) -> StrArray:
    return np.array(["" if value is None else value for value in values], dtype=np.str_)


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _joined(modality: Modality, captures: pa.Table, features: pa.Table) -> CaptureSet:
    ids = np.array(features["capture_id"].to_pylist(), dtype=np.str_)
    captures = captures.sort_by("capture_id")
    wanted = np.array(captures["capture_id"].to_pylist(), dtype=np.str_)
    rows = np.searchsorted(ids, wanted)
    found = (rows < len(ids)) & (ids[np.minimum(rows, len(ids) - 1)] == wanted)
    captures, rows = captures.filter(pa.array(found)), rows[found]
    # A slice of the memory map stays a view; an index would copy every pixel.
    whole = len(rows) == len(ids)
    images, masks = (_pixels(features, name) for name in ("image", "mask"))
    return CaptureSet(
        modality,
        **{name: _text(captures[name].to_pylist()) for name in _TEXT},
        impression=captures["impression"].to_numpy(),
        captured_at=captures["captured_at"].to_numpy().astype("datetime64[us]"),
        images=images if whole else images[rows],
        masks=masks if whole else masks[rows],
        quality=features["quality"].to_numpy()[rows],
    )


def _pixels(features: pa.Table, column: str) -> UInt8Array:
    height, width = features["height"][0].as_py(), features["width"][0].as_py()
    chunk = features[column].chunk(0)
    start = chunk.offset * height * width
    pixels = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
    return pixels[start : start + len(chunk) * height * width].reshape(-1, height, width)


def _materialised(store: Store, prepared_by: str, modality: Modality, version: int) -> pa.Table:
    """The features of one modality and table version, memory-mapped; built on first use."""
    name = f"{modality}-{prepared_by}"
    path = store.path("cache", f"{name}-v{version}.arrow")
    if not path.exists():
        _materialise(store, prepared_by, modality, version, path)
        for stale in path.parent.glob(f"{name}-v*.arrow"):
            if stale != path:
                stale.unlink(missing_ok=True)
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _materialise(
    store: Store, prepared_by: str, modality: Modality, version: int, path: Path
) -> None:
    acquired = (
        (pc.field("preprocess_version") == prepared_by)
        & (pc.field("modality") == modality.value)
        & pc.field("failure").is_null()
    )
    columns = ["capture_id", "height", "width", "image", "mask", "quality"]
    table = store.read("features", columns, acquired, version=version).sort_by("capture_id")
    if table.num_rows:
        size = table["height"][0].as_py() * table["width"][0].as_py()
        for column in ("image", "mask"):
            fixed = table[column].cast(pa.binary(size))
            table = table.set_column(table.column_names.index(column), column, fixed)
    table = table.combine_chunks()
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".")
    os.close(handle)
    with pa.OSFile(aside, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        # One record batch: the pixels of all rows are then one buffer, one array, no copy.
        writer.write_table(table, max_chunksize=max(1, table.num_rows))
    Path(aside).replace(path)
