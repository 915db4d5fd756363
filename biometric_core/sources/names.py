"""Names as sources spell them, as one text: whoever is named alike is one person, for ever.

One normal form, Unicode's NFC, whatever the source: the same name composed (Windows, Linux) and
decomposed (macOS) is one name. Nothing else is put together: case, width and blanks may tell two
people apart. What nobody can read for sure is refused as `bad_name` and not guessed: bytes that are
no UTF-8, a character that some tool put in the place of another, and invisible characters, by which
one person would become two that look alike.
"""

import os
import re
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from zipfile import ZipInfo

from biometric_core.errors import CaptureRefused

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # an extra field: version, CRC-32 of the name it is for, the name in UTF-8
_LOST = "\ufffd"  # what tools write where they could not read a character
_ESCAPED = re.compile(r"\\x[89a-fA-F][0-9a-fA-F]")
_JOINERS = "\u200c\u200d"  # part of words in Persian and in Indian scripts
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # Unicode's categories


def on_disk(name: str) -> str:
    r"""A name from a file system as valid text; bytes that are no UTF-8 become `\xf6`."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def in_archive(member: ZipInfo) -> tuple[str, bool]:
    """The name of a zip's member, and whether its encoding had to be guessed (cp437).

    Without the UTF-8 flag a Unicode path field counts where it is for this very name, then UTF-8
    where the bytes are that, else what the zip specification says.
    """
    if member.flag_bits & _UTF8_FLAG:
        return member.orig_filename, False
    told = _unicode_path(member)
    if told is not None:
        return told, False
    try:
        return member.orig_filename.encode("cp437").decode("utf-8"), False
    except UnicodeDecodeError:
        return member.orig_filename, True


def _unicode_path(member: ZipInfo) -> str | None:
    crc = zlib.crc32(member.orig_filename.encode("cp437"))
    rest = member.extra
    while len(rest) >= 4:
        kind, size = struct.unpack_from("<HH", rest)
        field, rest = rest[4 : 4 + size], rest[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5:
            version, stated = struct.unpack_from("<BL", field)
            if (version, stated) == (1, crc):
                try:
                    return field[5:].decode("utf-8")
                except UnicodeDecodeError:
                    return None
    return None


def normal(path: PurePosixPath) -> PurePosixPath:
    """The path with every name in the one normal form."""
    text = str(path)
    return path if text.isascii() else PurePosixPath(unicodedata.normalize("NFC", text))


def require_certain(name: str) -> None:
    """Refuse the name of a person that can't be read for sure.

    Raises:
        CaptureRefused: `bad_name`; the name isn't told.
    """
    if _ESCAPED.search(name) or _LOST in name:
        raise CaptureRefused(
            "bad_name", "the subject's name is no UTF-8, or was damaged before: rename the file"
        )
    hidden = (char for char in name if unicodedata.category(char) in _INVISIBLE)
    if not name.strip() or any(char not in _JOINERS for char in hidden):
        raise CaptureRefused(
            "bad_name", "the subject's name is blank or has invisible characters: rename the file"
        )


def spellings(name: str) -> Iterator[str]:
    """What earlier versions may have read where this one reads `name`; the latter comes first."""
    yield name
    if name.isascii():
        return
    for form in (name, unicodedata.normalize("NFD", name)):
        yield form
        yield form.encode("utf-8").decode("cp437")  # a zip without the UTF-8 flag
