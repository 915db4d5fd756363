"""Samples of 16 bits to 8: how many of the bits a sensor filled.

A sensor of 10 bits writes 0 to 1023 into a file of 16. Taken as parts of 65,535 that is black.
"""

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats.header import Header
from biometric_core.schemas import UInt8Array

FULL = 16
_LIKELY = (8, 10, 12, 14)  # bits of sensors; of 15 none are known
_COLOURS = 3


def eight_bits(
    pixels: npt.NDArray[np.uint16], header: Header, sensor_bits: int | None
) -> UInt8Array:
    """The pixels with their significant bits scaled to 0 to 255.

    What the file states counts, then what the sensor is known for. Where nobody states anything,
    an image with a sample of 2^14 or more is one of 16 bits, and so is one whose samples were
    made of 8 bits (all are multiples of 256 or 257), however dark it is; any other is refused.

    Args:
        pixels: (H, W) or (H, W, C); a fourth channel is transparency.
        header: of the file.
        sensor_bits: of the sensor, None where the configuration doesn't say.

    Returns:
        uint8 of the same shape.

    Raises:
        CaptureRefused: `unclear_depth`.
    """
    colour = pixels[..., :_COLOURS] if pixels.ndim == _COLOURS else pixels
    bits = _bits(colour, header, sensor_bits)
    scaled = _scaled(pixels, bits)
    if pixels.ndim == _COLOURS and pixels.shape[2] > _COLOURS and bits < FULL:
        alpha = pixels[..., _COLOURS]
        if int(alpha.max()) >= 2**bits:  # it fills the range though the colours don't
            scaled[..., _COLOURS] = _scaled(np.ascontiguousarray(alpha), FULL)
    return scaled


def _bits(colour: npt.NDArray[np.uint16], header: Header, sensor_bits: int | None) -> int:
    largest = int(colour.max())
    if header.bits is not None:
        if largest < 2**header.bits:
            return header.bits
        if header.left_aligned:
            return FULL
    if sensor_bits is not None:
        if largest >= 2**sensor_bits:
            raise CaptureRefused(
                "unclear_depth",
                f"16 bit file whose largest value is {largest}, more than the {sensor_bits} bits "
                "that source.bits states for its sensor",
            )
        return sensor_bits
    if largest >= 2 ** _LIKELY[-1] or _made_of_eight(colour):
        return FULL
    likely = next(bits for bits in _LIKELY if largest < 2**bits)
    raise CaptureRefused(
        "unclear_depth",
        f"16 bit file whose largest value is {largest}: {likely} bits? "
        f"State the depth in the file or in source.bits ({FULL} if it is just dark)",
    )


def _made_of_eight(colour: npt.NDArray[np.uint16]) -> bool:
    """Whether all samples are 8 bits scaled to 16, by a shift or by repetition."""
    low, high = colour & 0xFF, colour >> 8
    return bool((low == 0).all() or (low == high).all())


def _scaled(pixels: npt.NDArray[np.uint16], bits: int) -> UInt8Array:
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / (2**bits - 1)), np.uint8)
