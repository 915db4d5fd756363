"""Files under one root: a local folder, or a prefix of an S3-compatible object store.

An object store is named `s3://bucket/prefix`; address and credentials come from the environment
(`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`), for the tables and
for the files alike, and are never part of the configuration.
"""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes

import pyarrow as pa
from pyarrow import fs

from biometric_core.errors import ConfigError, StorageError
from biometric_core.storage.folders import local_path
from biometric_core.storage.private import owner_only

SCHEME = "s3://"
_CODE = re.compile(r"AWS Error ([A-Z_]+)")
_ADDRESS = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]*)(/[^?#]*)?", re.ASCII)


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` aside and rename it to `path`, so that a reader never sees half a file."""
    with aside(path) as part:
        part.write_bytes(data)


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """An empty file beside `path` that takes its name once the body has filled it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def writable(where: str) -> Iterator[None]:
    """Turn what a full or read-only disk raises into one clear line.

    Raises:
        StorageError: no space, no quota or no permission; what was there before is as it was.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise StorageError(
            f"can't write to {where}: {os.strerror(error.errno).lower()}; free some space or mend "
            "the permissions and run again, what was there is intact"
        ) from error


@contextmanager
def reached(root: str) -> Iterator[None]:
    """Turn what an object store raises into one clear line.

    Its own text holds the key of the object, which in a source is a person's name: of that text
    only the code is passed on.

    Raises:
        FileNotFoundError: as it came.
        StorageError: any other OSError.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        codes = _CODE.findall(str(error))
        raise StorageError(
            f"can't reach {root} ({codes[-1] if codes else type(error).__name__}): check the name, "
            "AWS_ENDPOINT_URL and the credentials, and run again"
        ) from None


def is_remote(root: str | Path) -> bool:
    """Whether `root` names an object store.

    Raises:
        ConfigError: a URL of a kind that is not supported, or an address that holds more than
            bucket and prefix (`object_path`).
    """
    text = str(root)
    if text.startswith(SCHEME):
        object_path(text)
        return True
    if "://" in text and not text.startswith("file://"):
        raise ConfigError(f"{_shown(text)!r}: only a local folder or {SCHEME}bucket/prefix will do")
    return False


def object_path(address: str) -> PurePosixPath:
    """What `s3://bucket/prefix` names: `bucket/prefix`, decoded where it is percent-encoded.

    An address holds nothing that a client would act on: a query could send a request that is signed
    with our key to any host.

    Raises:
        ConfigError: a query, fragment, user or port; no bucket; a part that is empty, `.` or `..`.
    """
    found = _ADDRESS.fullmatch(address)
    prefix = unquote_to_bytes((found[2] or "")[1:] if found else "").rstrip(b"/")
    try:
        parts = prefix.decode().split("/") if prefix else []
    except UnicodeDecodeError:
        found = None
    if not found or not all(_plain(part) for part in parts):
        raise ConfigError(
            f"{_shown(address)!r}: an object store's address is {SCHEME}bucket/prefix, without "
            "query, fragment, user, port, '.' or '..'; host and keys come from AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY alone"
        )
    return PurePosixPath(found[1], *parts)


def _plain(part: str) -> bool:
    return part not in ("", ".", "..") and part.isprintable() and not set("?#\\") & set(part)


def _shown(address: str) -> str:
    """An address as a message may hold it: what could be a password is left out."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{re.split('[?#]', rest)[0].rpartition('@')[2]}"[:200]


def object_store(url: str) -> tuple[fs.FileSystem, str]:
    """The file system of `s3://bucket/prefix`, and the path in it (`bucket/prefix`).

    Raises:
        ConfigError: `object_path`.
        StorageError: it can't be reached.
    """
    path = object_path(url)
    with reached(url):  # it asks for the bucket's region where AWS_REGION isn't set
        # Of the bucket alone: all else is then the environment's.
        system, _ = fs.FileSystem.from_uri(f"{SCHEME}{path.parts[0]}")
    return system, str(path)


class Files:
    """Bytes by their path relative to a root.

    Attributes:
        root: as given, without a slash at the end; absolute where it is local.
        local: the folder, None on an object store.

    Raises:
        ConfigError: the root is a URL of a kind that is not supported.
        StorageError: from any method: the object store can't be reached, or refuses.
    """

    def __init__(self, root: str | Path) -> None:
        if is_remote(root):
            self.root, self.local = str(root).rstrip("/"), None
            system, base = object_store(self.root)
        else:
            self.local = local_path(root)
            self.root = base = str(self.local)
            system = fs.LocalFileSystem()
        self._system: fs.FileSystem = fs.SubTreeFileSystem(base, system)

    def __reduce__(self) -> tuple[type["Files"], tuple[str]]:
        return Files, (self.root,)

    def read(self, uri: str) -> bytes:
        """The whole content.

        Raises:
            OSError: it isn't there, or can't be read.
        """
        if self.local is not None:
            return (self.local / uri).read_bytes()
        with reached(self.root), self._system.open_input_stream(uri) as stream:
            return bytes(stream.read())

    def open(self, uri: str) -> pa.NativeFile:
        """For reading at any place.

        Raises:
            OSError: it isn't there, or can't be read; an object store may raise it later as well,
                with the key in its text (`reached`).
        """
        with self._reached():
            return self._system.open_input_file(uri)

    def write(self, uri: str, data: bytes) -> None:
        """Write the whole content; a reader sees all of it or nothing.

        Raises:
            StorageError: the disk is full or read-only.
        """
        if self.local is not None:
            with writable(self.root), owner_only():
                atomic_write(self.local / uri, data)
            return
        # Visible once it is closed.
        with reached(self.root), self._system.open_output_stream(uri) as stream:
            stream.write(data)

    def exists(self, uri: str) -> bool:
        """Whether there is a file."""
        return self.size(uri) is not None

    def size(self, uri: str) -> int | None:
        """Bytes of a file; None where there is none."""
        if self.local is not None:
            path = self.local / uri
            return path.stat().st_size if path.is_file() else None
        with reached(self.root):
            info = self._system.get_file_info(uri)
        return int(info.size) if info.type == fs.FileType.File else None

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Path and size in bytes of each file under a folder, at any depth; none if missing."""
        selector = fs.FileSelector(prefix, allow_not_found=True, recursive=True)
        with self._reached():
            found = self._system.get_file_info(selector)
        for info in found:
            if info.type == fs.FileType.File:
                yield info.path, info.size

    def delete(self, uri: str) -> None:
        """Remove a file; nothing happens where there is none."""
        if self.exists(uri):
            with self._reached():
                self._system.delete_file(uri)

    def _reached(self) -> AbstractContextManager[None]:
        return reached(self.root) if self.local is None else nullcontext()
