"""Chunks of a PNG that change what is seen: depth, resolution, transparency, frames."""

import struct
from collections.abc import Iterator

from biometric_core.errors import CaptureRefused
from biometric_core.imaging.formats.header import Header, believed_dpi

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"IEND\xaeB`\x82"  # with its checksum
_MOST_CHUNKS = 100_000  # of pixels
_MOST_OTHERS = 1_000  # libpng says a line of each that it doesn't like
_INCHES_PER_METRE = 0.0254
_GRAY = 0
_NOTED = (b"IHDR", b"IDAT", b"sBIT", b"pHYs", b"tRNS", b"acTL")
_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


def header(data: bytes) -> Header:
    """What the chunks say; the first of equal ones counts.

    Raises:
        CaptureRefused: `several_images` (an APNG), `too_complex`, `truncated`.
    """
    found: dict[bytes, bytes] = {}
    frames, others, behind = 0, 0, False
    for name, start, size in _chunks(data):
        others += name != b"IDAT"
        if others > _MOST_OTHERS:
            raise CaptureRefused("too_complex", f"PNG of more than {_MOST_OTHERS} chunks of data")
        frames += name == b"fdAT"
        behind |= name in _METADATA and b"IDAT" in found
        if name in _NOTED:
            found.setdefault(name, data[start : start + min(size, 16)])
    # To look through all of a file takes as long as to decode a tenth of it.
    if b"IHDR" in found and not data.endswith(END) and END not in data:
        raise CaptureRefused("truncated", f"PNG of {len(data)} bytes ends before its last pixel")
    _require_one_image(found.get(b"acTL"), frames)
    return _stated(found, behind)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and size of each up to the end or to where the file breaks off."""
    place = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(data):
            return
        size, name = struct.unpack_from(">I4s", data, place)
        yield name, place + 8, size
        if name == b"IEND":
            return
        place += 12 + size
    raise CaptureRefused("too_complex", f"PNG of more than {_MOST_CHUNKS} chunks")


def _require_one_image(animation: bytes | None, frames: int) -> None:
    if animation is None or len(animation) < 4:
        return
    (stated,) = struct.unpack_from(">I", animation)
    if stated > 1 or frames:
        raise CaptureRefused(
            "several_images", f"animated PNG (APNG) of {max(stated, 2)} frames: a capture is one"
        )


def _stated(found: dict[bytes, bytes], metadata_behind: bool) -> Header:
    depth, colour = found[b"IHDR"][8:10] if len(found.get(b"IHDR", b"")) >= 10 else (8, 2)
    resolution, significant = found.get(b"pHYs", b""), found.get(b"sBIT", b"")
    dpi = None
    if len(resolution) == 9 and resolution[8] == 1:  # the unit is the metre
        x, y = struct.unpack_from(">II", resolution)
        dpi = believed_dpi(x * _INCHES_PER_METRE, y * _INCHES_PER_METRE)
    bits = max(significant[:3], default=0) if depth == 16 else 0
    transparent = None
    if colour == _GRAY and len(found.get(b"tRNS", b"")) == 2:
        transparent = int.from_bytes(found[b"tRNS"])
        transparent = transparent if depth == 16 else (transparent * 255) // (2**depth - 1)
    return Header(
        dpi=dpi,
        bits=bits if 1 <= bits <= 16 else None,
        left_aligned=True,
        transparent=transparent,
        depth=depth,
        metadata_behind=metadata_behind,
    )
