"""What stays the same between two captures of one generated finger: its ridges.

The orientation of the ridges follows the zero-pole model of Sherlock and Monro (1993): half the sum
of the angles towards the cores, less half the sum of the angles towards the deltas. Along it ridges
are grown from noise by repeated oriented filters, as in SFinGe (Cappelli, 2004): minutiae appear by
themselves where ridges have to begin or to end.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.schemas import Float32Array
from biometric_core.sources.generator.noise import Seed, normal, rng_of, smooth_field

MARGIN = 28  # pixels of skin around what a centred, upright capture shows
ROUNDS = 11
_ALONG, _ACROSS = 5, 8  # reach of the filters in samples, along and across the ridges
_PHASES = 16  # samples across the ridges per period, the unit of `_ACROSS`


class Pattern(StrEnum):
    """The classes of Henry's system."""

    ARCH = "arch"
    TENTED_ARCH = "tented_arch"
    LEFT_LOOP = "left_loop"
    RIGHT_LOOP = "right_loop"
    WHORL = "whorl"


SHARES = {  # among fingers of the population (Wilson, Candela and Watson, 1994)
    Pattern.ARCH: 0.037,
    Pattern.TENTED_ARCH: 0.029,
    Pattern.LEFT_LOOP: 0.338,
    Pattern.RIGHT_LOOP: 0.317,
    Pattern.WHORL: 0.279,
}


@dataclass(frozen=True)
class Finger:
    """One generated finger.

    Attributes:
        ridges: float32 (H, W) in [-1, 1], positive on ridges, `MARGIN` wider on each side.
        pattern: class of the ridge flow.
        width, length: half axes of the area that a full touch shows, shares of the capture's size.
    """

    ridges: Float32Array
    pattern: Pattern
    width: float
    length: float


@lru_cache(maxsize=4)
def finger_of(seed: Seed, shape: tuple[int, int]) -> Finger:
    """The finger that `seed` stands for, on a sensor of `shape` (kept for its next captures)."""
    rng = rng_of(seed)
    pattern = Pattern(rng.choice(list(SHARES), p=list(SHARES.values())))
    size = (shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN)
    orientation = orientation_field(rng, pattern, size)
    period = np.clip(rng.uniform(7.8, 9.4) + smooth_field(rng, size, 4, 0.5), 6.5, 11)
    ridges = _grow(rng, orientation, np.asarray(period, np.float32))
    _crease(ridges, rng)
    ridges.setflags(write=False)
    return Finger(ridges, pattern, rng.uniform(0.40, 0.50), rng.uniform(0.44, 0.54))


def orientation_field(
    rng: np.random.Generator, pattern: Pattern, shape: tuple[int, int]
) -> Float32Array:
    """Direction of the ridges, radians modulo pi, counter-clockwise from the image's right.

    Returns:
        float32 of `shape`.
    """
    height, width = shape
    x = (np.arange(width, dtype=np.float32)[None, :] - width / 2) / height
    y = (height / 2 - np.arange(height, dtype=np.float32)[:, None]) / height
    bend = smooth_field(rng, shape, 4, 0.10)
    if pattern is Pattern.ARCH:
        steep = rng.uniform(0.9, 1.4) * np.clip(0.62 - y, 0, 1)
        arch = np.arctan(-steep * np.sin(2 * np.pi * np.clip(x, -0.5, 0.5) * rng.uniform(0.9, 1.2)))
        return np.asarray(arch + bend, np.float32)
    cores, deltas = _singular_points(rng, pattern)
    angle = np.zeros(shape, np.float32)
    for cx, cy in cores:
        angle += np.arctan2(y - cy, x - cx)
    for dx, dy in deltas:
        angle -= np.arctan2(y - dy, x - dx)
    dome = np.arctan(rng.uniform(0.9, 1.6) * x) / (1 + np.exp(-(y + 0.05) / 0.08))
    return np.asarray(angle / 2 + bend - dome, np.float32)


