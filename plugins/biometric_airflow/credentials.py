"""The Kaggle account from an Airflow Connection."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

CONNECTION = "kaggle_default"
_VARIABLES = ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN")


@contextmanager
def kaggle_environment() -> Iterator[None]:
    """Show the client the account of the Connection `kaggle_default`, where there is one.

    Credentials in the environment win. A Connection that is not there is no error: the source may
    not be Kaggle, and the client says itself what it lacks.
    """
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    if any(os.environ.get(name) for name in _VARIABLES):
        yield
        return
    try:
        account = Connection.get(CONNECTION)
    except (AirflowNotFoundException, AirflowRuntimeError):
        yield
        return
    secret = account.password or ""
    # Without a login the password is an API token.
    os.environ |= (
        {"KAGGLE_USERNAME": account.login, "KAGGLE_KEY": secret}
        if account.login
        else {"KAGGLE_API_TOKEN": secret}
    )
    try:
        yield
    finally:
        for name in _VARIABLES:
            os.environ.pop(name, None)
