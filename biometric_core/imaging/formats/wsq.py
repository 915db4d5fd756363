"""WSQ, the FBI's compression of fingerprints, decoded by NIST's code (`wsq`).

That code is not made for hostile files. It gets none: the file is taken apart here, each table is
held to the standard, the coefficients are counted, and only what has been looked at is handed on.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats import entropy
from biometric_core.imaging.formats.foreign import unsupported
from biometric_core.imaging.formats.header import believed_dpi
from biometric_core.schemas import UInt8Array

_BEGIN, _END = b"\xff\xa0", b"\xff\xa1"
_FRAME, _BLOCK, _FILTERS, _QUANTISATION, _CODES, _COMMENT = 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA8
_MOST_SEGMENTS = 1_000
_MARKER = re.compile(rb"\xff[^\x00]")
_RESOLUTION = re.compile(rb"\nPPI (\d{1,5})\b")
_MOST_TAPS = 32
_SUBBANDS, _CODED_SUBBANDS = 64, 60
_MOST_CODES, _TABLES = 256, 8
_SMALLEST = 64  # pixels: of less the finest subbands have no width, and nobody writes it


@dataclass
class _File:
    """What the segments say, and the bytes that were looked at."""

    size: tuple[int, int] = (0, 0)
    dpi: float | None = None
    filters: bool = False
    coded: list[bool] = field(default_factory=list)  # whether a subband has coefficients
    tables: dict[int, entropy.Codes] = field(default_factory=dict)
    coefficients: int = 0
    blocks: int = 0
    checked: bytearray = field(default_factory=lambda: bytearray(_BEGIN))


def is_one(data: bytes) -> bool:
    """Whether the bytes begin like a WSQ."""
    return data.startswith(_BEGIN)


def size(data: bytes) -> tuple[int, int]:
    """Width and height as the frame header states them, nothing else being looked at.

    Raises:
        CaptureRefused: `not_an_image` or `truncated`.
    """
    for marker, start, end in _segments(data):
        if marker == _FRAME and end - start == 15:
            height, width = struct.unpack_from(">HH", data, start + 2)
            return width, height
    raise CaptureRefused("not_an_image", "WSQ without a frame header")


def decode(data: bytes) -> tuple[UInt8Array, float | None]:
    """The pixels, uint8 (H, W), and the stated resolution in pixels per inch; after `size` only.

    Raises:
        CaptureRefused: `not_an_image`, `unsupported_format`, `too_small`, `too_complex` or
            `truncated`.
    """
    try:
        from _wsq import decompress  # the module `wsq` would change Pillow for everybody
    except ImportError:  # a model's environment of an earlier release
        raise unsupported("WSQ, which needs the package wsq") from None
    found = _File()
    for marker, start, end in _segments(data):
        _READERS.get(marker, _unknown)(found, data, start, end)
        if marker != _COMMENT:  # its parser is not handed anything
            found.checked += data[start - 4 : end]
    found.checked += _END
    width, height = found.size
    if not found.blocks or found.coefficients != _expected(width, height, found.coded):
        raise _damaged(data)
    try:
        pixels, *decoded, _ = decompress(bytes(found.checked))
    except Exception as error:  # a parser of damaged bytes raises nearly anything
        raise CaptureRefused("truncated", f"WSQ damaged ({type(error).__name__})") from None
    if tuple(decoded) != (width, height) or len(pixels) != width * height:
        raise _damaged(data)
    return np.frombuffer(pixels, np.uint8).reshape(height, width), found.dpi


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment; of a block its codes are part.

    Raises:
        CaptureRefused: `truncated`, `not_an_image` or `too_complex`.
    """
    place = len(_BEGIN)
    for _ in range(_MOST_SEGMENTS):
        if data.startswith(_END, place):
            return
        if place + 4 > len(data):
            raise _damaged(data)
        first, marker, length = struct.unpack_from(">BBH", data, place)
        start, end = place + 4, place + 2 + length
        if first != 0xFF or length < 2:
            raise CaptureRefused("not_an_image", "WSQ with damaged segments")
        if marker == _BLOCK:
            following = _MARKER.search(data, end)
            end = following.start() if following else len(data) + 1
        if end > len(data):
            raise _damaged(data)
        yield marker, start, end
        place = end
    raise CaptureRefused("too_complex", f"WSQ of more than {_MOST_SEGMENTS} segments")


def _damaged(data: bytes) -> CaptureRefused:
    return CaptureRefused("truncated", f"WSQ of {len(data)} bytes: cut short or damaged")


def _unknown(found: _File, data: bytes, start: int, end: int) -> None:
    raise unsupported("WSQ with rare segments")


