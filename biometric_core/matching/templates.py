"""What an encoder makes of samples and can compare: embeddings, phase codes, minutiae."""

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self

import numpy as np

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
        """Compare each pair once, a block at a time; similarities are symmetric."""
        everything = np.arange(len(templates))
        matrix = np.zeros((len(everything), len(everything)), dtype=np.float32)
        for start in range(0, len(everything), _BLOCK):
            rows, later = everything[start : start + _BLOCK], everything[start:]
            block = templates.take(rows).similarities(templates.take(later))
            matrix[start : start + _BLOCK, start:] = block
            matrix[start:, start : start + _BLOCK] = block.T
        return cls(matrix, everything, templates.encoder)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: IntArray) -> Self:
        """See `Templates`."""
        return replace(self, rows=self.rows[rows])

    def similarities(self, references: Self) -> Float32Array:
        """Float32 (N, M); see `Templates`."""
        return np.asarray(self.matrix[np.ix_(self.rows, references.rows)], dtype=np.float32)
