"""The files under a prefix of an object store."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath

from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused, SourceError, StorageError
from biometric_core.sources.source_file import SourceFile, bounded, oversized, refused, too_many
from biometric_core.storage.files import Files, reached


def listed(url: str, limits: Ingest) -> Callable[[], Iterator[SourceFile]]:
    """The walk through `s3://bucket/prefix`, listed once.

    Raises:
        SourceError: the store can't be reached, or holds too many files under the prefix.
    """
    names: list[tuple[str, int]] = []
    with readable(url):
        files = Files(url)
        for entry in files.list(""):
            names.append(entry)
            if len(names) > limits.max_members:
                raise too_many(url, limits)
    if not names:
        raise SourceError(f"source {url} doesn't exist: no file has that prefix")
    names.sort(key=lambda entry: entry[0].split("/"))
    return lambda: (_file(files, name, size, limits) for name, size in names)


@contextmanager
def readable(url: str) -> Iterator[None]:
    """Turn the errors of an object store that doesn't answer, or refuses, into one clear line.

    Raises:
        SourceError: it holds no key, which may be a person's name.
    """
    try:
        with reached(url):
            yield
    except StorageError as error:
        raise SourceError(f"the source can't be read: {error}") from None


def _file(files: Files, name: str, size: int, limits: Ingest) -> SourceFile:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return refused(path, size, "path_leaves_source", "a key that is no path inside the source")
    if size > limits.max_file_bytes:
        return oversized(path, size, limits)
    return SourceFile(path, size, partial(_read, files, name, limits))


def _read(files: Files, name: str, limits: Ingest) -> bytes:
    try:  # a network that is down says nothing about the file
        with readable(files.root), files.open(name) as file:
            return bounded(bytes(file.read(limits.max_file_bytes + 1)), limits)
    except FileNotFoundError:
        raise CaptureRefused("unreadable", "the file went meanwhile") from None
