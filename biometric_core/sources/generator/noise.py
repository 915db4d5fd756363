"""Seeded random fields that the iris and the fingerprint renderers share."""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.schemas import Float32Array

Seed = int | tuple[int, ...]


def rng_of(seed: Seed) -> np.random.Generator:
    """A generator that depends on nothing but `seed`: integers, not negative."""
    return np.random.default_rng(np.random.SeedSequence(seed))


def normal(rng: np.random.Generator, shape: tuple[int, int], scale: float = 1.0) -> Float32Array:
    """White, nearly Gaussian noise of standard deviation `scale`, float32 of `shape`.

    The sum of four random bytes (Irwin-Hall, within 3.5 standard deviations): three times as
    fast as the exact distribution, and noise takes most of the time of an image.
    """
    size = shape[0] * shape[1]
    planes = np.frombuffer(rng.bytes(4 * size), np.uint8).reshape(4, *shape)
    total = planes[0].astype(np.int16)
    for plane in planes[1:]:
        total += plane
    deviation = np.sqrt(4 * (256**2 - 1) / 12)
    field = (total.astype(np.float32) - np.float32(510)) * np.float32(scale / deviation)
    return np.asarray(field, np.float32)


def smooth_field(
    rng: np.random.Generator, shape: tuple[int, int], cells: int, scale: float = 1.0
) -> Float32Array:
    """Smooth noise: a grid of `cells` x `cells` random values, enlarged by interpolation.

    Returns:
        float32 of `shape`, standard deviation about `scale`, features of about shape / cells.
    """
    grid = normal(rng, (cells, cells), scale)
    coarse = cv2.resize(grid, (shape[1] // 4 + 1, shape[0] // 4 + 1), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0])), np.float32)


def band_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    sigma: tuple[float, float],
    wide: float | None = 2.5,
) -> Float32Array:
    """Band-limited noise, periodic along the columns (angles), of unit standard deviation.

    White noise times a difference of Gaussians in the frequency domain. The rows (radii) are made
    with a margin, so that the first and the last are not neighbours.

    Args:
        rng: source of randomness.
        shape: (rows, columns).
        sigma: standard deviation of the smaller Gaussian along rows and columns, in samples.
        wide: how much wider the subtracted Gaussian is; None subtracts nothing (low-pass).
    """
    rows, columns = 2 * shape[0], shape[1]
    spectrum = np.fft.rfft2(normal(rng, (rows, columns)))
    field = np.fft.irfft2(spectrum * _transfer((rows, columns), sigma, wide), s=(rows, columns))
    field = field[: shape[0]]
    return np.asarray((field - field.mean()) / (field.std() + 1e-9), np.float32)


@lru_cache(maxsize=16)
def _transfer(
    shape: tuple[int, int], sigma: tuple[float, float], wide: float | None
) -> npt.NDArray[np.float64]:
    squares = [
        (2 * np.pi * frequency * width) ** 2 / 2
        for frequency, width in zip(
            (np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]),
            sigma,
            strict=True,
        )
    ]
    exponent = squares[0] + squares[1]
    low_pass = np.exp(-exponent)
    return low_pass if wide is None else low_pass - np.exp(-exponent * wide**2)
