"""The members of a .zip, on disk or on an object store, without unpacking it."""

import io
import logging
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.sources import names
from biometric_core.sources.object_store import readable
from biometric_core.sources.source_file import SourceFile, bounded, refused, too_large, too_many
from biometric_core.storage.files import Files, object_path

_log = logging.getLogger(__name__)
_END = struct.Struct("<4s4H2IH")  # end of central directory
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s24x3H12x")  # lengths of name, extra field and comment
_LONGEST_COMMENT = 2**16
_SIGNATURE = b"PK\5\6"

# bz2 and lzma can't be decompressed with a bound on memory; zip tools write deflate.
_BOUNDED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_LOCAL_HEADER = 30  # bytes, without the name
_READ_AHEAD = 2**18  # bytes: a member's header and mostly its content in one request
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
)
Refusal = tuple[str, str]  # reason and detail


class _Member(NamedTuple):
    path: PurePosixPath
    info: zipfile.ZipInfo
    refusal: Refusal | None
    formerly: PurePosixPath | None  # as earlier versions read its name, where that differs
    guessed: bool  # the archive doesn't say how the name is encoded


def local(source: Path, limits: Ingest) -> Callable[[], Iterator[SourceFile]]:
    """The walk through an archive on disk.

    Raises:
        SourceError: no archive, or with too many members.
    """
    return _of(str(source), source.open("rb"), limits)


def remote(url: str, limits: Ingest) -> Callable[[], Iterator[SourceFile]]:
    """The walk through `s3://bucket/name.zip`, of which only what is needed is fetched.

    Raises:
        SourceError: it can't be reached, is no archive, or has too many members.
    """
    path = object_path(url)
    if len(path.parts) == 1:
        raise SourceError(f"source {url} is a bucket: name a .zip in it")
    try:
        with readable(url):
            stream = Files(url.rpartition("/")[0]).open(path.name)
    except FileNotFoundError:
        raise SourceError(f"source {url} doesn't exist: no object has that name") from None
    reader: IO[bytes] = io.BufferedReader(_Raw(url, stream), _READ_AHEAD)  # type: ignore[type-var]
    return _of(url, reader, limits)


class _Raw(io.RawIOBase):
    """What `io.BufferedReader` needs of an Arrow file; an error is the network's, not the zip's."""

    def __init__(self, url: str, stream: IO[bytes]) -> None:
        self._url, self._stream = url, stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        with readable(self._url):
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _of(source: str, stream: IO[bytes], limits: Ingest) -> Callable[[], Iterator[SourceFile]]:
    try:
        check_size(stream, source, limits)
        archive = zipfile.ZipFile(stream)
    except UnicodeDecodeError:
        raise SourceError(
            f"source {source}: a member's name is marked as UTF-8 and is not: pack it again"
        ) from None
    except _DAMAGED as error:
        raise SourceError(
            f"source {source} is no readable .zip ({type(error).__name__}): "
            "fetch it again, or name a folder or .zip"
        ) from None
    members = sorted(_members(archive, limits), key=lambda member: member.path.parts)
    if guessed := sum(member.guessed for member in members):
        _log.warning(
            "source %s: %d names that are not ASCII state no encoding and are no UTF-8; they are "
            "read as cp437, as the zip specification says: pack it with UTF-8 names if they look "
            "wrong",
            *(source, guessed),
        )
    return lambda: (_file(archive, member, limits) for member in members)


def _members(archive: zipfile.ZipFile, limits: Ingest) -> Iterator[_Member]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    overlapping = _overlapping(infos)
    taken: set[str] = set()
    for info in infos:
        stated, guessed = names.in_archive(info)
        # Some Windows tools separate folders with backslashes, against the zip specification.
        name, read = (text.replace("\\", "/") for text in (stated, info.orig_filename))
        path = PurePosixPath(name)
        # As a path: `iris//001_L_01.bmp` and `iris/./001_L_01.bmp` are one file on a disk.
        key = str(names.normal(path)).casefold()
        refusal = _refusal(info, name, limits)
        if refusal is None and info.header_offset in overlapping:
            refusal = ("overlapping_member", "a member that shares its bytes with another")
        if refusal is None and key in taken:
            refusal = ("duplicate_member", "another member has the same name")
        taken.add(key)
        formerly = None if read == name else PurePosixPath(read)
        yield _Member(path, info, refusal, formerly, guessed)


def _overlapping(infos: list[zipfile.ZipInfo]) -> set[int]:
    """Offsets of the members that begin within another one, or together with one."""
    found: set[int] = set()
    end = -1
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            found.add(info.header_offset)
        name = len(info.orig_filename)  # at least so many bytes, whatever its encoding
        end = max(end, info.header_offset + _LOCAL_HEADER + name + info.compress_size)
    return found


def _refusal(info: zipfile.ZipInfo, name: str, limits: Ingest) -> Refusal | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\0" in name:
        return "path_leaves_archive", "a member that would land outside the archive"
    if kind not in (0, stat.S_IFREG):
        return "not_a_file", "a link or special file as archive member"
    if info.flag_bits & _ENCRYPTED:
        return "encrypted_member", "the archive is encrypted: unpack it first"
    if info.compress_type not in _BOUNDED_METHODS:
        return "unsupported_compression", "only stored and deflate are read"
    if info.file_size > limits.max_file_bytes:
        refusal = too_large(limits)
        return refusal.reason, refusal.detail
    ratio = limits.max_compression_ratio
    if info.file_size > ratio * max(info.compress_size, 1):
        return "compression_ratio", f"over ingest.max_compression_ratio = {ratio}"
    return None


def _file(archive: zipfile.ZipFile, member: _Member, limits: Ingest) -> SourceFile:
    path, info = member.path, member.info
    if member.refusal is not None:
        return refused(path, info.file_size, *member.refusal)
    read = partial(_read, archive, info, limits)
    return SourceFile(path, info.file_size, read, formerly=member.formerly)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Ingest) -> bytes:
    try:
        with archive.open(info) as stream:
            # zipfile stops at the size the header states; the bound holds whatever it states.
            data = bounded(stream.read(limits.max_file_bytes + 1), limits)
    except (*_DAMAGED, RuntimeError) as error:
        raise CaptureRefused("damaged_member", type(error).__name__) from None
    if len(data) != info.file_size:
        raise CaptureRefused("damaged_member", "not as long as the archive states")
    return data


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
