"""Pupil and limbus of an eye, by integro-differential search (Daugman 1993, eq. 4), coarse to fine.

All searches run on the capture scaled to a working width, so that thresholds in pixels mean the
same on a 320x240 and on a 640x480 sensor. Angles run clockwise from the right (y points down).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.iris import limbus, pupil
from biometric_core.imaging.iris.circles import Circle
from biometric_core.schemas import UInt8Array

WORKING_WIDTH = 320
MIN_SIDE = 80  # below this an iris has too few pixels to tell it from another
MAX_ASPECT = 4.0
MIN_RANGE = 20.0


@dataclass(frozen=True)
class IrisLocation:
    """Where the iris is.

    Attributes:
        pupil: boundary between pupil and iris.
        limbus: boundary between iris and sclera, not necessarily concentric.
        pupil_step: mean rise in grey levels across the pupil's boundary.
        limbus_step: mean rise across the limbus, on the arcs that lids seldom cover.
    """

    pupil: Circle
    limbus: Circle
    pupil_step: float
    limbus_step: float


def localise(gray: UInt8Array) -> IrisLocation:
    """Find pupil and limbus.

    Args:
        gray: uint8 (H, W), a near-infrared capture of one eye.

    Raises:
        FailureToAcquire: `too_small`, `odd_shape`, `low_contrast`, `no_pupil` or `no_limbus`.
    """
    height, width = gray.shape
    if min(height, width) < MIN_SIDE:
        raise FailureToAcquire("too_small", f"{width}x{height}, each side at least {MIN_SIDE}")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise FailureToAcquire("odd_shape", f"{width}x{height}")
    factor = WORKING_WIDTH / width
    working = gray
    if factor != 1:
        mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        size = (WORKING_WIDTH, round(height * factor))
        working = np.asarray(cv2.resize(gray, size, interpolation=mode), np.uint8)
    dark, bright = np.percentile(working, (1, 90))
    if bright - dark < MIN_RANGE:
        raise FailureToAcquire("low_contrast")
    inner, pupil_step = pupil.find(working)
    outer, limbus_step = limbus.find(working, inner)
    back = 1 / factor
    return IrisLocation(inner.scaled(back), outer.scaled(back), pupil_step, limbus_step)
