"""The Kaggle data set, through the official client.

The client authenticates when it is imported, prints to stdout and ends the process where it finds
no credentials. It is therefore imported inside the call, muted, and its exits become errors.
"""

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from biometric_core.config import Config, Ingest
from biometric_core.errors import ConfigError, ServiceError
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store

_log = logging.getLogger(__name__)
_DATASET = re.compile(r"(?P<owner>[\w-]+)/(?P<name>[\w-]+)(?:/(?P<version>\d+))?", re.ASCII)
_NO_CREDENTIALS = (
    "no Kaggle credentials: set KAGGLE_USERNAME and KAGGLE_KEY, or KAGGLE_API_TOKEN, or put "
    "kaggle.json into ~/.kaggle (or KAGGLE_CONFIG_DIR), or make an Airflow Connection"
)
_ADVICE = {
    401: "it refuses the credentials: check user name and key, or make a new token",
    403: "access is forbidden: accept the data set's terms on its page, or check the credentials",
    404: "there is no such data set: check owner and name",
    429: "too many requests: try again later",
}


@dataclass(frozen=True)
class Credentials:
    """A Kaggle account: user name and key; or an API token as `key` with an empty user name."""

    username: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class DownloadResult:
    """The downloaded archive: `files` members, `bytes` on disk."""

    path: str
    files: int
    bytes: int


@owner_only()
def download(
    config: Config,
    *,
    dataset: str | None = None,
    force: bool = False,
    credentials: Credentials | None = None,
) -> DownloadResult:
    """Fetch a data set as one .zip under the storage root; what is there is reused.

    The archive is checked and then renamed into place, so one that is in place is whole. It stays
    packed: the other stages read it as it is.

    Args:
        config: storage root, limits and the default data set.
        dataset: `owner/name` or `owner/name/version`; `source.kaggle_dataset` when None.
        force: fetch it again although it is there.
        credentials: the account; from environment or files as the client finds them when None.

    Raises:
        ConfigError: no credentials, or `dataset` is no data set's name.
        ServiceError: Kaggle can't be reached or refuses, or the archive arrived damaged.
    """
    name = dataset or config.source.kaggle_dataset
    target = _target(config, name)
    if target.is_file() and not force:
        _log.info("reusing the downloaded data set %s", name)
    else:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as aside:
            _fetch(name, Path(aside), credentials)
            archive = _only_archive(name, Path(aside), config.ingest)
            archive.replace(target)
        _log.info("downloaded the data set %s", name)
    with zipfile.ZipFile(target) as packed:
        files = sum(not info.is_dir() for info in packed.infolist())
    return DownloadResult(str(target), files, target.stat().st_size)


def _target(config: Config, name: str) -> Path:
    found = _DATASET.fullmatch(name)
    if not found:
        raise ConfigError(f"{name!r} is no Kaggle data set: write OWNER/NAME or OWNER/NAME/VERSION")
    version = f"-v{found['version']}" if found["version"] else ""
    return Store.of(config).path(
        "sources", "kaggle", found["owner"], f"{found['name']}{version}.zip"
    )


_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    IndexError,
    RuntimeError,  # encrypted, or (NotImplementedError) packed in a way nobody knows
)


def _only_archive(name: str, folder: Path, limits: Ingest) -> Path:
    """The downloaded archive, if every member of it reads back with the checksum it states."""
    archives = list(folder.glob("*.zip"))
    try:
        with zipfile.ZipFile(archives[0]) as packed:
            total = sum(info.file_size for info in packed.infolist())
            broken = total > limits.max_total_bytes or packed.testzip() is not None
    except _DAMAGE as error:
        raise _damaged(name) from error
    if broken:
        raise _damaged(name)
    return archives[0]


def _damaged(name: str) -> ServiceError:
    return ServiceError(
        f"Kaggle data set {name}: the archive arrived damaged, nothing was kept; retry"
    )


def _fetch(name: str, folder: Path, credentials: Credentials | None) -> None:
    from requests.exceptions import HTTPError, RequestException

    try:
        with _account(credentials), contextlib.redirect_stdout(io.StringIO()):
            api = _client()
            quiet = not sys.stderr.isatty()
            api.dataset_download_files(name, path=str(folder), force=True, quiet=quiet)
    except SystemExit:
        raise ConfigError(_NO_CREDENTIALS) from None
    except HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        advice = _ADVICE.get(status, "try again later")
        raise ServiceError(f"Kaggle data set {name}: HTTP {status}, {advice}") from None
    except RequestException as error:
        raise ServiceError(
            f"Kaggle data set {name}: no connection ({type(error).__name__}); check the network"
        ) from error
    except (OSError, ValueError) as error:
        raise ServiceError(f"Kaggle data set {name}: the download failed: {error}") from error


def _client() -> Any:
    # Importing signs in, which with a token is a request of its own: once, below, is enough.
    with _environment({"KAGGLE_API_TOKEN": None}):
        from kaggle.api.kaggle_api_extended import KaggleApi
    from kagglesdk.kaggle_env import KaggleEnv

    api: Any = KaggleApi()
    environment = os.environ.get("KAGGLE_API_ENVIRONMENT", "")
    if environment in KaggleEnv.__members__:
        # The SDK goes where this variable says; KaggleApi on top of it knows only LOCALHOST.
        api.build_kaggle_client = partial(_sdk_client, api, KaggleEnv[environment])
    api.authenticate()
    return api


def _sdk_client(api: Any, environment: Any) -> Any:
    from kagglesdk.kaggle_client import KaggleClient

    return KaggleClient(
        env=environment,
        username=api.config_values.get(api.CONFIG_NAME_USER),
        password=api.config_values.get(api.CONFIG_NAME_KEY),
        api_token=api.config_values.get(api.CONFIG_NAME_TOKEN),
        response_processor=api.get_response_processor(),
    )


@contextlib.contextmanager
def _account(credentials: Credentials | None) -> Iterator[None]:
    """Put explicit credentials where the client looks first, for as long as it runs."""
    if credentials is None:
        changes: dict[str, str | None] = {}
    elif credentials.username:
        changes = {
            "KAGGLE_USERNAME": credentials.username,
            "KAGGLE_KEY": credentials.key,
            "KAGGLE_API_TOKEN": None,
        }
    else:
        changes = {"KAGGLE_API_TOKEN": credentials.key}
    with _environment(changes):
        yield


@contextlib.contextmanager
def _environment(changes: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
