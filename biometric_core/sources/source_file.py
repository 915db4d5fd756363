"""One file of a source."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NoReturn

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source.

    Attributes:
        path: relative to the source; of a refused file as the source states it, never to be opened.
        size: bytes, as the folder or archive states it.
        read: the whole content, never more than `ingest.max_file_bytes`; raises CaptureRefused.
            Safe in threads.
        refusal: why the file must not be read, None when it may.
        formerly: the path as earlier versions of this package read it, None where that is the same.
    """

    path: PurePosixPath
    size: int
    read: Callable[[], bytes]
    refusal: CaptureRefused | None = None
    formerly: PurePosixPath | None = None


def refused(path: PurePosixPath, size: int, reason: str, detail: str) -> SourceFile:
    """A file that must not be read."""
    refusal = CaptureRefused(reason, detail)
    return SourceFile(path, size, partial(_raise, refusal), refusal)


def oversized(path: PurePosixPath, size: int, limits: Ingest) -> SourceFile:
    """A file that is larger than a capture may be."""
    refusal = too_large(limits)
    return SourceFile(path, size, partial(_raise, refusal), refusal)


def too_large(limits: Ingest) -> CaptureRefused:
    """The refusal of a file with too many bytes."""
    return CaptureRefused("too_large", f"more than ingest.max_file_bytes = {limits.max_file_bytes}")


def too_many(source: str | Path, limits: Ingest) -> SourceError:
    """The error of a source with too many files."""
    return SourceError(
        f"source {source} holds more than ingest.max_members = {limits.max_members} files: "
        "split it or raise the limit"
    )


def bounded(data: bytes, limits: Ingest) -> bytes:
    """The content, read with one byte more than allowed to see whether there is more."""
    if len(data) > limits.max_file_bytes:
        raise too_large(limits)
    return data


def _raise(error: Exception) -> NoReturn:
    raise error
