"""How many members a .zip has, before `zipfile` makes an object of each."""

import os
import struct
from typing import IO

from biometric_core.config import Ingest
from biometric_core.sources.source_file import too_many

_END = struct.Struct("<4s4H2IH")  # end of central directory
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s24x3H12x")  # lengths of name, extra field and comment
_LONGEST_COMMENT = 2**16
_SIGNATURE = b"PK\5\6"


def check_size(stream: IO[bytes], source: str, limits: Ingest) -> None:
    """Refuse an archive with more members than `ingest.max_members`.

    The number that the archive states is not believed: only its directory tells. What is no
    archive passes, for `zipfile` says that better.

    Raises:
        SourceError: too many members.
    """
    size, end = _directory(stream)
    if size // _ENTRY.size <= limits.max_members:
        return
    place, count = end - size, 0
    while place < end:
        stream.seek(place)
        head = stream.read(_ENTRY.size)
        if len(head) < _ENTRY.size or not head.startswith(b"PK\1\2"):
            return
        place += _ENTRY.size + sum(_ENTRY.unpack(head)[1:])
        count += 1
        if count > limits.max_members:
            raise too_many(source, limits)


def _directory(stream: IO[bytes]) -> tuple[int, int]:
    """Size of the central directory and where it ends; 0, 0 where there is none."""
    length = stream.seek(0, os.SEEK_END)
    start = max(0, length - _END.size - _LONGEST_COMMENT)
    stream.seek(start)
    tail = stream.read()
    found = len(tail) - _END.size
    if found < 0 or tail[found : found + 4] != _SIGNATURE or tail[-2:] != b"\0\0":
        found = tail.rfind(_SIGNATURE)  # a comment follows; zipfile looks in the same two places
    if found < 0 or len(tail) < found + _END.size:
        return 0, 0
    size, end = _END.unpack_from(tail, found)[5], start + found
    locator = found - _LOCATOR_64.size
    if locator < 0 or tail[locator : locator + 4] != b"PK\6\7":
        return size, end
    place = end - _LOCATOR_64.size - _END_64.size
    stream.seek(max(0, place))
    record = stream.read(_END_64.size)
    if len(record) < _END_64.size or not record.startswith(b"PK\6\6"):
        return size, end
    return _END_64.unpack(record)[8], place
