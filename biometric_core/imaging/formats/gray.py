"""Samples of any number and depth to gray pixels of 8 bits, on white paper."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from biometric_core.imaging.formats import depth
from biometric_core.imaging.formats.header import Header
from biometric_core.schemas import UInt8Array

Samples = npt.NDArray[np.integer[Any]]


def of_samples(samples: Samples, header: Header, sensor_bits: int | None) -> UInt8Array:
    """Gray pixels of what a decoder made of a file.

    Args:
        samples: uint8 or uint16, (H, W), or (H, W, C) in BGR with transparency as the fourth.
        header: what the file says of them.
        sensor_bits: see `depth.eight_bits`.

    Raises:
        CaptureRefused: `unclear_depth`.
    """
    if samples.dtype != np.uint16:
        found = of(np.asarray(samples, np.uint8))
    else:
        found = of(depth.eight_bits(np.asarray(samples, np.uint16), header, sensor_bits))
        if header.white_is_zero and samples.ndim == 2:  # decoders turn 8 bits, and forget 16
            found = np.asarray(cv2.bitwise_not(found), np.uint8)
    if header.transparent is not None and samples.ndim == 2:
        found = np.where(samples == header.transparent, np.uint8(255), found)
    return found


def of(pixels: UInt8Array, transparent: bool = True) -> UInt8Array:
    """Gray of (H, W), (H, W, 1), BGR or BGRA; the fourth channel counts if `transparent`."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return pixels.reshape(pixels.shape[:2])
    if pixels.shape[2] == 3:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2GRAY), np.uint8)
    if not transparent:
        return gray
    return _on_paper(gray, np.asarray(cv2.extractChannel(pixels, 3), np.uint8))


def _on_paper(gray: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    opaque = cv2.countNonZero(alpha)
    if opaque == 0:  # many writers leave the fourth byte at 0
        return gray
    if cv2.norm(alpha, cv2.NORM_L1) == 255 * opaque:  # all or nothing: sensors crop that way
        return np.asarray(cv2.bitwise_or(gray, cv2.bitwise_not(alpha)), np.uint8)
    shown = cv2.multiply(gray, alpha, scale=1 / 255)
    return np.asarray(cv2.add(shown, cv2.bitwise_not(alpha)), np.uint8)  # the paper is white
