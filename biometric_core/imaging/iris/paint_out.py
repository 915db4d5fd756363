"""A check that a recogniser reads the iris and not its surroundings: eyes without their iris.

The iris is painted over in the capture, with its own mean grey, and the eye is prepared again. A
recogniser that still tells people apart reads lids, lashes or lighting.
"""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.iris import localisation, masks, normalisation, rubber_sheet
from biometric_core.imaging.iris.circles import Circle
from biometric_core.imaging.iris.localisation import IrisLocation
from biometric_core.schemas import BoolArray, Sample, UInt8Array

_CELLS_PER_PIXEL = 2


class PaintOut(StrEnum):
    """What is painted: the whole ring, or only what lids and lashes leave of it."""

    IRIS = "iris"
    VISIBLE_IRIS = "visible_iris"


@dataclass(frozen=True)
class PaintedSample(Sample):
    """A sample of a painted eye.

    Attributes:
        refusal: why the ordinary preparation refuses the painted eye; None where it does not.
    """

    refusal: str | None = None


def prepare(gray: UInt8Array, shape: tuple[int, int], what: PaintOut) -> PaintedSample:
    """Paint the iris out and prepare the eye, with the circles found before.

    The circles are those of the unpainted eye: hardly a painted one is acquired otherwise, and
    there would be nothing to measure. The mask is computed anew on the painted eye.

    Args:
        gray: uint8 (H, W), a capture of one eye.
        shape: rows and columns of the sheet.
        what: what is painted.

    Raises:
        FailureToAcquire: as `normalisation.prepare` does of the unpainted eye.
    """
    where = localisation.localise(gray)
    over = painted(gray, where, shape, what)
    sample = normalisation.cut(over, where, shape, min_texture=0.0)
    return PaintedSample(sample.image, sample.mask, sample.quality, _refusal(over, shape))


def painted(
    gray: UInt8Array, where: IrisLocation, shape: tuple[int, int], what: PaintOut
) -> UInt8Array:
    """The capture with its iris in one grey, uint8 (H, W); arguments as in `prepare`."""
    region = _ring(where, gray) if what is PaintOut.IRIS else _unmasked(where, gray, shape)
    over = gray.copy()
    if region.any():
        over[region] = round(float(gray[region].mean()))
    return over


def _refusal(gray: UInt8Array, shape: tuple[int, int]) -> str | None:
    try:
        normalisation.prepare(gray, shape)
    except FailureToAcquire as failure:
        return failure.reason
    return None


def _ring(where: IrisLocation, gray: UInt8Array) -> BoolArray:
    """Pixels between pupil and limbus, bool (H, W)."""
    y, x = np.mgrid[: gray.shape[0], : gray.shape[1]]

    def inside(circle: Circle) -> BoolArray:
        return np.asarray(np.hypot(x - circle.x, y - circle.y) <= circle.r, np.bool_)

    return inside(where.limbus) & ~inside(where.pupil)


def _unmasked(where: IrisLocation, gray: UInt8Array, shape: tuple[int, int]) -> BoolArray:
    """Pixels of the ring that the mask of the unpainted eye calls iris, bool (H, W)."""
    x, y = rubber_sheet.coordinates(where, shape)
    mask = masks.usable(rubber_sheet.unwrap(gray, x, y), x, y, where)
    # A sheet so fine that it meets every pixel of the ring.
    rows = int(_CELLS_PER_PIXEL * (where.limbus.r + 1))
    columns = int(_CELLS_PER_PIXEL * 2 * np.pi * (where.limbus.r + 1))
    fine = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_NEAREST) > 0
    x, y = rubber_sheet.coordinates(where, (rows, columns))
    fine &= rubber_sheet.inside(x, y, (gray.shape[0], gray.shape[1])) > 0
    region = np.zeros(gray.shape, dtype=np.bool_)
    region[np.rint(y[fine]).astype(int), np.rint(x[fine]).astype(int)] = True
    return region
