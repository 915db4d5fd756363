"""Iris: from a capture of an eye to a masked rubber sheet."""

import numpy as np

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.iris import localisation, masks, rubber_sheet
from biometric_core.imaging.iris.localisation import IrisLocation
from biometric_core.schemas import Sample, UInt8Array

MIN_USABLE = 0.2
MIN_TEXTURE = 2.5  # grey levels, standard deviation; irises in focus have 6 and more
_LEVEL, _SPREAD = 128.0, 40.0


def prepare(gray: UInt8Array, shape: tuple[int, int] = (64, 512)) -> Sample:
    """Locate, unwrap, mask and normalise an iris.

    Args:
        gray: uint8 (H, W), a near-infrared capture of one eye, about as wide as the eye.
        shape: rows (pupil to limbus) and columns (clockwise from the image's right) of the sheet.

    Returns:
        Sheet with the usable cells at mean 128, standard deviation 40, and 128 where masked.

    Raises:
        FailureToAcquire: `too_small`, `odd_shape`, `low_contrast`, `no_pupil`, `no_limbus`,
            `too_little_iris` or `no_texture`.
    """
    return cut(gray, localisation.localise(gray), shape)


def cut(
    gray: UInt8Array, where: IrisLocation, shape: tuple[int, int], min_texture: float = MIN_TEXTURE
) -> Sample:
    """Unwrap, mask and normalise an iris that is found already; see `prepare`.

    Args:
        gray: uint8 (H, W).
        where: its circles.
        shape: of the sheet.
        min_texture: grey levels that the usable cells must vary by, one standard deviation.

    Raises:
        FailureToAcquire: `too_little_iris` or `no_texture`.
    """
    x, y = rubber_sheet.coordinates(where, shape)
    sheet = rubber_sheet.unwrap(gray, x, y)
    mask = masks.usable(sheet, x, y, where)
    mask &= rubber_sheet.inside(x, y, (gray.shape[0], gray.shape[1]))
    share = float(np.mean(mask > 0))
    if share < MIN_USABLE:
        raise FailureToAcquire("too_little_iris", f"{share:.0%} of the ring is usable")
    texture = float(sheet[mask > 0].std())
    if texture < min_texture:
        raise FailureToAcquire("no_texture", f"{texture:.1f} grey levels")
    return Sample(_normalised(sheet, mask), mask, _quality(sheet, mask, where))


def _normalised(sheet: UInt8Array, mask: UInt8Array) -> UInt8Array:
    valid = mask > 0
    values = sheet[valid].astype(np.float32)
    scaled = (sheet - values.mean()) / max(float(values.std()), MIN_TEXTURE) * _SPREAD + _LEVEL
    return np.asarray(np.where(valid, np.clip(scaled, 0, 255), _LEVEL), np.uint8)


def _quality(sheet: UInt8Array, mask: UInt8Array, where: IrisLocation) -> dict[str, float]:
    """Measures after the ideas of ISO/IEC 29794-6 in [0, 1]; `overall` is their geometric mean."""
    valid = mask > 0
    steps = np.abs(np.diff(sheet.astype(np.float32), axis=1))[valid[:, 1:] & valid[:, :-1]]
    offset = np.hypot(where.pupil.x - where.limbus.x, where.pupil.y - where.limbus.y)
    ratio = where.pupil.r / where.limbus.r
    parts = {
        "usable_area": float(valid.mean()),
        "sharpness": min(1.0, float(steps.mean()) / 4) if steps.size else 0.0,
        "contrast": min(1.0, where.limbus_step / 30),
        "pupil_contrast": min(1.0, where.pupil_step / 35),
        "concentricity": float(np.clip(1 - offset / where.limbus.r / 0.3, 0, 1)),
        "pupil_ratio": float(np.clip(1 - max(0.0, abs(ratio - 0.42) - 0.18) / 0.2, 0, 1)),
    }
    overall = float(np.exp(np.mean(np.log(np.maximum(list(parts.values()), 1e-3)))))
    return {**parts, "overall": overall}
