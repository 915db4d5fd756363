"""Binary phase code of a rubber sheet, and masked Hamming distance with rotation shifts.

A 1-D log-Gabor filter runs along each ring (Masek 2003; Field 1987); the signs of its real and
imaginary part are two bits a cell. Distances are normalised by the number of bits compared
(Daugman 2007, eq. 4): few bits agree or differ by chance more easily than many.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Self

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.schemas import Float32Array, IntArray, UInt8Array

ROWS, COLUMNS = 16, 256
WAVELENGTH = 18.0  # cells of the code's grid
BANDWIDTH = 0.5  # sigma over centre frequency
SHIFTS = tuple(range(-16, 17))  # cells of 360/256 degrees: 22 degrees of head tilt either way
TYPICAL_BITS = 4000.0
_FRAGILE = 0.25  # share of bits nearest to zero that is not compared: they flip by themselves


@dataclass(frozen=True)
class PhaseCodes:
    """Codes of N samples.

    Attributes:
        signs: float32 (N, 2, ROWS, COLUMNS), +1 or -1 where valid, 0 where masked.
    """

    signs: Float32Array
    encoder: ClassVar[str] = "phase_code"

    def __len__(self) -> int:
        return len(self.signs)

    def take(self, rows: IntArray) -> Self:
        """See `templates.Templates`."""
        return type(self)(self.signs[rows])

    def similarities(self, references: Self) -> Float32Array:
        """0.5 - distance: 0.5 for equal codes, about 0 for different eyes; float32 (N, M)."""
        return np.asarray(0.5 - distances(self, references), np.float32)


def encode(images: Iterable[UInt8Array], masks: Iterable[UInt8Array]) -> PhaseCodes:
    """Encode rubber sheets.

    Args:
        images: N of them, uint8 (H, W).
        masks: N of them, uint8 (H, W), 0 where not usable.
    """
    codes = [_encode_one(image, mask) for image, mask in zip(images, masks, strict=True)]
    return PhaseCodes(np.stack(codes) if codes else np.zeros((0, 2, ROWS, COLUMNS), np.float32))


def _encode_one(image: UInt8Array, mask: UInt8Array) -> Float32Array:
    size = (COLUMNS, ROWS)
    weight = (mask > 0).astype(np.float32)
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(image * weight, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-3)
    valid = share > 0.5
    level = (mean * valid).sum(1, keepdims=True) / np.maximum(valid.sum(1, keepdims=True), 1)
    signal = np.where(valid, mean - level, 0)
    response = np.fft.ifft(np.fft.fft(signal, axis=1) * _log_gabor(), axis=1)
    parts = np.stack([response.real, response.imag]).astype(np.float32)
    size_of = np.abs(parts[:, valid])
    sure = np.abs(parts) >= (np.quantile(size_of, _FRAGILE) if size_of.size else 0)
    return np.asarray(np.sign(parts) * (valid & sure), np.float32)


@cache
def _log_gabor() -> npt.NDArray[np.float64]:
    frequency = np.fft.fftfreq(COLUMNS)
    gain = np.zeros(COLUMNS)
    positive = frequency > 0  # one-sided: the inverse transform is the analytic signal
    ratio = np.log(frequency[positive] * WAVELENGTH)
    gain[positive] = np.exp(-(ratio**2) / (2 * np.log(BANDWIDTH) ** 2))
    return gain


def distances(
    probes: PhaseCodes, references: PhaseCodes, shifts: tuple[int, ...] = SHIFTS
) -> Float32Array:
    """Normalised masked Hamming distances of all probes to all references.

    Returns:
        float32 (N, M), 0 for equal codes, about 0.5 for different eyes; 0.5 where nothing overlaps.
    """
    size = 2 * ROWS * COLUMNS
    right = references.signs.reshape(-1, size).T
    right_valid = np.abs(right)
    best = np.full((len(probes), len(references)), np.inf, np.float32)
    for shift in shifts:
        left = np.roll(probes.signs, shift, axis=-1).reshape(-1, size)
        bits = np.abs(left) @ right_valid
        raw = 0.5 - 0.5 * (left @ right) / np.maximum(bits, 1)
        np.minimum(best, 0.5 - (0.5 - raw) * np.sqrt(bits / TYPICAL_BITS), out=best)
    return best
