"""What an encoder makes of samples and can compare: embeddings, phase codes, minutiae."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from biometric_core.schemas import Float32Array

IndexArray = npt.NDArray[np.int64]


class Templates(Protocol):
    """Templates of N samples of one modality, made by one encoder."""

    encoder: ClassVar[str]
    """Name of the encoder, as reports show it."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def take(self, rows: IndexArray) -> Self:
        """The templates at these rows, int64 (K,)."""
        ...

    def similarities(self, references: Self) -> Float32Array:
        """All of these against all references, float32 (N, M), higher is more alike; finite."""
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

    def take(self, rows: IndexArray) -> Self:
        """See `Templates`."""
        return type(self)(self.vectors[rows])

    def similarities(self, references: Self) -> Float32Array:
        """Cosines in [-1, 1], float32 (N, M)."""
        return np.asarray(self.vectors @ references.vectors.T, dtype=np.float32)
