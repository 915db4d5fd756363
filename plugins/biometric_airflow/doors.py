"""What comes in by a run's params and from the inbox, before a stage sees it."""

from pathlib import Path

from airflow.sdk.exceptions import AirflowFailException

from biometric_core.errors import BiometricError


def permitted_source(source: str | None) -> str | None:
    """The source that a run names, if `source.allowed` lets it; None for the configured one.

    Raises:
        AirflowFailException: it doesn't. A retry would change nothing, so there is none.
    """
    from biometric_core.config import load_config
    from biometric_core.sources.allowed import allowed_source

    if not source:
        return None
    try:
        return allowed_source(load_config(), source)
    except BiometricError as error:
        raise AirflowFailException(str(error)) from None


def inbox(configured: str) -> Path:
    """The folder `storage.inbox`.

    Raises:
        AirflowFailException: it is none: every day would look like one without captures.
    """
    from biometric_core.storage.files import is_remote

    try:
        remote = is_remote(configured)
    except BiometricError as error:
        raise AirflowFailException(f"storage.inbox: {error}") from None
    if remote:
        raise AirflowFailException(f"storage.inbox {configured}: it must be a folder on the worker")
    return Path(configured.removeprefix("file://"))
