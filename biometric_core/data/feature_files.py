"""A worker's part of preprocessing: captures in, one Parquet file of features out.

The file lies in the folder of the feature table but isn't part of it until the driver commits it.
Its name is a digest of what it holds: a task that is done again meets, or replaces, its own file.
"""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from biometric_core.config import Config, Ingest, Preprocess
from biometric_core.errors import StorageError
from biometric_core.imaging.earlier_code import EarlierCode
from biometric_core.imaging.earlier_reading import READING
from biometric_core.imaging.preparation import (
    PreparedBatch,
    prepare_batch,
    preprocess_version,
)
from biometric_core.parallel.thread_limits import one_thread
from biometric_core.schemas import TABLES, Modality, UInt8Array
from biometric_core.sources.sensor_folders import sensor_bits
from biometric_core.storage.delta import PartFile
from biometric_core.storage.files import Files

FOLDER = "tables/features"
_PIXELS = ["image", "mask"]
_NAMED = ["preprocess_version", "modality", "failure"]
# Pixels don't compress by much and cost time; masks are almost nothing once compressed.
_COMPRESSION = dict.fromkeys(TABLES["features"].names, "zstd") | {"image": "none"}


@dataclass(frozen=True)
class Chunk:
    """One task.

    Attributes:
        captures: capture id and path under the storage root of each, sorted by id.
        modality: of all.
        settings: decides the shapes.
        limits: bounds on hostile input.
        version: the preprocessing version.
        root: the storage root.
        bits: that the sensor of each capture fills of 16; unknown when empty.
        earlier: the code that makes this version; that of this package when None.
    """

    captures: tuple[tuple[str, str], ...]
    modality: Modality
    settings: Preprocess
    limits: Ingest
    version: str
    root: str
    bits: tuple[int | None, ...] = ()
    earlier: EarlierCode | None = None

    @property
    def name(self) -> str:
        """The same for the same captures and version, in every run."""
        ids = "".join([self.version, READING, *(capture_id for capture_id, _ in self.captures)])
        return f"part-{hashlib.sha256(ids.encode()).hexdigest()[:32]}.parquet"


@dataclass(frozen=True)
class Prepared:
    """A chunk that is done: the file, and its failures to acquire by reason."""

    part: PartFile
    failures: dict[str, int]


def prepare_chunk(chunk: Chunk) -> Prepared:
    """Prepare one chunk, unless an earlier run left its file (a worker's task).

    Raises:
        StorageError: the disk is full or read-only, or images can't be read just now.
    """
    files = Files(chunk.root)
    uri = f"{FOLDER}/{chunk.name}"
    known = _known(files, uri)
    if known is not None:
        return _prepared(chunk, *known)
    table = fresh_rows(chunk)
    data = _parquet(table)
    files.write(uri, data)
    return _prepared(chunk, len(data), table.drop_columns(_PIXELS))


def fresh_rows(chunk: Chunk) -> pa.Table:
    """Rows of `features` of one chunk, whatever is there (a worker's task).

    Raises:
        StorageError: images can't be read just now.
        ModelError: the code of another release doesn't run here.
    """
    files = Files(chunk.root)
    contents = [_content(files, path) for _, path in chunk.captures]
    what = (contents, chunk.modality, chunk.settings, chunk.limits, chunk.bits)
    if chunk.earlier is not None:
        return _table(chunk, chunk.earlier.prepare_batch(*what))
    with one_thread():
        return _table(chunk, prepare_batch(*what))


def chunks_of(
    captures: pa.Table, config: Config, root: str, earlier: EarlierCode | None = None
) -> Iterator[Chunk]:
    """Tasks for captures, in their order; one modality each.

    Args:
        captures: capture_id, modality, uri and sensor.
        config: shapes, limits and how many make a task.
        root: the storage root.
        earlier: the code that prepares them; that of this package when None.
    """
    version, size = preprocess_version(config), config.preprocess.chunk_size
    for modality in Modality:
        rows = captures.filter(pc.field("modality") == modality.value)
        for start in range(0, rows.num_rows, size):
            part = rows.slice(start, size)
            pairs = zip(part["capture_id"].to_pylist(), part["uri"].to_pylist(), strict=True)
            yield Chunk(
                captures=tuple(pairs),
                modality=modality,
                settings=config.preprocess,
                limits=config.ingest,
                version=earlier.version if earlier else version,
                root=root,
                bits=tuple(sensor_bits(config.source, s) for s in part["sensor"].to_pylist()),
                earlier=earlier,
            )


def _known(files: Files, uri: str) -> tuple[int, pa.Table] | None:
    """Size and rows, less the pixels, of a file that is there; None if missing or damaged."""
    if not files.exists(uri):
        return None
    columns = [name for name in TABLES["features"].names if name not in _PIXELS]
    with contextlib.suppress(pa.ArrowInvalid, OSError), files.open(uri) as source:
        return source.size(), pq.read_table(source, columns=columns)
    return None


def _prepared(chunk: Chunk, size: int, rows: pa.Table) -> Prepared:
    reasons = rows["failure"].drop_null().to_pylist()
    return Prepared(PartFile.of(chunk.name, size, rows), dict(Counter(reasons)))


def _content(files: Files, path: str) -> bytes | None:
    """None where the image was deleted: one capture must not stop all others.

    Raises:
        StorageError: it can't be read. That says nothing about the capture, whose failure would
            be on record for ever: a disk is not mounted, a network is down.
    """
    try:
        return files.read(path)
    except FileNotFoundError as error:
        folder = path.split("/", 1)[0]
        if files.local is not None and not (files.local / folder).is_dir():
            raise StorageError(
                f"{files.root} has no folder {folder}: is the disk mounted, and on every machine "
                "of the Ray cluster?"
            ) from error
        return None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(
            f"an image under {files.root} can't be read ({reason}): mend that and run again"
        ) from error


def _table(chunk: Chunk, batch: PreparedBatch) -> pa.Table:
    count = len(chunk.captures)
    acquired = np.array([reason is None for reason in batch.failures])
    height, width = batch.images.shape[1:]
    columns: dict[str, Any] = {
        "capture_id": [capture_id for capture_id, _ in chunk.captures],
        "preprocess_version": [chunk.version] * count,
        "modality": [chunk.modality.value] * count,
        "height": np.where(acquired, height, 0).astype(np.int32),
        "width": np.where(acquired, width, 0).astype(np.int32),
        "image": _binary(batch.images, acquired),
        "mask": _binary(batch.masks, acquired),
        "quality": batch.quality,
        "failure": list(batch.failures),
    }
    schema = TABLES["features"]
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, schema.field(name).type)
        for name, value in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _binary(pixels: UInt8Array, acquired: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Array:
    """The pixels of each capture as one value, without a copy; empty where there are none."""
    size = pixels.shape[1] * pixels.shape[2]
    offsets = np.concatenate([[0], np.cumsum(acquired)]).astype(np.int32) * np.int32(size)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(pixels))]
    return pa.Array.from_buffers(pa.binary(), len(acquired), buffers)


def _parquet(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression=_COMPRESSION,
        use_dictionary=_NAMED,
        write_statistics=["capture_id", *_NAMED],
    )
    return sink.getvalue()
