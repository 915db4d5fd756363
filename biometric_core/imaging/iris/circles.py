"""Circles in an image: sampling along them, and fitting one to edge points."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.schemas import Float32Array

_ILL_POSED = 1e10  # condition number beyond which the points do not tell a circle
_FAINT = 2.0  # grey levels: a weaker edge point is noise


@dataclass(frozen=True)
class Circle:
    """A circle in pixels of the capture; x to the right, y down."""

    x: float
    y: float
    r: float

    def scaled(self, factor: float) -> "Circle":
        """The same circle in an image resized by `factor` (pixel centres at half integers)."""
        shift = (factor - 1) / 2
        return Circle(self.x * factor + shift, self.y * factor + shift, self.r * factor)


def sample(
    image: Float32Array,
    x: npt.NDArray[np.floating],
    y: npt.NDArray[np.floating],
    r: npt.NDArray[np.floating],
    angles: Float32Array,
) -> Float32Array:
    """Bilinear samples along circles.

    Args:
        image: float32 (H, W).
        x: centres; x, y and r broadcast to one shape S.
        y: centres, downwards.
        r: radii.
        angles: float32 (A,), clockwise from the image's right.

    Returns:
        float32 (*S, A); beyond the image the nearest border pixel.
    """
    x, y, r = (a.astype(np.float32)[..., None] for a in np.broadcast_arrays(x, y, r))
    xs, ys = x + r * np.cos(angles), y + r * np.sin(angles)
    flat = cv2.remap(
        image,
        xs.reshape(-1, len(angles)),
        ys.reshape(-1, len(angles)),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(flat, np.float32).reshape(xs.shape)


def rays(
    image: Float32Array, centre: Circle, radii: npt.NDArray[np.floating], angles: Float32Array
) -> Float32Array:
    """Samples along rays from a circle's centre: float32 (radii, angles)."""
    return sample(image, np.array(centre.x), np.array(centre.y), radii, angles)


def fit(
    xs: npt.NDArray[np.floating], ys: npt.NDArray[np.floating], weight: npt.NDArray[np.floating]
) -> Circle | None:
    """Weighted algebraic circle fit (Kasa 1976), trimmed twice at 2.5 robust deviations.

    Args:
        xs: (N,), edge points.
        ys: (N,), edge points, downwards.
        weight: (N,), strength of each edge point in grey levels.

    Returns:
        The circle, or None when the points do not tell one.
    """
    edges = weight > _FAINT
    keep = edges
    middle_x, middle_y = float(xs.mean()), float(ys.mean())
    u, v = xs - middle_x, ys - middle_y  # centred, or the normal equations lose their digits
    design = np.stack([u, v, np.ones_like(u)], axis=1).astype(np.float64)
    target = (u * u + v * v).astype(np.float64)
    x = y = r = 0.0
    for _ in range(3):
        if keep.sum() < 12:
            return None
        weighted = design * np.where(keep, weight, 0)[:, None]
        normal = weighted.T @ design
        if np.linalg.cond(normal) > _ILL_POSED:
            return None
        a, b, c = np.linalg.solve(normal, weighted.T @ target)
        x, y = a / 2, b / 2
        square = c + x * x + y * y
        if square <= 0:
            return None
        r = float(np.sqrt(square))
        residual = np.abs(np.hypot(u - x, v - y) - r)
        spread = 1.4826 * float(np.median(residual[keep]))
        keep = edges & (residual <= max(1.0, 2.5 * spread))
    return Circle(x + middle_x, y + middle_y, r)
