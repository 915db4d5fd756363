"""The usual kinds of BMP without a decoder: their rows lie in the file as they are.

Opening a file with Pillow costs more than all other work on a capture of this size.
"""

import struct
from typing import NamedTuple

import cv2
import numpy as np

from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats.header import believed_dpi
from biometric_core.schemas import UInt8Array

SIGNATURE = b"BM"
_HEADER = struct.Struct("<2s8xIIiiHHI4xiiI")
_MASKS = struct.Struct("<4I")
_FILE_HEADER = 14
_OS2_HEADER = 12
_HEADER_SIZES = (40, 52, 56, 108, 124)  # BITMAPINFOHEADER, its two extensions, V4 and V5
_SHORTEST = _FILE_HEADER + 40 + _MASKS.size
_ALPHA_MASK_FROM = 56  # smaller headers name no alpha mask: their fourth byte means nothing
_BYTES = {0xFF: 0, 0xFF00: 1, 0xFF0000: 2, 0xFF000000: 3}  # which byte of a pixel a mask names
_BGR = (0, 1, 2)
_PLAIN, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_INCHES_PER_METRE = 0.0254


class Bitmap(NamedTuple):
    """What the header of a usual BMP says.

    Attributes:
        width: pixels, at least 1.
        height: pixels, at least 1.
        start: where the rows begin, bytes into the file.
        bits: of a pixel: 8 with a palette, 24 (BGR), or 32 (colours and a byte of alpha or of
            nothing).
        order: which bytes of a pixel are blue, green, red and, if it counts, transparency.
        colours: entries of the palette that begins at `palette`; without any, samples are gray.
        palette: bytes into the file.
        top_down: the first row is the upper one.
        dpi: pixels per inch, None where nothing credible is stated.
        masked: masks name the bytes of a pixel.
    """

    width: int
    height: int
    start: int
    bits: int
    order: tuple[int, ...]
    colours: int
    palette: int
    top_down: bool
    dpi: float | None
    masked: bool = False

    @property
    def stride(self) -> int:
        """Bytes from one row to the next: rows are padded to four bytes."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def end(self) -> int:
        """How many bytes a whole file has at least."""
        return self.start + self.stride * self.height

    @property
    def reinterpreted(self) -> bool:
        """Whether `parse` alone gives the bytes the meaning they have: others take it otherwise."""
        bare = self.bits == 8 and not self.colours
        return (self.masked and self.order != (*_BGR, 3)) or bare

    @property
    def alpha(self) -> bool:
        """Whether a fourth byte is transparency."""
        return len(self.order) > len(_BGR)


def parse(data: bytes) -> Bitmap | None:
    """The header of a BMP with 8, 24 or 32 bits in whole bytes; None of anything else."""
    if len(data) < _SHORTEST or data[:2] != SIGNATURE:
        return None
    _, start, size, width, height, planes, bits, packing, x, y, colours = _HEADER.unpack_from(data)
    order = _order(data, size, bits, packing)
    if order is None or size not in _HEADER_SIZES or planes != 1 or width < 1 or height == 0:
        return None
    palette = _FILE_HEADER + size + (12 if size == 40 and packing == _BITFIELDS else 0)
    dpi = believed_dpi(x * _INCHES_PER_METRE, y * _INCHES_PER_METRE) if x > 0 else None
    colours = colours or (256 if bits == 8 else 0)
    masked = packing == _BITFIELDS
    found = Bitmap(
        width, abs(height), start, bits, order, colours, palette, height < 0, dpi, masked
    )
    if bits == 8 and start == palette and len(data) < found.end + 4 * colours:
        return found._replace(colours=0)  # the file has no room for a palette
    if colours > 256 or start < palette + (4 * colours if bits == 8 else 0):
        return None
    return found


def _order(data: bytes, size: int, bits: int, packing: int) -> tuple[int, ...] | None:
    """See `Bitmap.order`; None where colours are no whole bytes."""
    if packing == _PLAIN:
        return _BGR if bits in (8, 24, 32) else None
    if packing != _BITFIELDS or bits != 32:
        return None
    red, green, blue, alpha = _MASKS.unpack_from(data, _FILE_HEADER + 40)
    masks = [blue, green, red]
    if size >= _ALPHA_MASK_FROM and alpha:
        masks.append(alpha)
    order = tuple(_BYTES.get(mask, -1) for mask in masks)
    return order if -1 not in order and len(set(order)) == len(order) else None


def check(data: bytes) -> None:
    """Refuse a BMP whose pixels would begin before its header and palette end.

    Decoders take palette for pixels then, or pixels for palette, without a word.

    Raises:
        CaptureRefused: `not_an_image`.
    """
    if len(data) < _SHORTEST:
        return  # decoders refuse it
    start, size = struct.unpack_from("<II", data, 10)
    if size == _OS2_HEADER:
        bits, packing, stated, entry = struct.unpack_from("<H", data, 24)[0], _PLAIN, 0, 3
    else:
        bits, packing = struct.unpack_from("<HI", data, 28)
        (stated,), entry = struct.unpack_from("<I", data, 46), 4
    end = _FILE_HEADER + size
    if size == 40:
        end += {_BITFIELDS: 12, _ALPHA_BITFIELDS: 16}.get(packing, 0)
    if start < end:
        raise CaptureRefused(
            "not_an_image",
            f"BMP whose pixels would begin at {start}, inside its {end} bytes of header",
        )
    colours = (stated or 2**bits) if bits <= 8 else 0
    if start < end + entry * colours:
        raise CaptureRefused(
            "not_an_image",
            f"BMP whose pixels would begin inside its palette of {colours} colours",
        )


def pixels(data: bytes, bitmap: Bitmap) -> UInt8Array:
    """The rows as they lie in the file, without a copy where they are gray, BGR or BGRA.

    Args:
        data: the file's bytes, at least `bitmap.end`.
        bitmap: what `parse` found in them.

    Returns:
        uint8, (height, width, 3) or more in BGR, the fourth being transparency if `bitmap.alpha`;
        of 8 bits (height, width), gray. The lowest row first, unless `bitmap.top_down`.
    """
    shape = (bitmap.height, bitmap.width)
    if bitmap.bits == 8:
        rows: UInt8Array = np.ndarray(shape, np.uint8, data, bitmap.start, (bitmap.stride, 1))
        if not bitmap.colours:
            return rows
        return np.asarray(cv2.LUT(rows, _gray_levels(data, bitmap)), np.uint8)
    channels = bitmap.bits // 8
    strides = (bitmap.stride, channels, 1)
    found: UInt8Array = np.ndarray((*shape, channels), np.uint8, data, bitmap.start, strides)
    return found if bitmap.order in (_BGR, (*_BGR, 3)) else found[..., list(bitmap.order)]


def _gray_levels(data: bytes, bitmap: Bitmap) -> UInt8Array:
    palette = np.zeros((1, 256, 4), np.uint8)
    stated = np.frombuffer(data, np.uint8, 4 * bitmap.colours, bitmap.palette)
    palette[0, : bitmap.colours] = stated.reshape(-1, 4)
    return np.asarray(cv2.cvtColor(palette, cv2.COLOR_BGRA2GRAY), np.uint8).ravel()
