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
_OWN_KEY = ("secrets", "pseudonym.key")
_FINGERPRINT = "secrets/pseudonym.fingerprint"


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
            ConfigError: the file can't be read; it is not the key of the people in the store; or no
                key is given and the store is on an object store: a key beside the data, on a
                machine that others read, would protect nobody.
        """
        if given := os.environ.get(_KEY_VARIABLE):
            names = cls(os.fsencode(given))
        elif named := os.environ.get(_KEY_FILE_VARIABLE):
            names = cls(_key_in(Path(named)))
        else:
            names = cls(_own_key(store))
        if store.version("captures") is None:
            names.keep(store)  # nobody is in it: whose key it is begins here
        names.require(store)
        return names

    def keep(self, store: Store) -> None:
        """Leave the key's fingerprint in the store: from now on it takes no other key."""
        store.files.write(_FINGERPRINT, self._fingerprint.encode())

    def require(self, store: Store) -> bool:
        """Refuse another key than the store's; returns whether the store tells (older ones don't).

        Raises:
            ConfigError: the people of the store have their pseudonyms by another key.
        """
        if not store.files.exists(_FINGERPRINT):
            return False
        if store.files.read(_FINGERPRINT).decode("ascii", "replace") != self._fingerprint:
            raise another_key(store)
        return True

    @property
    def _fingerprint(self) -> str:
        """Tells keys apart and doesn't lead back to one, 32 hex digits."""
        return self._digest("fingerprint of the pseudonym key")[:32]

    def of_subject(self, namespace: str, subject: str) -> str:
        """Pseudonym of a subject, 24 hex digits; equal names in one namespace are one subject."""
        return self._digest("subject", namespace, subject)[:24]

    def of_file(self, namespace: str, path: PurePath, content: str) -> str:
        """Pseudonym of a file by name and content, 64 hex digits."""
        return self._digest("file", namespace, str(path), content)

    def of_source(self, place: str) -> str:
        """Pseudonym of a source by its path or URL, 16 hex digits."""
        return self._digest("source", place)[:16]

    def _digest(self, *parts: str) -> str:
        return hmac.new(self._key, _bytes(parts), hashlib.sha256).hexdigest()


def _bytes(parts: tuple[str, ...]) -> bytes:
    return "\0".join(parts).encode("utf-8", "surrogateescape")  # a folder may be named by any bytes


def another_key(store: Store) -> ConfigError:
    """The error of a key under which everybody in the store would become a stranger."""
    return ConfigError(
        f"the people in {store.root} have their pseudonyms by another key than the one given here: "
        f"set {_KEY_VARIABLE} or {_KEY_FILE_VARIABLE} to the key the store was made with, or unset "
        f"both if it was the store's own ({'/'.join(_OWN_KEY)})"
    )


def _own_key(store: Store) -> bytes:
    """The key that lies in the store, made where nobody is in it yet."""
    if store.files.local is None:
        raise ConfigError(
            f"storage.root is {store.root}: set {_KEY_VARIABLE} (16 bytes or more, the same "
            "on every machine), the key of the subjects' pseudonyms"
        )
    path = store.path(*_OWN_KEY)
    if not path.exists():
        if store.version("captures") is not None:
            raise ConfigError(
                f"the people in {store.root} have their pseudonyms by a key that isn't given: "
                f"set {_KEY_VARIABLE} or {_KEY_FILE_VARIABLE}, or put the store's own key back "
                f"({'/'.join(_OWN_KEY)})"
            )
        aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        atomic_write(aside, secrets.token_hex(32).encode())
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)  # whole or not at all, and the first one stays
        aside.unlink()
    return path.read_bytes()


def _key_in(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(
            f"{_KEY_FILE_VARIABLE} names {path}, which can't be read: {error.strerror}"
        ) from error
