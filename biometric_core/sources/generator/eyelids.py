"""Lids, lashes, skin and eyebrow of a generated eye."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.schemas import Float32Array, UInt8Array
from biometric_core.sources.generator.eye import Eye, Lashes
from biometric_core.sources.generator.noise import normal, smooth_field

_SHIFT = 3  # fractional bits of the coordinates that OpenCV draws with


@dataclass(frozen=True)
class Lids:
    """Edges of the lids by column.

    Attributes:
        upper, lower: float32 (width,), the row of the edge.
        u: float32 (width,), place between the corners of the eye, -1 and 1 at the corners.
    """

    upper: Float32Array
    lower: Float32Array
    u: Float32Array

    def opening(self, rows: Float32Array) -> Float32Array:
        """Share of every pixel that lies between the lids, [0, 1]; `rows` is (height, 1)."""
        inside = np.minimum(rows - self.upper, self.lower - rows)
        return np.asarray(np.clip(inside + 0.5, 0, 1) * (self.lower > self.upper), np.float32)


def draw_skin(
    eye: Eye, rng: np.random.Generator, lids: Lids, shape: tuple[int, int]
) -> Float32Array:
    """Skin around the eye with the lid's fold, the dark and the wet edge, and the brow."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    above, below = lids.upper - rows, rows - lids.lower
    skin = eye.skin_level + smooth_field(rng, shape, 4, 11.0)
    skin += cv2.GaussianBlur(normal(rng, shape, 7.0), (0, 0), 0.9)
    shine = smooth_field(rng, shape, 6)
    skin += 14 * np.clip(shine, 0, 2) * (normal(rng, shape) > 1.2) * (below > 12)  # sweat glints
    fold = 10 + 0.35 * eye.limbus_radius * eye.upper
    inside = np.clip((1.02 - np.abs(lids.u)) * 8, 0, 1)
    skin -= 26 * np.exp(-(((above - fold) / 2.6) ** 2)) * inside
    skin -= 18 * np.exp(-np.abs(above) / 16) * (above > 0) * inside
    skin -= 85 * np.exp(-((above / 2.2) ** 2)) * inside
    skin += 16 * np.exp(-(((below - 2) / 1.8) ** 2)) * inside
    skin -= 30 * np.exp(-(((below - 6) / 2.5) ** 2)) * inside
    if eye.brow > 0:
        _draw_brow(skin, eye.brow, rng)
    return np.asarray(skin, np.float32)


def _draw_brow(skin: Float32Array, share: float, rng: np.random.Generator) -> None:
    """Hairs along the top of the picture."""
    height, width = skin.shape
    count, depth = int(60 + 240 * share), share * 0.17 * height
    root = np.stack([rng.uniform(-20, width, count), rng.uniform(-8, depth, count)], axis=1)
    tip = root + np.stack([rng.uniform(8, 26, count), rng.uniform(-7, 6, count)], axis=1)
    hairs = _strokes(skin.shape, np.stack([root, (root + tip) / 2 - 1, tip], axis=1), 150)
    skin *= 1 - hairs.astype(np.float32) / 255


def draw_lashes(image: Float32Array, lashes: Lashes, rng: np.random.Generator, lids: Lids) -> None:
    """Darken `image` (H, W) in place where lashes are: curved hairs that fan out from the lids."""
    columns = np.flatnonzero(np.abs(lids.u) < 0.97)
    if columns.size == 0:
        return
    upper = _hairs(rng, lids.upper, lids.u, rng.choice(columns, lashes.upper), lashes.length)
    hanging = rng.random(lashes.upper) < lashes.hanging
    upper[hanging, 1:, 1] += np.array([0.55, 0.75]) * lashes.length
    upper[~hanging, 2, 1] -= 0.55 * lashes.length
    lower = _hairs(rng, lids.lower, lids.u, rng.choice(columns, lashes.lower), lashes.length / 2)
    lower[:, 0, 1] += 5
    lower[:, 1:, 1] += np.array([0.6, 0.9]) * lashes.length
    ink = np.maximum(
        _strokes(image.shape, upper, 255), _strokes(image.shape, lower, int(rng.integers(90, 180)))
    )
    image *= 1 - (lashes.darkness / 255) * ink


def _hairs(
    rng: np.random.Generator,
    edge: Float32Array,
    u: Float32Array,
    columns: npt.NDArray[np.int64],
    length: float,
) -> npt.NDArray[np.float64]:
    """Root, bend and tip of hairs, (N, 3, 2) as x, y; they lean away from the eye's middle."""
    root = np.stack([columns + rng.uniform(-0.5, 0.5, columns.size), edge[columns]], axis=1)
    lean = (u[columns] * 0.9 + rng.normal(0, 0.22, columns.size)) * length
    size = rng.uniform(0.6, 1.15, columns.size)
    bend = root + np.stack([lean * 0.35, rng.uniform(0, 0.15, columns.size) * length], axis=1)
    tip = root + np.stack([lean * size, np.zeros(columns.size)], axis=1)
    return np.stack([root, bend, tip], axis=1)


def _strokes(shape: tuple[int, ...], hairs: npt.NDArray[np.float64], ink: int) -> UInt8Array:
    """Quadratic Bezier curves through root, bend and tip (N, 3, 2), drawn as uint8 (H, W)."""
    t = np.linspace(0, 1, 6)[None, :, None]
    root, bend, tip = (hairs[:, None, i] for i in range(3))
    points = (1 - t) ** 2 * root + 2 * t * (1 - t) * bend + t**2 * tip
    lines = np.rint(points * (1 << _SHIFT)).astype(np.int32)
    layer = np.zeros(shape[:2], np.uint8)
    cv2.polylines(layer, list(lines), False, ink, 1, cv2.LINE_AA, _SHIFT)
    return layer
