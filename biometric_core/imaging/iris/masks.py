"""What of the rubber sheet is iris: lids, lashes and reflections are masked out.

Everything is judged against the iris itself: the sides of the ring, which lids seldom reach, say
what brightness is normal at each distance from the pupil.
"""

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.imaging.iris.localisation import IrisLocation
from biometric_core.schemas import Float32Array, UInt8Array

_CELLS = (16, 128)  # lids are searched on the sheet at this size
_DARK, _BRIGHT = -3.0, 3.5  # robust deviations beyond which a cell is lash or reflection
_GLARE = 245
# Heights, slopes and bends of the lids that are tried, in units of the limbus radius.
_HEIGHTS = np.arange(-1.15, 0.2, 0.05)
_SLOPES = (-0.3, -0.15, 0.0, 0.15, 0.3)
_BENDS = (0.0, 0.2, 0.4, 0.7)
_ABOUT = 4.0  # likeness: two cells on the edge that rounding may put on the other side


def usable(sheet: UInt8Array, x: Float32Array, y: Float32Array, where: IrisLocation) -> UInt8Array:
    """Mask lids, lashes and reflections.

    Args:
        sheet: uint8 (rows, columns), the unwrapped iris.
        x: float32 (rows, columns), the sheet's coordinates in the capture.
        y: the same, downwards.
        where: the circles.

    Returns:
        uint8 (rows, columns), 255 where the cell shows iris.
    """
    deviation = normal_deviation(sheet)
    u = (x - where.limbus.x) / where.limbus.r
    v = (y - where.limbus.y) / where.limbus.r
    covered = lids(deviation, u, v)
    outlier = (deviation < _DARK) | (deviation > _BRIGHT) | (sheet >= _GLARE)
    kernel = np.ones((3, 5), np.uint8)
    spread = _wrapped_dilate(outlier.astype(np.uint8), kernel) > 0
    return np.asarray(~(covered | spread) * np.uint8(255), np.uint8)


def normal_deviation(sheet: UInt8Array) -> Float32Array:
    """Each cell's distance from the normal iris at its row, in robust standard deviations.

    Returns:
        float32 (rows, columns).
    """
    columns = sheet.shape[1]
    angle = 360 * np.arange(columns) / columns
    # Clockwise from the right: 335..45 is the right side, 135..205 the left one.
    sides = (angle <= 45) | (angle >= 335) | ((angle >= 135) & (angle <= 205))
    normal = sheet[:, sides].astype(np.float32)
    middle = np.median(normal, axis=1)[:, None]
    middle = np.asarray(cv2.GaussianBlur(middle, (1, 9), 2.0, borderType=cv2.BORDER_REPLICATE))
    spread = 1.4826 * float(np.median(np.abs(normal - middle)))
    return np.asarray((sheet - middle) / max(spread, 4.0), np.float32)


@cache
def _parabolas() -> npt.NDArray[np.float32]:
    """Candidate upper lids v = a + b u + c u^2 in units of the limbus radius, float32 (P, 3)."""
    grid = np.meshgrid(_HEIGHTS, _SLOPES, _BENDS)  # lids of one slope, then of one height, together
    return np.stack([axis.ravel() for axis in grid], axis=1).astype(np.float32)


def lids(deviation: Float32Array, u: Float32Array, v: Float32Array) -> npt.NDArray[np.bool_]:
    """Cells under the upper or the lower lid.

    Of all parabolas the one is taken that best separates iris-like cells from the others.

    Args:
        deviation: float32 (rows, columns), see `normal_deviation`.
        u: float32 (rows, columns), position in units of the limbus radius, right.
        v: the same, down.
    """
    small, small_u, small_v = (_reduced(values) for values in (deviation, u, v))
    # A cell counts by its area, which grows with its distance from the centre.
    likeness = np.asarray(np.clip(2 - np.abs(small), -2, 1) * np.hypot(small_u, small_v))
    covered = np.zeros(deviation.shape, bool)
    for sign in (1.0, -1.0):  # the lower lid is an upper one, upside down
        a, b, c = _best_lid(likeness.ravel(), small_u.ravel(), sign * small_v.ravel())
        covered |= sign * v < a + b * u + c * u * u
    return covered


def _reduced(values: Float32Array) -> Float32Array:
    return np.asarray(cv2.resize(values, _CELLS[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _best_lid(
    likeness: Float32Array, u: Float32Array, v: Float32Array
) -> tuple[float, float, float]:
    reach = v < 0.35
    likeness, u, v = likeness[reach], u[reach], v[reach]
    curves = _parabolas()[_promising(likeness, u, v)]
    edge = curves @ np.stack([np.ones_like(u), u, u * u])
    # Iris-likeness that each lid would cover.
    lost = (v < edge).astype(np.float32) @ likeness
    a, b, c = curves[int(np.argmin(lost))]
    return float(a), float(b), float(c)


def _promising(likeness: Float32Array, u: Float32Array, v: Float32Array) -> npt.NDArray[np.integer]:
    """The parabolas that lose about least: a tenth of the time of looking at each by itself.

    Lids of one slope and bend differ in height alone. So each cell is counted once for each slope
    and bend, at the lowest lid that covers it, and the sum over heights does the rest.
    """
    shapes = np.array([(b, c) for b in _SLOPES for c in _BENDS], np.float32)
    least = v - shapes @ np.stack([u, u * u])
    step = (least - np.float32(_HEIGHTS[0])) / np.float32(_HEIGHTS[1] - _HEIGHTS[0])
    bins = len(_HEIGHTS) + 1  # the last for cells that no lid covers
    place = np.clip(np.ceil(step), 0, bins - 1).astype(np.int64)
    place += bins * np.arange(len(shapes))[:, None]
    each = np.broadcast_to(likeness, place.shape).ravel()
    counted = np.bincount(place.ravel(), each, bins * len(shapes)).reshape(len(shapes), bins)
    lost = counted[:, :-1].cumsum(axis=1).reshape(len(_SLOPES), len(_BENDS), -1)
    return np.flatnonzero(np.swapaxes(lost, 1, 2) <= lost.min() + _ABOUT)


def _wrapped_dilate(mask: UInt8Array, kernel: UInt8Array) -> UInt8Array:
    pad = kernel.shape[1]
    wide = np.concatenate([mask[:, -pad:], mask, mask[:, :pad]], axis=1)
    return np.asarray(cv2.dilate(wide, kernel)[:, pad:-pad], np.uint8)
