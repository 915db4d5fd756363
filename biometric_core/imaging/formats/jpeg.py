"""How a JPEG is built, before a decoder works on it: segments, and scans one after another."""

import re

from biometric_core.errors import CaptureRefused

SIGNATURE = b"\xff\xd8\xff"
MOST_SCANS = 100  # of a large picture each takes as long as a whole decoding
_MOST_SEGMENTS = 5_000
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
# In a scan, stuffed bytes (00), restarts (D0 to D7) and fill bytes (FF) are no markers.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


def check(data: bytes) -> None:
    """Refuse what would keep a decoder busy for minutes, and a file without an end.

    What lies behind the end is nobody's business: cameras keep their own there.

    Raises:
        CaptureRefused: `too_complex`, `truncated`, `not_an_image`.
    """
    if _count_segments(data, 2, _MOST_SEGMENTS) > _MOST_SEGMENTS:
        raise CaptureRefused("too_complex", f"JPEG of more than {_MOST_SEGMENTS} segments")
    # Metadata may hold these two bytes as well; only then is it worth a closer look.
    if data.count(_SCAN) > MOST_SCANS and (scans := _count_scans(data)) > MOST_SCANS:
        raise CaptureRefused("too_complex", f"JPEG of {scans} scans, at most {MOST_SCANS}")
    if data.rfind(_END) < data.find(_SCAN):
        raise CaptureRefused("truncated", f"JPEG of {len(data)} bytes ends before its last pixel")


def _count_segments(data: bytes, place: int, most: int) -> int:
    """Segments from `place` to the first scan; counting ends above `most`."""
    count = 0
    while count <= most and (place := data.find(b"\xff", place)) >= 0 and place + 4 <= len(data):
        marker = data[place + 1]
        if marker in (_SCAN[1], _END[1]):
            break
        if marker == 0xFF:
            place += 1
        elif marker in _ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
        count += 1
    return count


def _count_scans(data: bytes) -> int:
    """Scans up to the end of the image."""
    count, place = 0, 2
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