def _singular_points(
    rng: np.random.Generator, pattern: Pattern
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Cores and deltas as (x, y) in heights from the middle, y upwards."""
    x, y = rng.normal(0, 0.02), 0.04 + rng.normal(0, 0.03)
    side, below = rng.uniform(0.20, 0.30), rng.uniform(0.24, 0.36)
    if pattern is Pattern.TENTED_ARCH:
        return [(x, y)], [(x + rng.normal(0, 0.01), y - rng.uniform(0.18, 0.30))]
    if pattern is Pattern.LEFT_LOOP:
        return [(x, y)], [(x + side, y - below)]
    if pattern is Pattern.RIGHT_LOOP:
        return [(x, y)], [(x - side, y - below)]
    gap, skew = rng.uniform(0.05, 0.16), rng.normal(0, 0.04)
    cores = [(x - skew / 2, y + gap / 2), (x + skew / 2, y - gap / 2)]
    deltas = [
        (x - side - 0.03, y - below + rng.normal(0, 0.03)),
        (x + side + 0.03, y - below + rng.normal(0, 0.03)),
    ]
    return cores, deltas


def _grow(
    rng: np.random.Generator, orientation: Float32Array, period: Float32Array
) -> Float32Array:
    """Ridges, float32 in [-1, 1], from noise.

    Each round smooths along the ridges and takes a zero-mean Gabor filter across them. Both sample
    the image along the local direction, so that neither orientation nor period is quantised.
    """
    rows, columns = np.indices(orientation.shape, dtype=np.float32)
    grid = np.stack([columns, rows])
    along = np.stack([np.cos(orientation), -np.sin(orientation)])  # image rows run downwards
    across = np.stack([np.sin(orientation), np.cos(orientation)]) * (period / np.float32(_PHASES))
    steps = np.arange(-_ALONG, _ALONG + 1)
    smooth = np.exp(-((steps / 2.6) ** 2) / 2)
    phases = np.arange(-_ACROSS, _ACROSS + 1) * 1.5
    gabor = np.cos(2 * np.pi * phases / _PHASES) * np.exp(-((phases / 6.5) ** 2) / 2)
    gabor -= gabor.mean()
    image = normal(rng, orientation.shape)
    for _ in range(ROUNDS):
        image = _sampled(image, grid, along, 1.5 * steps, smooth / smooth.sum())
        image = _sampled(image, grid, across, phases, gabor / np.abs(gabor).sum())
        image = np.tanh(image * np.float32(2.2 / (image.std() + 1e-6)))
    return image


def _sampled(
    image: Float32Array,
    grid: Float32Array,
    direction: Float32Array,
    steps: npt.NDArray[np.floating],
    weights: npt.NDArray[np.floating],
) -> Float32Array:
    """Weighted sum of `image` at `steps` along the local `direction`, float32 (H, W).

    `grid` and `direction` are float32 (2, H, W): x, then y.
    """
    total = np.zeros_like(image)
    for step, weight in zip(steps, weights, strict=True):
        x, y = grid + direction * np.float32(step)
        sample = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        total += np.float32(weight) * sample
    return total


def _crease(ridges: Float32Array, rng: np.random.Generator) -> None:
    """White lines that belong to the finger, cut into `ridges` (H, W) in place."""
    height, width = ridges.shape
    layer = np.zeros(ridges.shape, np.uint8)
    for _ in range(int(rng.poisson(1.2))):
        start = rng.uniform((0, 0), (width, height))
        angle, length = rng.normal(0, 0.6), rng.uniform(0.2, 0.6) * width
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(int(8 * value) for value in point) for point in (start, end)]
        cv2.line(layer, ends[0], ends[1], 255, 2, cv2.LINE_AA, 3)
    cut = layer.astype(np.float32) / 255
    ridges -= (ridges + 1) * cut
