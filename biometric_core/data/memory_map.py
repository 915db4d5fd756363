"""Prepared captures of one table version as one memory-mappable Arrow file, made on first use.

Training reads single captures at random, which a compressed table can't give. The file has one
record batch, so that the pixels of all captures are one array. Rows lie by subject: what a step
reads together lies together. It is a cache: local, and made again where it is missing.
"""

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from biometric_core.errors import DataError
from biometric_core.schemas import Modality
from biometric_core.storage.files import writable
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store

COLUMNS = ("image", "mask")
_IN_USE = 24 * 3600  # seconds since its last use


@dataclass(frozen=True)
class Origin:
    """What a file is made of; enough to make it again on another machine.

    Attributes:
        root: of the store.
        work: `storage.work`, where caches lie if the root is an object store.
        prepared_by: preprocessing version.
        modality: iris or fingerprint.
        version: Delta version of the feature table.
    """

    root: str
    work: str
    prepared_by: str
    modality: Modality
    version: int

    @property
    def kind(self) -> str:
        """What files of all versions have in common."""
        return f"{self.modality}-{self.prepared_by}"


@owner_only()
def materialised(origin: Origin) -> Path:
    """The file, made if it is missing; those of other versions that nobody used for a day go then.

    Columns: capture_id; quality, float32; image and mask, uint8 pixels as fixed-size binary. The
    schema's metadata has `height` and `width`. A process that has an older file open keeps it.

    Raises:
        DataError: that table version doesn't exist (any more).
        StorageError: the disk is full; nothing half-written stays.
    """
    store = Store(origin.root, origin.work)
    path = store.path("cache", f"{origin.kind}-v{origin.version}.arrow")
    if not _used(path):
        with FileLock(store.path("locks", f"cache-{origin.kind}.lock"), mode=0o600):
            if not _used(path):
                _make(store, origin, path)
            _remove_others(origin, path)
    return path


def _used(path: Path) -> bool:
    """Whether the file is there; others then see in its times that it is in use."""
    with suppress(OSError):  # it may belong to another user
        os.utime(path)
    return path.exists()


def _remove_others(origin: Origin, path: Path) -> None:
    """Those that nobody used for a day; two may be in use at once, one of `train --like`."""
    limit = time.time() - _IN_USE
    for other in path.parent.glob(f"{origin.kind}-v*.arrow*"):
        with suppress(FileNotFoundError):
            half_made = other.suffix == ".part"  # by a process that was killed: we have the lock
            if half_made or (other != path and other.stat().st_mtime < limit):
                other.unlink()


@dataclass(frozen=True)
class _Index:
    """The captures in the order of the file; `by_id` sorts them by capture id."""

    capture_id: npt.NDArray[np.str_]
    quality: npt.NDArray[np.float32]
    height: int
    width: int
    by_id: npt.NDArray[np.int64]

    def places(self, ids: list[str]) -> npt.NDArray[np.int64]:
        found = np.searchsorted(self.capture_id, np.array(ids, dtype=np.str_), sorter=self.by_id)
        return self.by_id[found]


def _make(store: Store, origin: Origin, path: Path) -> None:
    index = _index(store, origin)
    aside = path.with_suffix(".arrow.part")
    with writable(store.root), _removed_on_failure(aside):
        _write_empty(index, aside)
        _fill(store, origin, index, aside)
        aside.replace(path)


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _acquired(origin: Origin) -> pc.Expression:
    return (
        (pc.field("preprocess_version") == origin.prepared_by)
        & (pc.field("modality") == origin.modality.value)
        & pc.field("failure").is_null()
    )


def _index(store: Store, origin: Origin) -> _Index:
    columns = ["capture_id", "quality", "height", "width"]
    rows = store.read("features", columns, _acquired(origin), origin.version)
    subjects = store.read("captures", ["capture_id", "subject_id"])
    ordered = rows.join(subjects, "capture_id", join_type="left outer").sort_by(
        [("subject_id", "ascending"), ("capture_id", "ascending")]
    )
    ids = np.array(ordered["capture_id"].to_pylist(), dtype=np.str_)
    shape = {name: ordered[name][0].as_py() if len(ids) else 0 for name in ("height", "width")}
    return _Index(ids, ordered["quality"].to_numpy(), **shape, by_id=np.argsort(ids, kind="stable"))


def _write_empty(index: _Index, path: Path) -> None:
    """The file with pixels of zero."""
    count, size = len(index.capture_id), index.height * index.width
    kind, pixels = pa.binary(size), _zeros(count * size)
    batch = pa.record_batch(
        {
            "capture_id": pa.array(index.capture_id.tolist(), pa.string()),
            "quality": pa.array(index.quality, pa.float32()),
            **{name: pa.Array.from_buffers(kind, count, [None, pixels]) for name in COLUMNS},
        }
    ).replace_schema_metadata({"height": str(index.height), "width": str(index.width)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _zeros(size: int) -> pa.Buffer:
    """Bytes of zero that may be more than the memory: what can't be written to is never given any.

    Memory that can be written to counts against the machine's limit before it is touched.
    """
    at_least_one = max(size, 1)  # a map of nothing is refused
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return pa.py_buffer(mmap.mmap(-1, at_least_one, flags=flags, prot=mmap.PROT_READ))[:size]


def _fill(store: Store, origin: Origin, index: _Index, path: Path) -> None:
    """Put the pixels in their places while the table streams by."""
    starts = _starts(path)
    size, done = index.height * index.width, 0
    file = os.open(path, os.O_WRONLY)  # not through a memory map: a full disk would kill us there
    try:
        scanned = store.scan(
            "features", ["capture_id", *COLUMNS], _acquired(origin), origin.version
        )
        for batch in scanned:
            places = index.places(batch["capture_id"].to_pylist()).tolist()
            for name, start in starts.items():
                for place, value in zip(places, batch[name], strict=True):
                    pixels = value.as_buffer()
                    if pixels.size != size:
                        raise DataError(
                            f"table features: {pixels.size} bytes where {origin.kind} has {size}: "
                            "prepare the captures again under a new version"
                        )
                    os.pwrite(file, pixels, start + place * size)
            done += len(places)
    finally:
        os.close(file)
    if done != len(index.capture_id):
        raise DataError(f"table features: {done} of {len(index.capture_id)} captures could be read")


def _starts(path: Path) -> dict[str, int]:
    """Where in the file the pixels of each column begin, in bytes."""
    with pa.memory_map(str(path)) as source:
        whole = source.read_buffer()
        batch = pa.ipc.open_file(whole).get_batch(0)
        return {name: batch[name].buffers()[1].address - whole.address for name in COLUMNS}
