"""The ridge period of a fingerprint, from the spectra of overlapping windows."""

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.errors import FailureToAcquire
from biometric_core.imaging.fingerprint import segmentation
from biometric_core.schemas import UInt8Array

PERIODS = (2.3, 16.0)  # pixels in the reduced image
COARSEST = 11.0  # shading and blobs peak at the slow end of the spectrum, where no ridges are
MIN_CLARITY = 0.13
# Longest period, typical period in pixels: about 200, 500 and 1000 dpi.
RESOLUTIONS = ((5.4, 3.4), (13.0, 8.5), (float("inf"), 17.0))
_AT_500_DPI = 8.5
# Real fingers of 500 dpi have 0.74 to 1.24 of it. Who states 300 dpi of them has 1.65.
_BORNE_OUT = (0.7, 1.35)
_LARGEST = 256  # a longer side is reduced to this: 500 dpi ridges still have 5 pixels
_SIDES = (24, 64)
_MIN_TEXTURE = 0.25
_BAND = 1.3  # a finger's ridges lie within this factor of their mean period


def nominal(measured: float, dpi: float | None = None) -> float:
    """The period that fingers have at the stated resolution, else at the one the period tells.

    One scale for all captures of a sensor: scaling by each measurement would bring its error (3 %
    between impressions of a finger) into the sample, and lose how fine a finger's ridges are.

    Args:
        measured: pixels; 200 dpi, 500 dpi and 1000 dpi are told apart.
        dpi: stated pixels per inch. They count where the measured period may be a finger's:
            programs write figures of their own.
    """
    if dpi is not None:
        typical = _AT_500_DPI * dpi / 500
        if _BORNE_OUT[0] < measured / typical < _BORNE_OUT[1]:
            return typical
    return next(typical for longest, typical in RESOLUTIONS if measured < longest)


def period(gray: UInt8Array) -> tuple[float, float]:
    """Mean distance between ridges, and how clearly there are ridges at all.

    Args:
        gray: uint8 (H, W).

    Returns:
        Period in pixels, and clarity in [0, 1]: the share of the spectrum that lies around that
        period, times how well each window agrees on one direction.

    Raises:
        FailureToAcquire: `no_ridges`.
    """
    factor = min(1.0, _LARGEST / max(gray.shape))
    if factor < 1:
        gray = np.asarray(
            cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8
        )
    windows, weight = _windows(gray)
    side = windows.shape[1]
    taper = np.hanning(side + 2)[1:-1].astype(np.float32)
    power = np.abs(np.fft.rfft2(windows * np.outer(taper, taper))) ** 2
    spectrum = np.tensordot(weight, power, 1)
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    radius = np.hypot(fy, fx)
    band = (radius >= 1 / PERIODS[1]) & (radius <= 1 / PERIODS[0])
    peak = _peak(spectrum[band], radius[band], side)
    near = band & (radius > peak / _BAND) & (radius < peak * _BAND)
    frequency = float((spectrum * radius)[near].sum() / spectrum[near].sum())
    clarity = float(spectrum[near].sum() / spectrum[band].sum())
    clarity *= _coherence(power[:, near], np.arctan2(fy, fx)[near], weight)
    if not clarity >= MIN_CLARITY or 1 / frequency > COARSEST:
        raise FailureToAcquire("no_ridges", f"clarity {clarity:.2f}")
    return 1 / frequency / factor, min(1.0, clarity)


def _windows(gray: UInt8Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Overlapping windows of the locally normalised image, and how much each counts.

    Returns:
        float32 (N, side, side), and (N,) that sums to 1: a window counts by its contrast.
    """
    side = int(np.clip(min(gray.shape) // 3, *_SIDES)) // 2 * 2
    mean, deviation = segmentation.local_moments(gray.astype(np.float32), side / 6)
    normal = (gray - mean) / np.maximum(deviation, 8.0)
    cut = (slice(None, None, side // 2), slice(None, None, side // 2))
    view = np.lib.stride_tricks.sliding_window_view(normal, (side, side))[cut]
    windows = view.reshape(-1, side, side).astype(np.float32)
    weight = np.minimum(windows.std((1, 2)), 1.0) ** 2
    if weight.max() < _MIN_TEXTURE:
        raise FailureToAcquire("no_ridges", "shading only")
    return windows, (weight / max(float(weight.sum()), 1e-6)).astype(np.float32)


def _peak(power: npt.NDArray[np.floating], radius: npt.NDArray[np.floating], side: int) -> float:
    """Frequency of the ring that holds most of the power, rings one cycle a window apart."""
    rings = np.bincount(np.round(radius * side).astype(int), power)
    return float(np.argmax(np.convolve(rings, (0.25, 0.5, 0.25), "same"))) / side


def _coherence(
    power: npt.NDArray[np.floating],
    angle: npt.NDArray[np.floating],
    weight: npt.NDArray[np.floating],
) -> float:
    """Mean over windows of how much of their energy points one way, in [0, 1]."""
    resultant = np.abs(power @ np.exp(2j * angle)) / np.maximum(power.sum(1), 1e-9)
    return float(np.sum(weight * resultant))
