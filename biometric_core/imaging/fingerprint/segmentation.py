"""Where the finger is, and its ridges at even brightness and contrast."""

import cv2
import numpy as np

from biometric_core.errors import FailureToAcquire
from biometric_core.schemas import Float32Array, UInt8Array

LEVEL, SPREAD = 128.0, 50.0
_CONTRAST = 0.4  # of the finger's own: a block with less is ground


def trim_frame(gray: UInt8Array, most: int = 4) -> UInt8Array:
    """Drop lines of one colour within `most` pixels of each border: some sensors draw a frame."""
    top, bottom = _flat_run(gray[:most]), _flat_run(gray[::-1][:most])
    left, right = _flat_run(gray.T[:most]), _flat_run(gray.T[::-1][:most])
    return gray[top : gray.shape[0] - bottom, left : gray.shape[1] - right]


def _flat_run(lines: UInt8Array) -> int:
    """Number of lines up to and with the last flat one (nine tenths of it one colour)."""
    middle = np.median(lines, axis=1, keepdims=True)
    flat = np.mean(np.abs(lines - middle) <= 6, axis=1) >= 0.9
    return int(np.flatnonzero(flat)[-1]) + 1 if flat.any() else 0


def foreground(gray: UInt8Array, period: float) -> UInt8Array:
    """The finger: blocks whose contrast is near that of the clearest ones, as one filled region.

    Args:
        gray: uint8 (H, W).
        period: pixels from ridge to ridge.

    Returns:
        uint8 (H, W), 255 on the finger.

    Raises:
        FailureToAcquire: `too_little_finger`.
    """
    _, deviation = local_moments(gray.astype(np.float32), 1.2 * period)
    mask = (deviation > _CONTRAST * np.percentile(deviation, 90)).astype(np.uint8)
    side = round(2 * period) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        raise FailureToAcquire("too_little_finger")
    largest = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    contours, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(largest), contours, -1, 255, cv2.FILLED)
    # The contrast of the finger's edge reaches beyond it by about the window's sigma.
    return np.asarray(cv2.erode(filled, kernel), np.uint8)


def normalise(gray: UInt8Array, mask: UInt8Array, period: float) -> UInt8Array:
    """Even out brightness and contrast (Hong 1998, locally); 128 off the finger.

    Args:
        gray: uint8 (H, W).
        mask: uint8 (H, W), 255 on the finger.
        period: pixels from ridge to ridge.
    """
    mean, deviation = local_moments(gray.astype(np.float32), 1.5 * period)
    floor = 0.25 * float(np.median(deviation[mask > 0]))
    level = LEVEL + SPREAD * (gray - mean) / np.maximum(deviation, max(floor, 1.0))
    return np.asarray(np.where(mask > 0, np.clip(level, 0, 255), LEVEL), np.uint8)


def centre(mask: UInt8Array) -> tuple[float, float]:
    """Middle of the finger's bounding box: x, y."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0] + columns[-1]) / 2, float(rows[0] + rows[-1]) / 2


def local_moments(values: Float32Array, sigma: float) -> tuple[Float32Array, Float32Array]:
    """Gaussian-weighted local mean and standard deviation, float32 (H, W) each."""
    mean = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    square = cv2.GaussianBlur(values * values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(mean, np.float32), np.sqrt(np.maximum(square - mean * mean, 0))
