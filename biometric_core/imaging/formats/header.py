"""What a file states about its pixels, and the one place where that is believed or not."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from biometric_core.schemas import UInt8Array

UPRIGHT = 1  # orientations are numbered as EXIF numbers them
# Below are what programs write that don't know: 1, 72, 96. The finest sensors have 2000.
_DPI = (150.0, 2540.0)
_SQUARE = 0.02  # pixels whose sides differ by more tell no one resolution
_TURNS = {
    3: cv2.ROTATE_180,
    5: cv2.ROTATE_90_CLOCKWISE,
    6: cv2.ROTATE_90_CLOCKWISE,
    7: cv2.ROTATE_90_COUNTERCLOCKWISE,
    8: cv2.ROTATE_90_COUNTERCLOCKWISE,
}
_MIRRORED = {2: 1, 4: 0, 5: 1, 7: 1}  # 1: left and right, 0: top and bottom; after the turn


@dataclass(frozen=True)
class Header:
    """What a file says.

    Attributes:
        orientation: 1 to 8, how the pixels are to be turned.
        dpi: pixels per inch, None where nothing credible is stated.
        bits: significant bits of a sample of 16, None where nothing is stated.
        left_aligned: samples larger than `bits` hold are scaled to the full range.
        white_is_zero: samples of 16 bits are stored inverted.
        transparent: the gray level that stands for no colour.
        depth: bits of a sample as they are stored.
        metadata_behind: there may be an orientation behind the pixels.
        by_pillow: OpenCV doesn't decode it, or not right.
        opaque: a fourth sample of a pixel is no transparency.
    """

    orientation: int = UPRIGHT
    dpi: float | None = None
    bits: int | None = None
    left_aligned: bool = False
    white_is_zero: bool = False
    transparent: int | None = None
    depth: int = 8
    metadata_behind: bool = False
    by_pillow: bool = False
    opaque: bool = False


def believed_orientation(stated: object) -> int:
    """What is stated, `UPRIGHT` where that is no orientation: viewers ignore it as well."""
    return stated if isinstance(stated, int) and 1 <= stated <= 8 else UPRIGHT


def upright(gray: UInt8Array, orientation: int) -> UInt8Array:
    """The image (H, W) as any viewer shows it: (H, W), or (W, H) for the orientations 5 to 8."""
    if orientation in _TURNS:
        gray = np.asarray(cv2.rotate(gray, _TURNS[orientation]), np.uint8)
    if orientation in _MIRRORED:
        gray = np.asarray(cv2.flip(gray, _MIRRORED[orientation]), np.uint8)
    return gray


def believed_dpi(across: object, down: object) -> float | None:
    """A stated resolution in whole pixels per inch; None of what no sensor of fingers has."""
    try:
        x, y = float(across), float(down)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    if not (math.isfinite(x) and math.isfinite(y)) or abs(x - y) > _SQUARE * abs(x):
        return None
    # Whole: 500 dpi comes back as 499.99 from a file that counts pixels per metre.
    return float(round(x)) if _DPI[0] <= x <= _DPI[1] else None