def _read_frame(found: _File, data: bytes, start: int, end: int) -> None:
    height, width = struct.unpack_from(">HH", data, start + 2) if end - start == 15 else (0, 0)
    if found.size != (0, 0) or not (found.filters and found.coded):
        raise CaptureRefused("not_an_image", "WSQ whose segments are out of order")
    if min(width, height) < _SMALLEST:
        raise CaptureRefused("too_small", f"WSQ of {width}x{height}, at least {_SMALLEST} a side")
    found.size = width, height


def _read_filters(found: _File, data: bytes, start: int, end: int) -> None:
    high, low = data[start : start + 2] if end - start >= 2 else (0, 0)
    fits = end - start == 2 + 6 * ((high + 1) // 2 + (low + 1) // 2)
    if not (fits and 1 < high <= _MOST_TAPS and 1 < low <= _MOST_TAPS) or found.filters:
        raise CaptureRefused("not_an_image", "WSQ with damaged filters")
    found.filters = True


def _read_quantisation(found: _File, data: bytes, start: int, end: int) -> None:
    if end - start != 3 + 6 * _SUBBANDS or found.coded:
        raise CaptureRefused("not_an_image", "WSQ with a damaged quantisation table")
    bins = [struct.unpack_from(">H", data, start + 4 + 6 * n)[0] for n in range(_SUBBANDS)]
    found.coded = [width > 0 for width in bins]


def _read_codes(found: _File, data: bytes, start: int, end: int) -> None:
    while start < end:
        counts = data[start + 1 : start + 17]
        total, number = sum(counts), data[start]
        if len(counts) < 16 or total > _MOST_CODES or start + 17 + total > end:
            raise CaptureRefused("not_an_image", "WSQ with a damaged table of codes")
        if number >= _TABLES:
            raise CaptureRefused("not_an_image", "WSQ with too many tables of codes")
        found.tables[number] = entropy.codes(counts, data[start + 17 : start + 17 + total])
        start += 17 + total


def _read_block(found: _File, data: bytes, start: int, end: int) -> None:
    table = found.tables.get(data[start])
    if found.size == (0, 0) or table is None or data[start - 2 : start] != b"\0\x03":
        raise CaptureRefused("not_an_image", "WSQ whose segments are out of order")
    held = entropy.count(data[start + 1 : end].replace(b"\xff\0", b"\xff"), table)
    if held is None:
        raise _damaged(data)
    found.coefficients += held
    found.blocks += 1


def _read_comment(found: _File, data: bytes, start: int, end: int) -> None:
    text = data[start:end]
    if text.startswith(b"NIST_COM") and (stated := _RESOLUTION.search(text)):
        found.dpi = found.dpi or believed_dpi(stated[1], stated[1])


_READERS = {
    _FRAME: _read_frame,
    _BLOCK: _read_block,
    _FILTERS: _read_filters,
    _QUANTISATION: _read_quantisation,
    _CODES: _read_codes,
    _COMMENT: _read_comment,
}


def _expected(width: int, height: int, coded: list[bool]) -> int:
    """How many coefficients a whole file has: the areas of the subbands that are coded.

    The image is split in halves again and again (ANSI/NIST-CSL 1-1993, figure 4). Each group of 16
    subbands covers a rectangle with 4 by 4 of them; some places belong to a finer group as well.
    """
    columns, rows = _halves(_halves(width)[0]), _halves(_halves(height)[0])
    areas: dict[int, int] = {}
    for first, across, down in (
        (3, _quarters(columns[0]), _quarters(rows[0])),
        (19, _quarters(columns[1], mirrored=True), _quarters(rows[0])),
        (48, _quarters(width), _quarters(height)),
        (35, _quarters(columns[0]), _quarters(rows[1], mirrored=True)),
    ):
        for place in range(16):
            column = 2 * (place // 4 % 2) + place % 2
            row = 2 * (place // 8) + place // 2 % 2
            areas[first + place] = across[column] * down[row]
    finest = [_halves(_halves(_halves(side)[0])[0]) for side in (columns[0], rows[0])]
    for place in range(4):
        areas[place] = finest[0][place % 2] * finest[1][place // 2]
    return sum(areas[n] for n in range(_CODED_SUBBANDS) if coded[n])


def _halves(length: int, mirrored: bool = False) -> tuple[int, int]:
    """Low and high half; the odd one is low, of a mirrored band high."""
    low = length // 2 if mirrored else (length + 1) // 2
    return low, length - low


def _quarters(length: int, mirrored: bool = False) -> tuple[int, int, int, int]:
    low, high = _halves(length, mirrored)
    return *_halves(low), *_halves(high, mirrored=True)
