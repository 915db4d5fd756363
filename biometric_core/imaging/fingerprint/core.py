"""The core of a fingerprint: where its ridges turn back, and which way the loop opens.

The squared gradients of the ridges turn once around a core; a complex filter of that symmetry
(Nilsson & Bigun 2003) responds there, and the phase of its response is the direction of the loop.
Measured on FVC2002 DB1_B and DB3_B (5 impressions a finger, EER of the plain normalised correlation
of samples within 8 pixels): cropped at the finger's middle, with a search over rotations, 36 and
31 %; cropped at the core 32 and 28 %, turned upright as well 16 and 13 %, both without a search.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from biometric_core.schemas import Float32Array, UInt8Array

_TURNS_WITHIN = 3.0  # ridge periods: reach of the filter
_CENTRAL = 14.0  # ridge periods: a core is seldom further from the finger's middle
_MOST_TILT = 45.0  # degrees
_UPRIGHT = np.cos(np.deg2rad(_MOST_TILT))  # beyond, it is another pattern: a whorl's lower core


@dataclass(frozen=True)
class Core:
    """A loop's turning point.

    Attributes:
        x: pixels.
        y: pixels, downwards.
        tilt: degrees by which the loop leans clockwise from upright, within 45 either way.
        strength: of the response, in [0, 1].
    """

    x: float
    y: float
    tilt: float
    strength: float


def find(normal: UInt8Array, mask: UInt8Array, period: float, middle: tuple[float, float]) -> Core:
    """Find the core; on an arch, where its ridges bend most.

    Args:
        normal: uint8 (H, W), normalised ridges.
        mask: uint8 (H, W), 255 on the finger.
        period: pixels from ridge to ridge.
        middle: of the finger, x and y in pixels.
    """
    real, imaginary = _orientation(normal, mask, period)
    reach = int(2.5 * _TURNS_WITHIN * period)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    radius = np.hypot(x, y)
    weight = np.exp(-(radius**2) / (2 * (_TURNS_WITHIN * period) ** 2))
    weight /= weight.sum() * np.maximum(radius, 1e-6)
    across, down = x * weight, y * weight
    cosine = _filter(real, across) + _filter(imaginary, down)
    sine = _filter(imaginary, across) - _filter(real, down)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
    distance = np.hypot(x - middle[0], y - middle[1]) / (_CENTRAL * period)
    response = np.hypot(cosine, sine)
    upright = (-sine >= _UPRIGHT * response) & (mask > 0)
    merit = np.where(upright, response * np.exp(-0.5 * distance**2), -1)
    row, column = (int(i) for i in np.unravel_index(np.argmax(merit), merit.shape))
    c, s = float(cosine[row, column]), float(sine[row, column])
    tilt = float(np.rad2deg(np.arctan2(c, -s)))
    return Core(float(column), float(row), tilt, min(1.0, float(np.hypot(c, s))))


def _orientation(
    normal: UInt8Array, mask: UInt8Array, period: float
) -> tuple[Float32Array, Float32Array]:
    """Unit squared gradient (the doubled angle across the ridges); 0 off the finger."""
    ridges = cv2.GaussianBlur((normal.astype(np.float32) - 128) * (mask > 0), (0, 0), 0.8)
    dx, dy = cv2.Sobel(ridges, cv2.CV_32F, 1, 0), cv2.Sobel(ridges, cv2.CV_32F, 0, 1)
    inner = cv2.erode(mask, np.ones((7, 7), np.uint8)) > 0  # its edge would be a strong ridge
    real = cv2.GaussianBlur((dx * dx - dy * dy) * inner, (0, 0), period)
    imaginary = cv2.GaussianBlur(2 * dx * dy * inner, (0, 0), period)
    size = np.hypot(real, imaginary) + 1e-3
    return np.asarray(real / size * inner), np.asarray(imaginary / size * inner)


def _filter(field: Float32Array, kernel: Float32Array) -> Float32Array:
    return np.asarray(cv2.filter2D(field, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT))
