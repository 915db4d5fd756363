"""What is written below the storage root is the owner's alone: folders 0700, files 0600.

Tables, images and caches hold personal data, and Delta, Arrow, MLflow and Evidently know no mode
for the files they make: they take what the process's umask leaves. So whoever writes does so within
`owner_only`: the stages, what workers run, and the store itself (docs/decisions/0016).
"""

import logging
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)
_OTHERS = 0o077  # the bits of group and others
# Where a root has other folders as well, it is not the store's alone.
PARTS = frozenset(
    {
        *("tables", "images", "secrets", "sources", "reports", "evaluation", "evidently"),
        *("cache", "checkpoints", "locks", "reading"),
    }
)
_ADVICE = "another user's, or a disk without modes; its owner: chmod -R go= '{path}'"
_told: set[Path] = set()  # what can't be closed: said once, and not walked through again


class _Umask:
    """The process's umask while at least one thread is within `owner_only`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = self._before = 0

    def enter(self) -> None:
        with self._lock:
            if not self._within:
                self._before = os.umask(_OTHERS)
                os.umask(self._before | _OTHERS)
            self._within += 1

    def leave(self) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                os.umask(self._before)


_umask = _Umask()


@contextmanager
def owner_only() -> Iterator[None]:
    """What is made meanwhile has no bit for group and others; a decorator as well; nests.

    The umask is the process's: other threads make private files too until the last one is out.
    Processes started meanwhile inherit it.
    """
    _umask.enter()
    try:
        yield
    finally:
        _umask.leave()


def close_store(root: Path) -> None:
    """Close a store's folder and what is in it, as an earlier version may have left them.

    A root with folders that are not the store's keeps its mode, and so do they; it is told.
    """
    inside = list(root.iterdir())
    shared = any(entry.name not in PARTS and entry.is_dir() for entry in inside)
    for entry in inside:
        if entry.name in PARTS or not shared:
            close(entry)
    if shared and _open(root):
        _warn(root, "it holds other things too, so only what is the store's was closed")
    elif not shared and not _closed(root):
        _warn(root, _ADVICE.format(path=root))


def close(path: Path) -> None:
    """Take group and others out of a file, or of a folder with all that is in it.

    The folder itself goes last. One that is closed costs one look: nobody gets past it.
    """
    path = path.resolve()  # a part may be a link to another disk
    if not _open(path) or path in _told:
        return
    if not all([tighten(path), _closed(path)]):
        _warn(path, _ADVICE.format(path=path))


def tighten(folder: Path) -> bool:
    """Take group and others out of all that is in a folder; False where something stayed open."""
    done = True
    for where, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            done = _closed(Path(where, name)) and done
    return done


def _open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except FileNotFoundError:  # gone meanwhile
        return False


def _closed(path: Path) -> bool:
    """Close one file or folder; a link has no mode of its own, what has gone needs none."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) or not mode & _OTHERS:
            return True
        path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
        return not path.lstat().st_mode & _OTHERS
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _warn(folder: Path, why: str) -> None:
    if folder not in _told:
        _told.add(folder)
        _log.warning("%s can be read by others than its owner: %s", folder, why)
