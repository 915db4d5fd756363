"""The files of a source, read with bounds; what is unsafe comes out as refused.

A source is a folder, a .zip, or either on an object store. An archive is never unpacked: members
are read one by one into memory. Details of refusals never hold a file's name, which may be a
person's.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from biometric_core.config import Ingest
from biometric_core.errors import EmptySourceError, SourceError
from biometric_core.sources import archive, folder, object_store
from biometric_core.sources.layouts import GENERATED, data_root, is_clutter, layout
from biometric_core.sources.names import normal
from biometric_core.sources.sensor_folders import without_sensor
from biometric_core.sources.source_file import SourceFile, refused, too_many
from biometric_core.storage.files import is_remote

__all__ = ["SourceFile", "SourceFiles", "is_archive", "iter_files", "open_source"]


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source, any number of times.

    Attributes:
        count: how many there were at the first look.
        captures: how many of them are no clutter.
        walk: goes through them, sorted by the parts of their paths.
        data_set: root of the data set whose captures are taken where there are several, else None.
        layout: `kaggle`, `flat` or `fvc`, of most captures; None where no path names one.
        generated: whether the generator drew the people.
    """

    count: int
    captures: int
    walk: Callable[[], Iterator[SourceFile]]
    data_set: PurePosixPath | None
    layout: str | None = None
    generated: bool = False

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[SourceFile]:
        if self.data_set is None:
            return self.walk()
        return map(self._of_the_data_set, self.walk())

    def _of_the_data_set(self, file: SourceFile) -> SourceFile:
        root = None if file.refusal else data_root(file.path)
        if root in (None, self.data_set):
            return file
        detail = "a second data set in this source: give it alone"
        return refused(file.path, file.size, "outside_data_set", detail)


def open_source(source: str | Path, limits: Ingest) -> SourceFiles:
    """Look through a source once, so that its size is known and its limits hold.

    Clutter is among the files (`layouts.is_clutter`). The data set may lie at any depth; where a
    source holds several, the one with most captures is taken and captures of others are refused,
    because equal names in two data sets are different people.

    Args:
        source: a folder, a .zip, `s3://bucket/prefix` or `s3://bucket/name.zip`.
        limits: bounds on single files (over: that file is refused) and on the whole (SourceError).

    Raises:
        EmptySourceError: it holds no file that could be a capture.
        SourceError: missing, neither folder nor zip, or over the limits of a whole source.
    """
    walk = _walk(source, limits)
    seen = _Seen()
    for file in walk():
        seen.add(file)
        _check(source, seen.count, seen.total, limits)
    if not seen.captures:
        raise EmptySourceError(
            f"source {source} is empty: it holds no file that could be a capture"
        )
    return seen.files(walk)


@dataclass
class _Seen:
    """What the first look through a source has met."""

    count: int = 0
    total: int = 0  # bytes
    captures: int = 0
    roots: Counter[PurePosixPath] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    drawn: set[PurePosixPath] = field(default_factory=set)  # where the generator left its mark

    def add(self, file: SourceFile) -> None:
        self.count += 1
        self.captures += not is_clutter(file.path)
        if file.refusal is not None:
            return
        self.total += file.size
        root = data_root(file.path)
        if root is not None:
            self.roots[root] += 1
            self.layouts[str(layout(file.path))] += 1
        elif file.path.name == GENERATED:
            self.drawn.add(normal(without_sensor(file.path).parent))

    def files(self, walk: Callable[[], Iterator[SourceFile]]) -> SourceFiles:
        roots, layouts = self.roots, self.layouts
        root = min(
            roots, key=lambda root: (-roots[root], len(root.parts), root.parts), default=None
        )
        return SourceFiles(
            self.count,
            self.captures,
            walk,
            data_set=root if len(roots) > 1 else None,
            layout=min(layouts, key=lambda name: (-layouts[name], name), default=None),
            generated=root in self.drawn,
        )


def iter_files(source: str | Path, limits: Ingest) -> Iterator[SourceFile]:
    """All files of a source, in an order that depends on their paths alone; see `open_source`."""
    return iter(open_source(source, limits))


def is_archive(source: str | Path) -> bool:
    """Whether a source is one file that holds the others."""
    if is_remote(source):
        return str(source).lower().endswith(".zip")
    return Path(source).is_file()


def _walk(source: str | Path, limits: Ingest) -> Callable[[], Iterator[SourceFile]]:
    if is_remote(source):
        walk = archive.remote if is_archive(source) else object_store.listed
        return walk(str(source), limits)
    path = Path(source)
    if path.is_dir():
        return folder.of(path, limits)
    if path.is_file():
        return archive.local(path, limits)
    raise SourceError(f"source {source} doesn't exist: name a folder or a .zip")


def _check(source: str | Path, count: int, total: int, limits: Ingest) -> None:
    if count > limits.max_members:
        raise too_many(source, limits)
    if total > limits.max_total_bytes:
        raise SourceError(
            f"source {source} holds more than ingest.max_total_bytes = {limits.max_total_bytes} "
            "bytes unpacked: split it or raise the limit"
        )
