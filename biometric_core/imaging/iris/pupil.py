"""The pupil: the evenly dark disc with a rise in brightness all around it."""

from functools import cache

import cv2
import numpy as np

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.iris import circles
from biometric_core.imaging.iris.circles import Circle
from biometric_core.schemas import Float32Array, UInt8Array

RADII = (7.0, 72.0)  # pixels of the working image

_COARSE = 4  # candidates are searched at a quarter of the working size
_DISC_RADII = (2, 3, 4, 5, 6.5, 8, 10, 12.5, 15.5)
_CANDIDATES = 3
_DARKNESS = 0.8
_CEILINGS = (30.0, 70.0)  # grey levels above black: what is brighter is not pupil, however bright
_STEP_CAP = 40.0  # grey levels: a specular edge must not outvote a quiet arc
_MIN_STEP = 7.0
_MIN_SUPPORT = 0.65
_MIN_MERIT = 6.0  # real pupils measured 9 to 37, gaps between lashes and noise mostly below 5
_CLEAR_MERIT = 15.0  # a pupil this good needs no rival
_ANGLES = np.linspace(0, 2 * np.pi, 72, endpoint=False, dtype=np.float32)


def find(working: UInt8Array) -> tuple[Circle, float]:
    """Find the pupil.

    Args:
        working: uint8 (H, W), the capture at working width.

    Returns:
        The circle, and the median rise across it in grey levels (at most 40).

    Raises:
        FailureToAcquire: `no_pupil`.
    """
    # Opening fills specular blobs with the dark around them.
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
    opened = cv2.morphologyEx(working, cv2.MORPH_OPEN, kernel)
    smooth = np.asarray(cv2.GaussianBlur(opened, (0, 0), 1.5), np.float32)
    filled = np.asarray(opened, np.float32)
    plain = np.asarray(cv2.GaussianBlur(working, (0, 0), 1.5), np.float32)
    black = float(np.percentile(plain, 0.5))
    best, circle, step = 0.0, None, 0.0
    for ceiling in _CEILINGS:
        for seed in _dark_discs(np.minimum(filled, np.float32(black + ceiling))):
            candidate = _refine(smooth, seed, black + ceiling)
            if candidate is None:
                continue
            merit, rise = _rate(plain, candidate, black)
            if merit > best:
                best, circle, step = merit, candidate, rise
            if best > _CLEAR_MERIT:
                break
        if best > _CLEAR_MERIT:
            break
    if circle is None or best < _MIN_MERIT:
        raise FailureToAcquire("no_pupil")
    return circle, step


def _dark_discs(filled: Float32Array) -> list[Circle]:
    """Seeds: the discs that are darkest against the ring around them, at a quarter of the size."""
    small = cv2.resize(filled, None, fx=1 / _COARSE, fy=1 / _COARSE, interpolation=cv2.INTER_AREA)
    scores = np.stack(
        [_ring_contrast(np.asarray(small, np.float32), radius) for radius in _DISC_RADII]
    )
    seeds = []
    for _ in range(_CANDIDATES):
        k, row, column = (int(i) for i in np.unravel_index(np.argmax(scores), scores.shape))
        if not np.isfinite(scores[k, row, column]):
            break
        seeds.append(Circle(column, row, _DISC_RADII[k]).scaled(_COARSE))
        reach = int(np.ceil(_DISC_RADII[k] * 0.7))
        rows = slice(max(0, row - reach), row + reach + 1)
        columns = slice(max(0, column - reach), column + reach + 1)
        # Only like sizes: the pupil lies within the disc of the iris.
        scores[max(0, k - 1) : k + 2, rows, columns] = -np.inf
    return seeds


def _ring_contrast(small: Float32Array, radius: float) -> Float32Array:
    """Ring minus disc, minus a share of the disc: of two equal contrasts the darker disc wins."""
    kernel = _ring_minus_disc(radius)
    return np.asarray(
        cv2.filter2D(small, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE), np.float32
    )


@cache
def _ring_minus_disc(radius: float) -> Float32Array:
    reach = int(np.ceil(radius * 1.6)) + 1
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(dx, dy)
    disc = (distance <= radius * 0.9).astype(np.float32)
    ring = ((distance >= radius * 1.15) & (distance <= radius * 1.6)).astype(np.float32)
    return np.asarray(ring / ring.sum() - (1 + _DARKNESS) * disc / disc.sum(), np.float32)


def _refine(smooth: Float32Array, seed: Circle, ceiling: float) -> Circle | None:
    """Fit a circle to the strongest outward rise per angle; None when it does not settle.

    What is brighter than `ceiling` is levelled at first: the limbus is often the stronger edge.
    """
    circle = seed
    levelled = np.minimum(smooth, np.float32(ceiling))
    for image, low, high in ((levelled, 0.5, 1.7), (levelled, 0.7, 1.35), (smooth, 0.85, 1.15)):
        radii = np.arange(max(3.0, circle.r * low - 2), circle.r * high + 4, 0.5, dtype=np.float32)
        rays = circles.rays(image, circle, radii, _ANGLES)
        rise = np.clip(rays[4:] - rays[:-4], 0, _STEP_CAP)
        at = np.argmax(rise, axis=0)
        edge = radii[2:-2][at]
        fitted = circles.fit(
            circle.x + edge * np.cos(_ANGLES),
            circle.y + edge * np.sin(_ANGLES),
            rise[at, np.arange(len(_ANGLES))],
        )
        if fitted is None or not RADII[0] <= fitted.r <= RADII[1]:
            return None
        circle = fitted
    height, width = smooth.shape
    return circle if 0 <= circle.x < width and 0 <= circle.y < height else None


def _rate(plain: Float32Array, circle: Circle, black: float) -> tuple[float, float]:
    """How much a circle looks like a pupil (0: not at all), and the rise across its boundary.

    A pupil is evenly dark, close to the darkest of the image, with a rise all around. Medians, so
    that specular blobs do not count; the plain image, or gaps between lashes would be dark.
    """
    rings = np.array([0.15, 0.35, 0.55, 0.7, 0.8], np.float32) * circle.r
    inner = circles.rays(plain, circle, rings, _ANGLES)
    pair = np.array([circle.r - 2.5, circle.r + 2.5], np.float32)
    edge = circles.rays(plain, circle, pair, _ANGLES)
    rise = edge[1] - edge[0]
    step = float(np.median(np.minimum(rise, _STEP_CAP)))
    support = float(np.mean(rise > _MIN_STEP))
    if step < _MIN_STEP or support < _MIN_SUPPORT:
        return 0.0, step
    level = float(np.median(inner))
    uneven = float(np.median(np.abs(inner - level)))
    merit = step * support**2 / ((1 + uneven / 4) * (1 + max(0.0, level - black) / 10))
    return merit, step
