"""The files of a folder or .zip, read with bounds; what is unsafe comes out as refused.

An archive is never unpacked to disk: members are read one by one into memory. Details of refusals
never hold a file's name, which may be a person's.
"""

import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.sources.layouts import data_root, is_clutter

# bz2 and lzma can't be decompressed with a bound on memory; zip tools write deflate.
_BOUNDED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
)


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: relative to the source; of a refused file as the source states it, never to be opened.
        size: bytes, as the folder or archive states it.
        read: the whole content, never more than `ingest.max_file_bytes`; raises CaptureRefused.
        refusal: why the file must not be read, None when it may.
    """

    path: PurePosixPath
    size: int
    read: Callable[[], bytes]
    refusal: CaptureRefused | None = None


def iter_files(source: Path, limits: Ingest) -> Iterator[SourceFile]:
    """All files of a folder or .zip, in an order that depends on their paths alone.

    Clutter is among them (`layouts.is_clutter`). The data set may lie at any depth; where a source
    holds several, the one with most captures is taken and captures of others are refused, because
    equal names in two data sets are different people.

    Args:
        source: a folder or a .zip.
        limits: bounds on single files (over: that file is refused) and on the whole (SourceError).

    Raises:
        SourceError: missing, empty, neither folder nor zip, or over the limits of a whole source.
    """
    if source.is_dir():
        files = _folder_files(source, limits)
    elif source.is_file():
        files = _archive_files(source, limits)
    else:
        raise SourceError(f"source {source} doesn't exist: name a folder or a .zip")
    if all(is_clutter(file.path) for file in files):
        raise SourceError(f"source {source} is empty: it holds no file that could be a capture")
    _check_total(source, sum(file.size for file in files if file.refusal is None), limits)
    return iter(_of_one_data_set(sorted(files, key=lambda file: file.path.parts)))


def _of_one_data_set(files: list[SourceFile]) -> list[SourceFile]:
    roots = [None if file.refusal else data_root(file.path) for file in files]
    counts = Counter(root for root in roots if root is not None)
    if len(counts) < 2:
        return files
    chosen = min(counts, key=lambda root: (-counts[root], len(root.parts), root.parts))
    refusal = CaptureRefused("outside_data_set", "a second data set in this source: give it alone")
    return [
        file if root in (None, chosen) else _refused(file.path, file.size, refusal)
        for file, root in zip(files, roots, strict=True)
    ]


def _refused(path: PurePosixPath, size: int, refusal: CaptureRefused) -> SourceFile:
    return SourceFile(path, size, partial(_raise, refusal), refusal)


def _raise(error: Exception) -> NoReturn:
    raise error


def _too_large(limits: Ingest) -> CaptureRefused:
    return CaptureRefused("too_large", f"more than ingest.max_file_bytes = {limits.max_file_bytes}")


def _check_count(source: Path, count: int, limits: Ingest) -> None:
    if count > limits.max_members:
        raise SourceError(
            f"source {source} holds more than ingest.max_members = {limits.max_members} files: "
            "split it or raise the limit"
        )


def _check_total(source: Path, total: int, limits: Ingest) -> None:
    if total > limits.max_total_bytes:
        raise SourceError(
            f"source {source} holds {total} bytes unpacked, more than ingest.max_total_bytes = "
            f"{limits.max_total_bytes}: split it or raise the limit"
        )


# --- folders ---


def _folder_files(source: Path, limits: Ingest) -> list[SourceFile]:
    root = source.resolve()
    files: list[SourceFile] = []
    # os.walk drops folders it can't list unless told otherwise: captures would be lost silently.
    for folder, folders, names in os.walk(root, onerror=partial(_unlistable, source)):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        found = (_folder_file(here / name, root, limits) for name in [*links, *names])
        files.extend(file for file in found if file is not None)
        _check_count(source, len(files), limits)
    return files


def _unlistable(source: Path, error: OSError) -> NoReturn:
    raise SourceError(
        f"a folder inside source {source} can't be listed ({error.strerror}): check permissions"
    ) from None


def _folder_file(path: Path, root: Path, limits: Ingest) -> SourceFile | None:
    """One entry; None for a link to a folder inside, whose files come by their own paths."""
    relative = _label(path.relative_to(root))
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(root):
            refusal = CaptureRefused("link_leaves_source", "a link to outside the source")
            return _refused(relative, 0, refusal)
        if target.is_dir():
            return None
        if not target.exists():
            return _refused(relative, 0, CaptureRefused("broken_link", "a link to nothing"))
        status = target.stat()
    if not stat.S_ISREG(status.st_mode):
        return _refused(relative, 0, CaptureRefused("not_a_file", "a device, pipe or socket"))
    if status.st_size > limits.max_file_bytes:
        return _refused(relative, status.st_size, _too_large(limits))
    return SourceFile(relative, status.st_size, partial(_read_path, path, limits))


def _label(relative: Path) -> PurePosixPath:
    """The path as valid Unicode: names on disk may be any bytes, and labels get encoded."""
    return PurePosixPath(os.fsencode(relative).decode("utf-8", "replace"))


def _read_path(path: Path, limits: Ingest) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limits.max_file_bytes + 1)
    except OSError as error:
        raise CaptureRefused("unreadable", error.strerror or "read error") from None
    if len(data) > limits.max_file_bytes:
        raise _too_large(limits)
    return data


# --- archives ---


def _archive_files(source: Path, limits: Ingest) -> list[SourceFile]:
    try:
        archive = zipfile.ZipFile(source)
    except _DAMAGED as error:
        raise SourceError(
            f"source {source} is no readable .zip ({type(error).__name__}): "
            "fetch it again, or name a folder or .zip"
        ) from None
    members = [info for info in archive.infolist() if not info.is_dir()]
    _check_count(source, len(members), limits)
    files: list[SourceFile] = []
    taken: set[str] = set()
    for info in members:
        # Some Windows tools separate folders with backslashes, against the zip specification.
        name = info.orig_filename.replace("\\", "/")
        key = unicodedata.normalize("NFC", name).casefold()
        refusal = _member_refusal(info, name, limits)
        if refusal is None and key in taken:
            refusal = CaptureRefused("duplicate_member", "another member has the same name")
        taken.add(key)
        path = PurePosixPath(name)
        read = partial(_read_member, archive, info, limits)
        file = SourceFile(path, info.file_size, read)
        files.append(_refused(path, info.file_size, refusal) if refusal else file)
    return files


def _member_refusal(info: zipfile.ZipInfo, name: str, limits: Ingest) -> CaptureRefused | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\0" in name:
        return CaptureRefused("path_leaves_archive", "a member that would land outside the archive")
    if kind not in (0, stat.S_IFREG):
        return CaptureRefused("not_a_file", "a link or special file as archive member")
    if info.flag_bits & _ENCRYPTED:
        return CaptureRefused("encrypted_member", "the archive is encrypted: unpack it first")
    if info.compress_type not in _BOUNDED_METHODS:
        return CaptureRefused("unsupported_compression", "only stored and deflate are read")
    if info.file_size > limits.max_file_bytes:
        return _too_large(limits)
    if info.file_size > limits.max_compression_ratio * max(info.compress_size, 1):
        ratio = limits.max_compression_ratio
        return CaptureRefused("compression_ratio", f"over ingest.max_compression_ratio = {ratio}")
    return None


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Ingest) -> bytes:
    try:
        with archive.open(info) as stream:
            # zipfile stops at the size the header states; the bound holds whatever it states.
            data = stream.read(limits.max_file_bytes + 1)
    except (*_DAMAGED, RuntimeError) as error:
        raise CaptureRefused("damaged_member", type(error).__name__) from None
    if len(data) > limits.max_file_bytes:
        raise _too_large(limits)
    return data
