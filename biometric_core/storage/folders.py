"""Local folders, however they are named: paths, `file:` addresses, names that Delta can't take."""

import contextlib
import hashlib
import logging
import os
import re
from pathlib import Path
from urllib.parse import unquote

from biometric_core.errors import StorageError

_log = logging.getLogger(__name__)
# Delta makes an address of a folder and reads that twice (deltalake 1.6): `a%20b` becomes another
# folder, and brackets are no address at all, at which it doesn't fail but panics.
_UNFIT = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\\\x00-\x1f\x7f\ud800-\udfff]")


def local_path(text: str | Path) -> Path:
    """The absolute path of a local folder; `~` is the home, a `file:` address is decoded."""
    address = re.fullmatch(r"file:(?://(?:localhost(?=/))?)?(.*)", str(text), re.DOTALL)
    given = unquote(address[1]) if address else str(text)
    # Path would make `~` of `./~` first.
    return Path(os.path.expanduser(given)).resolve()  # noqa: PTH111


def fit_for_tables(folder: Path) -> Path:
    """The folder, or the one behind it where Delta can't take its name.

    Such a folder becomes a link to one beside it with a plain name, which is told in the log.

    Raises:
        StorageError: a folder above it has such a name, or it holds files already.
    """
    require_fit(folder.parent)
    if not _UNFIT.search(folder.name):
        return folder
    digest = hashlib.sha256(folder.name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    behind = folder.with_name(f"{_UNFIT.sub('_', folder.name)}-{digest}")
    if folder.is_dir():
        _remove_empty(folder)
    behind.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another process has just made the link
        folder.symlink_to(behind.name)
        _log.warning("Delta can't name the folder %s: it is a link to %s now", folder, behind)
    return behind


def require_fit(folder: Path) -> None:
    """Raise StorageError where Delta can't have a table in `folder` or below it."""
    if found := _UNFIT.search(str(folder)):
        raise StorageError(
            f"Delta tables can't be in {str(folder)!a}: its name holds {found[0]!a}; "
            "choose another folder"
        )


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if folder.is_symlink():  # another process has just made the link
            return
        raise StorageError(
            f"Delta tables can't be in {str(folder)!a}, and it isn't empty ({error.strerror}): "
            "choose another folder, without brackets, backslashes and %"
        ) from None
