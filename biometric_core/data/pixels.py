"""Pixels that stay on the disk until they are asked for."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from biometric_core.data.memory_map import Origin, materialised
from biometric_core.schemas import UInt8Array

BLOCK = 1024  # captures that are read at a time where all are gone through


class Pixels:
    """uint8 (N, H, W) in a memory-mapped file; rows of it are an index, no copy.

    Reading gives arrays. It is sent to another process as a reference: the pixels are read from
    the file there, which is made from the store where it is missing.

    Args:
        origin: names the file.
        column: `image` or `mask`.
        rows: int64 (N,), rows of the file; all of them when None.
    """

    def __init__(
        self, origin: Origin, column: str, rows: npt.NDArray[np.int64] | None = None
    ) -> None:
        self.origin, self.column = origin, column
        self._chosen = rows

    @cached_property
    def _all(self) -> UInt8Array:
        batch = open_materialised(self.origin)
        shape = (int(batch.schema.metadata[side]) for side in (b"height", b"width"))
        pixels = np.frombuffer(batch[self.column].buffers()[1], dtype=np.uint8)
        return pixels.reshape(len(batch), *shape) if len(batch) else np.zeros((0, 0, 0), np.uint8)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W)."""
        _, height, width = self._all.shape
        return len(self), height, width

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """uint8."""
        return self._all.dtype

    def __len__(self) -> int:
        return len(self._all) if self._chosen is None else len(self._chosen)

    def __getitem__(self, index: Any) -> UInt8Array:
        """Rows by number, slice, boolean mask or index array: (H, W) for a number, else (n, H, W).

        What is not copied can't be written to.
        """
        if self._chosen is None and isinstance(index, slice):
            return self._all[index]
        known = np.arange(len(self._all)) if self._chosen is None else self._chosen
        rows = known[index]
        if rows.ndim == 0:
            return np.asarray(self._all[rows])
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for place in np.argsort(rows, kind="stable").tolist():  # in the order of the disk
            found[place] = self._all[rows[place]]
        return found

    def __iter__(self) -> Iterator[UInt8Array]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self[:], dtype=dtype, copy=copy)

    def __getstate__(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in ("origin", "column", "_chosen")}

    def select(self, rows: npt.NDArray[Any]) -> "Pixels":
        """The rows of a boolean mask or an index, in that order; nothing is read."""
        known = np.arange(len(self)) if self._chosen is None else self._chosen
        chosen = Pixels(self.origin, self.column, known[rows])
        if "_all" in vars(self):  # the file may be gone since it was opened
            chosen._all = self._all
        return chosen


def open_materialised(origin: Origin) -> pa.RecordBatch:
    """The captures of a file, memory-mapped; see `memory_map.materialised` for the columns."""
    try:
        return _opened(origin)
    except FileNotFoundError:  # removed by another process just before we opened it
        return _opened(origin)


def _opened(origin: Origin) -> pa.RecordBatch:
    with pa.memory_map(str(materialised(origin))) as source:
        return pa.ipc.open_file(source).get_batch(0)
