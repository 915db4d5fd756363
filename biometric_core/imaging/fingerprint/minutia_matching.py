"""How well the minutiae of two fingerprints can be brought together.

Minutiae pair up by the ridge flow around them (Tico & Kuosmanen 2003), and pairs support each other
where both fingers show one minutia at the same place as seen from the other. The principal
eigenvector of that support finds the largest consistent set (Leordeanu & Hebert 2005); neither a
global alignment nor a rigid finger is assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from biometric_core.schemas import Float32Array

Complex64Array = npt.NDArray[np.complex64]

FEWEST = 4  # minutiae: fewer agree by chance, and score 0
_PAIRS = 48  # most alike pairs of minutiae that are looked at
_NOISE = 1.0  # samples of flow: keeps what was hardly seen from looking alike
_SLACK = 3.0  # pixels between a minutia's places in two captures,
_STRETCH = 0.08  # and as much more for each pixel of distance: skin stretches, directions err
_STEPS = 10
_BLOCK = 128  # references at a time: their tables of pairs stay within the processor's cache


@dataclass(frozen=True)
class Minutiae:
    """The minutiae of one fingerprint.

    Attributes:
        places: complex64 (n,), x + iy in pixels of the sample, y downwards.
        directions: complex64 (n,), of length 1.
        flow: float32 (n, 2 L), cosine then sine of twice the ridges' angle at L places around each
            minutia, as seen from it, times how sure that angle is.
        seen: float32 (n, L), how sure; 0 off the finger.
    """

    places: Complex64Array
    directions: Complex64Array
    flow: Float32Array
    seen: Float32Array

    def __len__(self) -> int:
        return len(self.places)


def similarities(probe: Minutiae, references: Sequence[Minutiae]) -> Float32Array:
    """One fingerprint against others.

    Returns:
        float32 (M,), at least 0: what the largest consistent set of pairs supports each of its
        pairs with, over the fourth root of the product of both numbers of minutiae.
    """
    found = np.zeros(len(references), np.float32)
    if len(probe) < FEWEST:
        return found
    usable = [k for k, reference in enumerate(references) if len(reference) >= FEWEST]
    for start in range(0, len(usable), _BLOCK):
        rows = usable[start : start + _BLOCK]
        found[rows] = _block(probe, [references[row] for row in rows])
    return found


def _block(probe: Minutiae, references: Sequence[Minutiae]) -> Float32Array:
    places, directions, alike = _padded(probe, references)
    most = places.shape[1]
    count = min(_PAIRS, alike.shape[1])
    chosen = np.argpartition(-alike, count - 1, axis=1)[:, :count]
    left, right = chosen // most, chosen % most
    alike = np.take_along_axis(alike, chosen, 1)
    apart = [
        _seen_from(probe.places[left], probe.directions[left]),
        _seen_from(np.take_along_axis(places, right, 1), np.take_along_axis(directions, right, 1)),
    ]
    tolerance = _SLACK + _STRETCH * 0.5 * (np.abs(apart[0]) + np.abs(apart[1]))
    support = np.exp(-0.5 * (np.abs(apart[0] - apart[1]) / tolerance) ** 2)
    support = support * support.transpose(0, 2, 1)  # from the one, and from the other
    rival = (left[:, :, None] == left[:, None, :]) | (right[:, :, None] == right[:, None, :])
    support[rival] = 0  # a minutia has one partner; and none supports itself
    root = np.sqrt(alike)
    support *= root[:, :, None] * root[:, None, :]
    sizes = len(probe) * np.array([len(reference) for reference in references], np.float32)
    return np.asarray(_consistent(support, rival, root) / sizes**0.25, np.float32)


def _padded(
    probe: Minutiae, references: Sequence[Minutiae]
) -> tuple[Complex64Array, Complex64Array, Float32Array]:
    """References as one array, and how alike the flow is around all pairs of minutiae.

    Returns:
        Places and directions, complex64 (M, P), P the largest number of minutiae; likeness in
        [0, 1], float32 (M, n P).
    """
    sizes = [len(reference) for reference in references]
    most = max(sizes)
    inside = np.arange(most) < np.array(sizes)[:, None]
    flow = np.concatenate([reference.flow for reference in references])
    seen = np.concatenate([reference.seen for reference in references])
    share = probe.flow @ flow.T / (probe.seen @ seen.T + _NOISE)
    alike = np.zeros((len(references), len(probe), most), np.float32)
    alike.transpose(0, 2, 1)[inside] = np.maximum(share, 0).T
    places, directions = np.zeros((2, len(references), most), np.complex64)
    places[inside] = np.concatenate([reference.places for reference in references])
    directions[inside] = np.concatenate([reference.directions for reference in references])
    return places, directions, alike.reshape(len(references), -1)


def _seen_from(places: Complex64Array, directions: Complex64Array) -> Complex64Array:
    """Where each minutia lies as seen from each other, complex64 (M, from K, to K)."""
    between = places[:, None, :] - places[:, :, None]
    return np.asarray(between * np.conj(directions)[:, :, None], np.complex64)


def _consistent(
    support: Float32Array, rival: npt.NDArray[np.bool_], start: Float32Array
) -> Float32Array:
    """Rayleigh quotient of the principal eigenvector without pairs that lose to a rival, (M,)."""
    vector = start + np.float32(1e-9)
    for _ in range(_STEPS):
        vector = (support @ vector[:, :, None])[:, :, 0]
        vector /= np.linalg.norm(vector, axis=1, keepdims=True) + np.float32(1e-12)
    strongest = np.where(rival, vector[:, None, :], 0).max(axis=2)
    vector = np.where(vector >= strongest, vector, 0)
    supported = (support @ vector[:, :, None])[:, :, 0]
    return np.asarray((vector * supported).sum(1) / ((vector * vector).sum(1) + 1e-12), np.float32)
