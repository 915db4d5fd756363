"""The limbus: the circle around the pupil with the largest rise on both sides of the iris."""

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.iris import circles
from biometric_core.imaging.iris.circles import Circle
from biometric_core.schemas import Float32Array, UInt8Array

RADII = (24.0, 135.0)  # pixels of the working image
RATIO = (0.15, 0.76)  # pupil radius / limbus radius: beyond any pupil that dilates

_STEP_CAP = 40.0  # grey levels: a specular edge must not outvote a quiet arc
_MIN_STEP = 3.0
_MIN_SUPPORT = 0.65  # of the arcs: real eyes measured 0.85 and more
_MAX_OFFSET = 0.25  # between the centres, in units of the limbus radius: real eyes measured 0.17
_MIN_RING = 7.0
# Sides of the iris: lids cover the top often and the bottom sometimes.
_RIGHT = np.deg2rad(np.linspace(-25, 45, 24)).astype(np.float32)
_LEFT = (np.pi - _RIGHT).astype(np.float32)
_SIDES = np.concatenate([_RIGHT, _LEFT])


def find(working: UInt8Array, pupil: Circle) -> tuple[Circle, float]:
    """Find the limbus.

    Args:
        working: uint8 (H, W), the capture at working width.
        pupil: its pupil.

    Returns:
        The circle, and the mean rise across it in grey levels.

    Raises:
        FailureToAcquire: `no_limbus`.
    """
    smooth = np.asarray(cv2.GaussianBlur(working, (0, 0), 2.0), np.float32)
    low, high = max(RADII[0], pupil.r / RATIO[1]), min(RADII[1], pupil.r / RATIO[0])
    reach = max(4.0, 0.3 * pupil.r)
    across, down = np.linspace(-reach, reach, 7), np.linspace(-reach, reach, 5) * 0.6
    circle = _search(smooth, pupil, pupil, across, down, np.arange(low, max(high, low + 2), 2.0))
    for grid in (1.5, 0.5):
        steps = np.arange(-2, 3) * grid
        radii = circle.r + np.arange(-3, 4) * grid
        circle = _search(smooth, pupil, circle, steps, steps, radii)
    circle = _settle(smooth, circle)
    return circle, _rate(smooth, pupil, circle)


def _search(
    smooth: Float32Array,
    pupil: Circle,
    centre: Circle,
    dx: npt.NDArray[np.floating],
    dy: npt.NDArray[np.floating],
    radii: npt.NDArray[np.floating],
) -> Circle:
    """The circle of the grid with the largest rise that both sides of the iris show."""
    half = 3.0
    x = (centre.x + dx)[:, None, None]
    y = (centre.y + dy)[None, :, None]
    r = radii[None, None, :]
    outer = circles.sample(smooth, x, y, r + half, _SIDES)
    inner = circles.sample(smooth, x, y, r - half, _SIDES)
    rise = np.clip(outer - inner, -10, _STEP_CAP)
    right, left = rise[..., : len(_RIGHT)].mean(-1), rise[..., len(_RIGHT) :].mean(-1)
    score = right + left - 0.5 * np.abs(right - left)
    ring = r - np.hypot(x - pupil.x, y - pupil.y) - pupil.r  # the ring's narrowest place
    score = np.where(ring >= max(_MIN_RING, 0.15 * pupil.r), score, -np.inf)
    i, j, k = np.unravel_index(np.argmax(score), score.shape)
    return Circle(centre.x + float(dx[i]), centre.y + float(dy[j]), float(radii[k]))


def _settle(smooth: Float32Array, circle: Circle) -> Circle:
    """Fit the circle to the steepest place of each ray: finer than the grid, and unbiased."""
    for _ in range(2):
        offsets = np.arange(-5, 5.5, 0.5, dtype=np.float32)
        rays = circles.rays(smooth, circle, circle.r + offsets, _SIDES)
        rise = np.clip(rays[4:] - rays[:-4], 0, None)
        # The centroid of the rise around its peak, near the circle rather than at a lash.
        rise = rise * np.exp(-0.5 * (offsets[2:-2, None] / 3) ** 2)
        near = np.abs(offsets[2:-2, None] - offsets[2:-2][np.argmax(rise, axis=0)]) <= 2
        weight = (rise * near).sum(0)
        edge = circle.r + (rise * near * offsets[2:-2, None]).sum(0) / np.maximum(weight, 1e-3)
        fitted = circles.fit(
            circle.x + edge * np.cos(_SIDES), circle.y + edge * np.sin(_SIDES), weight
        )
        if fitted is None or np.hypot(fitted.x - circle.x, fitted.y - circle.y) > 5:
            return circle
        circle = fitted
    return circle


def _rate(smooth: Float32Array, pupil: Circle, circle: Circle) -> float:
    """Mean rise across the limbus at its sides; refuses what no eye shows."""
    pair = np.array([circle.r - 3, circle.r + 3])
    edge = circles.rays(smooth, circle, pair, _SIDES)
    rise = edge[1] - edge[0]
    right, left = (float(side.mean()) for side in np.split(rise, 2))
    support = float(np.mean(rise > 2))
    offset = float(np.hypot(circle.x - pupil.x, circle.y - pupil.y))
    narrow = circle.r - offset - pupil.r < _MIN_RING / 2
    if min(right, left) < _MIN_STEP or support < _MIN_SUPPORT:
        raise FailureToAcquire("no_limbus", "no rise on both sides")
    if narrow or offset > _MAX_OFFSET * circle.r:
        raise FailureToAcquire("no_limbus", "not around the pupil")
    return (right + left) / 2
