"""What an encoder makes of samples and can compare: embeddings, phase codes, minutiae."""

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import numpy as np

from biometric_core.parallel.thread_limits import one_thread, usable_cores
from biometric_core.parallel.windowed import map_threads
from biometric_core.schemas import Float32Array, IntArray


class Templates(Protocol):
    """Templates of N samples of one modality, made by one encoder."""

    @property
    def encoder(self) -> str:
        """Name of the encoder, as reports show it."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def take(self, rows: IntArray) -> Self:
        """The templates at these rows, int64 (K,)."""
        ...

    def similarities(self, references: Self) -> Float32Array:
        """All of these against all references, float32 (N, M), higher is more alike; finite.

        Symmetric: which of two samples is the reference makes no difference.
        """
        ...


@dataclass(frozen=True)
class Embeddings:
    """Vectors of a network, compared by cosine: one matrix product.

    Attributes:
        vectors: float32 (N, D), of length 1.
    """

    vectors: Float32Array
    encoder: ClassVar[str] = "embedding"

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: IntArray) -> Self:
        """See `Templates`."""
        return type(self)(self.vectors[rows])

    def similarities(self, references: Self) -> Float32Array:
        """Cosines in [-1, 1], float32 (N, M)."""
        return np.asarray(self.vectors @ references.vectors.T, dtype=np.float32)


_BLOCK = 256
_PART = 16  # probes of a block that a thread compares at a time


@dataclass(frozen=True)
class Compared:
    """Templates whose comparisons were made once, to be looked up in any selection and order.

    Attributes:
        matrix: float32 (A, A), similarities of all templates there were with each other.
        rows: int64 (N,), which of them these are.
        encoder: that made them.
    """

    matrix: Float32Array
    rows: IntArray
    encoder: str

    @classmethod
    def of(cls, templates: Templates) -> Self:
        """Compare each pair once, parts of blocks side by side; similarities are symmetric."""
        everything = np.arange(len(templates))
        matrix = np.zeros((len(everything), len(everything)), dtype=np.float32)
        starts = range(0, len(everything), _BLOCK)
        references = {start: templates.take(everything[start:]) for start in starts}
        parts = [
            (start, slice(first, min(first + _PART, start + _BLOCK, len(everything))))
            for start in starts
            for first in range(start, min(start + _BLOCK, len(everything)), _PART)
        ]

        def compared(part: tuple[int, slice]) -> Float32Array:
            start, rows = part
            return templates.take(everything[rows]).similarities(references[start])

        with one_thread():
            for (start, rows), found in zip(
                parts, map_threads(compared, parts, usable_cores(), together=1), strict=True
            ):
                matrix[rows, start:] = found
                matrix[start:, rows] = found.T
        return cls(matrix, everything, templates.encoder)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: IntArray) -> Self:
        """See `Templates`."""
        return replace(self, rows=self.rows[rows])

    def similarities(self, references: Self) -> Float32Array:
        """Float32 (N, M); see `Templates`."""
        return np.asarray(self.matrix[np.ix_(self.rows, references.rows)], dtype=np.float32)
