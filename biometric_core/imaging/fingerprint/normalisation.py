"""Fingerprint: from a capture of one finger to a masked crop at a common ridge scale."""

import cv2
import numpy as np

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.fingerprint import core, ridge_period, segmentation
from biometric_core.imaging.fingerprint.core import Core
from biometric_core.schemas import Sample, UInt8Array

PERIOD = 5.0  # typical pixels from ridge to ridge in the sample: 224 pixels hold about 45 ridges
FULL_AREA = (25 * PERIOD) ** 2  # pixels: what a good touch shows
MIN_FOREGROUND = 0.1  # of it
MIN_RANGE = 20.0  # grey levels
MAX_ASPECT = 4.0


def prepare(
    gray: UInt8Array, shape: tuple[int, int] = (224, 224), dpi: float | None = None
) -> Sample:
    """Segment, scale, normalise and align a fingerprint: its core in the middle, upright.

    The scale follows from the resolution, stated or told by the ridge period, so that 96x103
    pixels (about 200 dpi, enlarged here) and 500 dpi (reduced here) give like samples.

    Args:
        gray: uint8 (H, W), dark ridges on a brighter ground.
        shape: height and width of the sample.
        dpi: pixels per inch as the file states them.

    Returns:
        Ridges at local mean 128 and standard deviation 50; 128 off the finger.

    Raises:
        FailureToAcquire: `odd_shape`, `low_contrast`, `no_ridges` or `too_little_finger`.
    """
    height, width = gray.shape
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise FailureToAcquire("odd_shape", f"{width}x{height}")
    dark, bright = np.percentile(gray, (2, 98))
    if bright - dark < MIN_RANGE:
        raise FailureToAcquire("low_contrast")
    gray = segmentation.trim_frame(gray)
    period, clarity = ridge_period.period(gray)
    scaled = _rescale(gray, PERIOD / ridge_period.nominal(period, dpi))
    foreground = segmentation.foreground(scaled, PERIOD)
    normal = segmentation.normalise(scaled, foreground, PERIOD)
    middle = segmentation.centre(foreground)
    found = core.find(normal, foreground, PERIOD, middle)
    image = _crop(normal, found, shape, round(segmentation.LEVEL))
    mask = np.asarray(_crop(foreground, found, shape, 0) >= 128, np.uint8) * np.uint8(255)
    image[mask == 0] = round(segmentation.LEVEL)
    share = min(1.0, float(np.count_nonzero(mask)) / FULL_AREA)
    if share < MIN_FOREGROUND:
        raise FailureToAcquire("too_little_finger", f"{share:.0%} of a full touch")
    quality = {"usable_area": share, "ridge_clarity": clarity, "core": found.strength}
    return Sample(image, mask, {**quality, "overall": float(np.sqrt(share * clarity))})


def _rescale(gray: UInt8Array, factor: float) -> UInt8Array:
    height, width = (max(8, round(side * factor)) for side in gray.shape)
    mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(gray, (width, height), interpolation=mode), np.uint8)


def _crop(image: UInt8Array, at: Core, shape: tuple[int, int], fill: int) -> UInt8Array:
    """The `shape` window around a core, turned upright; `fill` beyond the image's borders."""
    turn = np.asarray(cv2.getRotationMatrix2D((at.x, at.y), at.tilt, 1.0), np.float64)
    turn[:, 2] += np.array([shape[1] / 2 - at.x, shape[0] / 2 - at.y])
    window = cv2.warpAffine(
        image, turn, shape[::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,)
    )
    return np.asarray(window, np.uint8)
