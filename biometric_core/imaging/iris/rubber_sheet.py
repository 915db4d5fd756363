"""The rubber sheet (Daugman 2004): the ring between pupil and limbus as a fixed-size rectangle."""

import cv2
import numpy as np

from biometric_core.imaging.iris.localisation import IrisLocation
from biometric_core.schemas import Float32Array, UInt8Array

EDGE_PIXELS, EDGE_SHARE = 1.5, 0.04  # the larger counts; the share is of the ring's width


def coordinates(
    location: IrisLocation, shape: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    """Where each cell of the sheet lies in the capture.

    Rows run from the pupil to the limbus, columns clockwise from the image's right. The ring is
    a little narrower on both sides: cells are interpolated between pixels and the circles err by
    about a pixel, so that the outermost ones would show pupil, sclera and lid. A network read
    those: with the iris painted out it still reached an EER of 17 %.

    Returns:
        x and y, float32 `shape` each, in pixels of the capture.
    """
    rows, columns = shape
    width = max(location.limbus.r - location.pupil.r, 4 * EDGE_PIXELS)
    edge = max(EDGE_PIXELS / width, EDGE_SHARE)
    share = (edge + (1 - 2 * edge) * (np.arange(rows) + 0.5) / rows)[:, None]
    angle = 2 * np.pi * np.arange(columns) / columns
    pupil, limbus = location.pupil, location.limbus
    x = (1 - share) * (pupil.x + pupil.r * np.cos(angle)) + share * (
        limbus.x + limbus.r * np.cos(angle)
    )
    y = (1 - share) * (pupil.y + pupil.r * np.sin(angle)) + share * (
        limbus.y + limbus.r * np.sin(angle)
    )
    return x.astype(np.float32), y.astype(np.float32)


def unwrap(gray: UInt8Array, x: Float32Array, y: Float32Array) -> UInt8Array:
    """Sample a capture at the sheet's coordinates.

    A capture finer than the sheet is smoothed first, or the sheet would alias.

    Args:
        gray: uint8 (H, W).
        x: float32 (rows, columns), pixels.
        y: float32 (rows, columns), pixels.

    Returns:
        uint8 (rows, columns); outside the capture the nearest border pixel.
    """
    middle = len(x) // 2
    pitch = float(np.hypot(x[middle, 1] - x[middle, 0], y[middle, 1] - y[middle, 0]))
    if pitch > 1.2:
        gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), 0.5 * pitch), np.uint8)
    sheet = cv2.remap(gray, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sheet, np.uint8)


def inside(x: Float32Array, y: Float32Array, shape: tuple[int, int]) -> UInt8Array:
    """255 where the sheet's cell lies within a capture of `shape` (H, W), else 0."""
    height, width = shape
    within = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return np.asarray(within * np.uint8(255), np.uint8)
