"""The connection to MLflow: quiet, bounded in time, its errors in one line."""

import functools
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from biometric_core.config import Config
from biometric_core.errors import ConfigError, ModelError, ServiceError, StorageError
from biometric_core.provenance import without_password, without_secrets
from biometric_core.storage.files import SCHEME, object_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SQLITE = "sqlite:///"
# A container of Azure stands before an @ (wasbs, abfss); with other kinds it is a user.
_MORE_THAN_A_PLACE = re.compile(r"\w+://.*[?#]|(?!wasb|abfs)\w+://[^/]*@", re.ASCII | re.I | re.S)
_FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")
# Set before mlflow is imported, and only where the user has not decided otherwise. Without bounds
# the client retries for minutes, and the task's own retry comes too late to help: with these, a
# server that refuses is given up after some 8 seconds, one that says nothing after 90.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def tracking_uri(config: Config) -> str:
    """The tracking URI with a relative SQLite path made absolute.

    Raises:
        ConfigError: a plain folder, which MLflow 3.17 refuses.
    """
    uri = config.mlflow.tracking_uri
    if uri.startswith(_SQLITE):
        path, mark, query = uri.removeprefix(_SQLITE).partition("?")
        if path in ("", ":memory:"):
            return uri
        return f"{sqlite_uri(Path(unquote(path)).expanduser().resolve())}{mark}{query}"
    if uri.startswith("file:") or "://" not in uri:
        raise ConfigError(
            f"mlflow.tracking_uri {uri!r}: a folder can't be a tracking store; "
            "use sqlite:///PATH or the address of a server"
        )
    return uri


def sqlite_uri(path: Path) -> str:
    """The address of a SQLite file, in whatever folder: SQLAlchemy reads `%20` as a space."""
    return _SQLITE + str(path).replace("%", "%25").replace("?", "%3F")


def is_server(uri: str) -> bool:
    """Whether an MLflow server owns the store; it then decides where artifacts go."""
    return uri.startswith(("http://", "https://"))


def artifact_location(config: Config) -> str | None:
    """Where a new experiment keeps its artifacts; None where that is the server's business.

    Raises:
        ConfigError: an address that holds more than a place (`storage.files.object_path`).
    """
    root = config.mlflow.artifact_root
    if root is None or is_server(tracking_uri(config)):
        return None
    if root.lower().startswith(SCHEME):
        object_path(root)
    elif _MORE_THAN_A_PLACE.match(root):
        raise ConfigError("mlflow.artifact_root: an address without query, fragment and user")
    return root if "://" in root else Path(root).resolve().as_uri()


@contextmanager
def mlflow_client(config: Config, doing: str) -> Iterator["MlflowClient"]:
    """A client for the configured store; what goes wrong inside becomes one clear error.

    Args:
        config: names the store.
        doing: what the caller is about to do, for the message: "log metrics".

    Raises:
        ServiceError: MLflow can't be reached or refuses; a retry may help.
        StorageError: the disk of its database or of its artifacts is full.
        ModelError: the run, model, version or artifact asked for doesn't exist.
    """
    quieten()
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    uri = tracking_uri(config)
    try:
        yield _client(uri)
    except (MlflowException, SQLAlchemyError, RequestException, OSError) as error:
        where = without_password(uri)
        reason = without_secrets(" ".join(str(error).split()))[:300]
        if isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise ModelError(f"MLflow ({where}): can't {doing}, no such entry: {reason}") from error
        if isinstance(error, FileNotFoundError):
            raise ModelError(f"MLflow ({where}): can't {doing}, file missing: {reason}") from error
        if any(words in str(error) for words in _FULL):
            raise StorageError(
                f"MLflow ({where}): can't {doing}: no space left on device; free some space for "
                "its database and artifacts and run the stage again, what was there is intact"
            ) from error
        raise ServiceError(
            f"MLflow ({where}): can't {doing}: {reason}; check mlflow.tracking_uri and that the "
            "service is up, then run the stage again"
        ) from error


def quieten() -> None:
    """Switch off MLflow's telemetry and chatter and bound its retries, where nothing is set."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


@functools.lru_cache(maxsize=4)
def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)
