"""The usual kinds of BMP without a decoder: their rows lie in the file as they are.

Opening a file with Pillow costs more than all other work on a capture of this size.
"""

import struct
from typing import NamedTuple

import cv2
import numpy as np

from biometric_core.schemas import UInt8Array

_HEADER = struct.Struct("<2s8xIIiiHHI12xI")
_MASKS = struct.Struct("<4I")
_FILE_HEADER = 14
_HEADER_SIZES = (40, 52, 56, 108, 124)  # BITMAPINFOHEADER, its two extensions, V4 and V5
_SHORTEST = _FILE_HEADER + 40 + _MASKS.size
_ALPHA_MASK_FROM = 56  # smaller headers name no alpha mask, and the fourth byte is taken as one
_BGR = [0xFF0000, 0xFF00, 0xFF]
_ALPHA = 0xFF000000
_PLAIN, _BITFIELDS = 0, 3


class Bitmap(NamedTuple):
    """What the header of a usual BMP says.

    Attributes:
        width: pixels, at least 1.
        height: pixels, at least 1.
        start: where the rows begin, bytes into the file.
        bits: of a pixel: 8 with a palette, 24 (BGR), or 32 (BGR and a byte of alpha or of nothing).
        alpha: whether the fourth byte is transparency.
        colours: entries of the palette that begins at `palette`.
        palette: bytes into the file.
        top_down: the first row is the upper one.
    """

    width: int
    height: int
    start: int
    bits: int
    alpha: bool
    colours: int
    palette: int
    top_down: bool

    @property
    def stride(self) -> int:
        """Bytes from one row to the next: rows are padded to four bytes."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def end(self) -> int:
        """How many bytes a whole file has at least."""
        return self.start + self.stride * self.height


def parse(data: bytes) -> Bitmap | None:
    """The header of a BMP with 8, 24 or 32 bits in the usual order; None of anything else."""
    if len(data) < _SHORTEST or data[:2] != b"BM":
        return None
    _, start, size, width, height, planes, bits, packing, colours = _HEADER.unpack_from(data)
    alpha = _alpha(data, size, bits, packing)
    if alpha is None or size not in _HEADER_SIZES or planes != 1 or width < 1 or height == 0:
        return None
    colours = colours or (256 if bits == 8 else 0)
    palette = _FILE_HEADER + size
    if colours > 256 or start < palette + 4 * colours:
        return None
    return Bitmap(width, abs(height), start, bits, alpha, colours, palette, height < 0)


def _alpha(data: bytes, size: int, bits: int, packing: int) -> bool | None:
    """Whether the fourth byte is transparency; None where the bytes have another order."""
    if packing == _PLAIN:
        return False if bits in (8, 24, 32) else None
    *masks, alpha = _MASKS.unpack_from(data, _FILE_HEADER + 40)
    if packing != _BITFIELDS or bits != 32 or masks != _BGR:
        return None
    return True if size < _ALPHA_MASK_FROM else {_ALPHA: True, 0: False}.get(alpha)


def pixels(data: bytes, bitmap: Bitmap) -> UInt8Array:
    """The rows as they lie in the file, without a copy where there is no palette.

    Args:
        data: the file's bytes, at least `bitmap.end`.
        bitmap: what `parse` found in them.

    Returns:
        uint8, (height, width, 3) in BGR or (height, width, 4) with the fourth byte; with a palette
        (height, width), gray. The lowest row first, unless `bitmap.top_down`.
    """
    shape = (bitmap.height, bitmap.width)
    if bitmap.bits == 8:
        rows: UInt8Array = np.ndarray(shape, np.uint8, data, bitmap.start, (bitmap.stride, 1))
        return np.asarray(cv2.LUT(rows, _gray_levels(data, bitmap)), np.uint8)
    channels = bitmap.bits // 8
    strides = (bitmap.stride, channels, 1)
    return np.ndarray((*shape, channels), np.uint8, data, bitmap.start, strides)


def _gray_levels(data: bytes, bitmap: Bitmap) -> UInt8Array:
    palette = np.zeros((1, 256, 4), np.uint8)
    stated = np.frombuffer(data, np.uint8, 4 * bitmap.colours, bitmap.palette)
    palette[0, : bitmap.colours] = stated.reshape(-1, 4)
    return np.asarray(cv2.cvtColor(palette, cv2.COLOR_BGRA2GRAY), np.uint8).ravel()
