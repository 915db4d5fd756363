"""Keyed pseudonyms: who a capture is of, without the source's name of them."""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path, PurePath

from biometric_core.errors import ConfigError
from biometric_core.storage.files import atomic_write
from biometric_core.storage.store import Store

_KEY_VARIABLE = "BIOMETRIC_PSEUDONYM_KEY"
_KEY_FILE_VARIABLE = "BIOMETRIC_PSEUDONYM_KEY_FILE"
_MIN_KEY_BYTES = 16


class Pseudonymiser:
    """Turns names of a source into pseudonyms by HMAC-SHA256.

    Args:
        key: at least 16 bytes; whoever has it can recompute a pseudonym from a name.

    Raises:
        ConfigError: the key is too short.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < _MIN_KEY_BYTES:
            raise ConfigError(f"the pseudonym key has {len(key)} bytes, needs {_MIN_KEY_BYTES}")
        self._key = key

    @classmethod
    def of(cls, store: Store) -> "Pseudonymiser":
        """With the key the environment gives, else the store's own, made at first use.

        BIOMETRIC_PSEUDONYM_KEY holds the key, or BIOMETRIC_PSEUDONYM_KEY_FILE names its file.

        Raises:
            ConfigError: the file can't be read; or no key is given and the store is on an object
                store: a key beside the data, on a machine that others read, would protect nobody.
        """
        if given := os.environ.get(_KEY_VARIABLE):
            return cls(given.encode())
        if named := os.environ.get(_KEY_FILE_VARIABLE):
            return cls(_key_in(Path(named)))
        if store.files.local is None:
            raise ConfigError(
                f"storage.root is {store.root}: set {_KEY_VARIABLE} (16 bytes or more, the same "
                "on every machine), the key of the subjects' pseudonyms"
            )
        path = store.path("secrets", "pseudonym.key")
        if not path.exists():
            aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            atomic_write(aside, secrets.token_hex(32).encode())
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)  # whole or not at all, and the first one stays
            aside.unlink()
        return cls(path.read_bytes())

    def of_subject(self, namespace: str, subject: str) -> str:
        """Pseudonym of a subject, 24 hex digits; equal names in one namespace are one subject."""
        return self._digest("subject", namespace, subject)[:24]

    def of_file(self, namespace: str, path: PurePath, content: str) -> str:
        """Pseudonym of a file by name and content, 64 hex digits."""
        return self._digest("file", namespace, str(path), content)

    def _digest(self, *parts: str) -> str:
        return hmac.new(self._key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def _key_in(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"{_KEY_FILE_VARIABLE} names {path}, which can't be read: {error.strerror}"
        ) from error
