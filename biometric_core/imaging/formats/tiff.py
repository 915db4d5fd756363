"""Directories of a TIFF: how many images it holds, and what the first says of its samples."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats.foreign import unsupported
from biometric_core.imaging.formats.header import Header, believed_dpi

_KINDS = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4} | {
    16: 8,
    17: 8,
    18: 8,
}
_RATIONAL = 5
_KIND_OF_PAGE, _OLD_KIND_OF_PAGE = 254, 255
_BITS, _PHOTOMETRIC, _SAMPLES, _MAX_SAMPLE, _EXTRA = 258, 262, 277, 281, 338
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}  # samples of a pixel by photometric, else 1
_PREMULTIPLIED, _UNASSOCIATED = 1, 2
_NOT_BY_OPENCV = (2, 4, 12)  # bits of a sample
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 282, 283, 296
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_REDUCED_OR_MASK = 1 | 4
_OLD_REDUCED = 2
_INCH, _CENTIMETRE = 2, 3
_BYTE, _PACKED, _DEEP = 8, 12, 16  # bits
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PAGES = 1_000
_MOST_FIELDS = 4_096


class _Layout(NamedTuple):
    """How numbers lie in the file: byte order, and the sizes that BigTIFF has larger."""

    order: str
    number: str
    offset: str

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(f"{self.order}HH{self.offset}")


Directory = dict[int, tuple[float, ...]]


def header(data: bytes, max_pixels: int) -> Header:
    """What the first directory says; decoders apply its orientation themselves.

    Raises:
        CaptureRefused: `several_images`, `too_complex`, `too_large` (a tile), `not_an_image` (its
            fields would be larger than the file).
    """
    first: Directory = {}
    images = 0
    for number, page in enumerate(_directories(data)):
        first = first or page
        images += number == 0 or not _is_reduced(page)
    if images > 1:
        raise CaptureRefused(
            "several_images", f"TIFF of {images} pages: a capture is one; split the file"
        )
    if _one(first, _TILE_WIDTH, 1) * _one(first, _TILE_LENGTH, 1) > max_pixels:
        raise CaptureRefused("too_large", f"a tile of more than {max_pixels} pixels")
    depth = int(_one(first, _BITS, 1 if first else 0))
    most = int(max(first.get(_MAX_SAMPLE, (0,)))) if depth == _DEEP else 0
    white_is_zero = _one(first, _PHOTOMETRIC, 1) == 0
    colours = _COLOURS.get(int(_one(first, _PHOTOMETRIC, 1)), 1)
    more = _one(first, _SAMPLES, 1) > colours
    if depth == _DEEP and more and _one(first, _EXTRA, 0) == _PREMULTIPLIED:
        raise unsupported("TIFF of 16 bits with premultiplied transparency")
    return Header(
        dpi=_dpi(first),
        bits=most.bit_length() if 0 < most < 2**_DEEP else depth if depth == _PACKED else None,
        white_is_zero=white_is_zero,
        depth=depth,
        by_pillow=depth in _NOT_BY_OPENCV or (depth == _BYTE and more),
        opaque=depth == _DEEP and more and _one(first, _EXTRA, _UNASSOCIATED) == 0,
    )


def black_is_zero(data: bytes) -> bytes:
    """The file as Pillow can open it: of 16 bits in the big-endian order it knows no inverted ones.

    Args:
        data: a file whose first directory `header` could read, with white as zero.
    """
    if not data.startswith(b"MM\0*"):
        return data
    (place,) = struct.unpack_from(">I", data, 4)
    for entry in range(place + 2, len(data) - 12, 12):
        if data.startswith(_PHOTOMETRIC.to_bytes(2), entry):
            return data[: entry + 8] + b"\0\x01" + data[entry + 10 :]
    return data


def _is_reduced(page: Directory) -> bool:
    """A thumbnail of another page or a mask, no further image."""
    kind = int(_one(page, _KIND_OF_PAGE, 0))
    return bool(kind & _REDUCED_OR_MASK) or _one(page, _OLD_KIND_OF_PAGE, 1) == _OLD_REDUCED


def _one(page: Directory, tag: int, default: float) -> float:
    return page.get(tag, (default,))[0]


def _dpi(page: Directory) -> float | None:
    unit = _one(page, _UNIT, _INCH)
    if unit not in (_INCH, _CENTIMETRE):
        return None
    scale = 2.54 if unit == _CENTIMETRE else 1.0
    return believed_dpi(*(_one(page, tag, 0) * scale for tag in (_X_RESOLUTION, _Y_RESOLUTION)))


def _directories(data: bytes) -> Iterator[Directory]:
    """One after another; ends where the chain leaves the file, decoders judge that."""
    order = ">" if data[:2] == b"MM" else "<"
    big = data[2:4] in (b"\x2b\0", b"\0\x2b")
    layout = _Layout(order, "Q" if big else "H", "Q" if big else "I")
    seen: set[int] = set()
    fields = 0
    try:
        (place,) = struct.unpack_from(order + layout.offset, data, 8 if big else 4)
        while place and place not in seen:
            seen.add(place)
            page, place, count = _directory(data, place, layout)
            fields += count
            if len(seen) > _MOST_PAGES or fields > _MOST_FIELDS:
                raise CaptureRefused("too_complex", "TIFF of thousands of pages or fields")
            yield page
    except (struct.error, OverflowError):  # the second of a place beyond any file
        return


def _directory(data: bytes, place: int, layout: _Layout) -> tuple[Directory, int, int]:
    """The fields of a directory that hold numbers, where the next begins, and how many fields."""
    (count,) = struct.unpack_from(layout.order + layout.number, data, place)
    if count > _MOST_FIELDS:
        raise CaptureRefused("too_complex", f"TIFF of {count} fields")
    entry, width = layout.entry, struct.calcsize("<" + layout.offset)
    place += struct.calcsize("<" + layout.number)
    page: Directory = {}
    total = 0
    for _ in range(count):
        tag, kind, number = entry.unpack_from(data, place)
        size = _SIZES.get(kind, 0) * number
        total += size
        start = place + entry.size
        if size > width:
            (start,) = struct.unpack_from(layout.order + layout.offset, data, start)
        if number and tag in _WANTED and start + size <= len(data):
            page[tag] = _values(data, start, kind, min(number, 4), layout.order)
        place += entry.size + width
    if total > len(data):
        raise CaptureRefused("not_an_image", "TIFF whose fields would be larger than the file")
    following = place + struct.calcsize("<" + layout.offset) <= len(data)
    (after,) = struct.unpack_from(layout.order + layout.offset, data, place) if following else (0,)
    return page, after, count


_WANTED = frozenset(
    {_KIND_OF_PAGE, _OLD_KIND_OF_PAGE, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _MAX_SAMPLE}
    | {_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _TILE_WIDTH, _TILE_LENGTH}
)


def _values(data: bytes, start: int, kind: int, number: int, order: str) -> tuple[float, ...]:
    if kind == _RATIONAL:
        pairs = struct.unpack_from(f"{order}{2 * number}I", data, start)
        return tuple(a / b if b else 0.0 for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    if kind not in _KINDS:
        return (0,)
    return struct.unpack_from(f"{order}{number}{_KINDS[kind]}", data, start)
