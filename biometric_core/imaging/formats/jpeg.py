"""How a JPEG is built, before a decoder works on it: segments, and scans one after another."""

import re

from biometric_core.errors import CaptureRefused

SIGNATURE = b"\xff\xd8\xff"
MOST_SCANS = 100  # of a large picture each takes as long as a whole decoding
_MOST_SEGMENTS = 5_000
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
# In a scan, stuffed bytes (00), restarts (D0 to D7) and fill bytes (FF) are no markers.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def check(data: bytes) -> None:
    """Refuse what would keep a decoder busy for minutes, and a file without an end.

    What lies behind the end is nobody's business: cameras keep their own there.

    Raises:
        CaptureRefused: `too_complex`, `truncated`, `not_an_image`.
    """
    start, several = _first_scan(data)
    if several and (scans := _count_scans(data, start)) > MOST_SCANS:
        raise CaptureRefused("too_complex", f"JPEG of {scans} scans, at most {MOST_SCANS}")
    if data.rfind(_END) < data.find(_SCAN):
        raise CaptureRefused("truncated", f"JPEG of {len(data)} bytes ends before its last pixel")


def _first_scan(data: bytes) -> tuple[int, bool]:
    """Where the first scan begins, and whether others may follow: none do where it has all colours.

    Raises:
        CaptureRefused: `too_complex`.
    """
    place, colours, progressive = 2, 0, False
    for _ in range(_MOST_SEGMENTS):
        place = data.find(b"\xff", place)
        if place < 0 or place + 10 > len(data):
            return len(data), False
        marker = data[place + 1]
        if marker == _SCAN[1]:
            return place, progressive or data[place + 4] != colours
        if marker == _END[1]:
            return place, False
        if marker in _FRAMES:
            progressive, colours = marker not in _SEQUENTIAL, data[place + 9]
        if marker == 0xFF:
            place += 1
        elif marker in _ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    raise CaptureRefused("too_complex", f"JPEG of more than {_MOST_SEGMENTS} segments")


def _count_scans(data: bytes, place: int) -> int:
    """Scans from the first one at `place` up to the end of the image."""
    count = 0
    while place + 4 <= len(data):
        if data[place] != 0xFF or data[place + 1] in (0x00, 0xFF) or data[place + 1] in _ALONE:
            found = _MARKER.search(data, place)
            if not found:
                break
            place = found.start()
        if data[place + 1] in _ALONE:
            place += 2
            continue
        if data[place + 1] == _END[1]:
            break
        count += data[place + 1] == _SCAN[1]
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return count
