"""The files of a folder, sorted, without a list of them all."""

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError
from biometric_core.sources.names import on_disk
from biometric_core.sources.source_file import SourceFile, bounded, oversized, refused


class _Entry(NamedTuple):
    """A name in a folder: its path on disk, its path as text, and whether it is a folder."""

    path: str
    label: str
    is_folder: bool


def of(source: Path, limits: Ingest) -> Callable[[], Iterator[SourceFile]]:
    """The walk through a folder; links that lead out of it are refused.

    Raises:
        SourceError: while walking: a folder inside can't be listed, so captures would be lost.
    """
    return partial(_walk, source, os.path.realpath(source), limits)


def _walk(source: Path, root: str, limits: Ingest) -> Iterator[SourceFile]:
    pending = [_entries(source, _Entry(root, "", True))]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif entry.is_folder:
            pending.append(_entries(source, entry))
        else:
            file = _file(entry, root, limits)
            if file is not None:
                yield file


def _entries(source: Path, folder: _Entry) -> Iterator[_Entry]:
    try:
        with os.scandir(folder.path) as found:
            names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in found}
    except OSError as error:
        raise SourceError(
            f"a folder inside source {source} can't be listed ({error.strerror}): check permissions"
        ) from None
    for name in sorted(names, key=lambda name: (on_disk(name), name)):
        label = f"{folder.label}/{on_disk(name)}" if folder.label else on_disk(name)
        yield _Entry(f"{folder.path}/{name}", label, names[name])


def _file(entry: _Entry, root: str, limits: Ingest) -> SourceFile | None:
    """One entry; None for a link to a folder inside, whose files come by their own paths."""
    label = PurePosixPath(entry.label)
    try:
        status = os.lstat(entry.path)
        if stat.S_ISLNK(status.st_mode):
            target = Path(os.path.realpath(entry.path))
            if not target.is_relative_to(root):
                return refused(label, 0, "link_leaves_source", "a link to outside the source")
            status = target.stat()
            if stat.S_ISDIR(status.st_mode):
                return None
    except FileNotFoundError:
        return refused(label, 0, "broken_link", "a link to nothing, or a file that went")
    except OSError as error:
        return refused(label, 0, "unreadable", error.strerror or "no status")
    if not stat.S_ISREG(status.st_mode):
        return refused(label, 0, "not_a_file", "a device, pipe or socket")
    if status.st_size > limits.max_file_bytes:
        return oversized(label, status.st_size, limits)
    return SourceFile(label, status.st_size, partial(read, entry.path, limits))


def read(path: str | Path, limits: Ingest) -> bytes:
    """The content of a file on disk.

    Raises:
        CaptureRefused: `too_large`; `unreadable`, also where it changes meanwhile.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - half the time of Path.open
            size = os.fstat(file.fileno()).st_size
            data = bounded(file.read(min(size, limits.max_file_bytes) + 1), limits)
    except OSError as error:
        raise CaptureRefused("unreadable", error.strerror or "read error") from None
    if len(data) != size:
        raise CaptureRefused("unreadable", "the file changed while it was read")
    return data
