import logging
import os

import pytest
from sqlalchemy import create_engine

from biometric_core.config import Config, MLflow
from biometric_core.errors import ConfigError, ModelError, ServiceError
from biometric_core.provenance import without_password
from biometric_core.tracking import client
from biometric_core.tracking.client import mlflow_client, sqlite_uri, tracking_uri
from tests.support.tiny_store import database


def at(uri: str) -> Config:
    return Config(mlflow=MLflow(tracking_uri=uri))


def test_a_relative_database_path_is_resolved_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(at("sqlite:///var/ml.db")) == f"sqlite:///{tmp_path}/var/ml.db"
    assert tracking_uri(at("sqlite:////abs/ml.db")) == "sqlite:////abs/ml.db"
    assert tracking_uri(at("https://mlflow:5000")) == "https://mlflow:5000"


@pytest.mark.parametrize("uri", ["var/mlruns", "file:///tmp/mlruns", "./x"])
def test_a_folder_is_refused_with_what_to_use_instead(uri):
    with pytest.raises(ConfigError, match="sqlite:///PATH"):
        tracking_uri(at(uri))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://bio:s3cr@t@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("https://host/path@x", "https://host/path@x"),
        ("sqlite:////var/ml.db", "sqlite:////var/ml.db"),
    ],
)
def test_passwords_are_cut_from_addresses(uri, shown):
    assert without_password(uri) == shown


def test_an_unreachable_server_is_one_clear_line_soon(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(ServiceError) as caught,
        mlflow_client(at("http://user:hunter2@127.0.0.1:9"), "open the experiment") as opened,
    ):
        opened.get_experiment_by_name("x")
    text = str(caught.value)
    assert "\n" not in text
    assert "can't open the experiment" in text
    assert "mlflow.tracking_uri" in text
    assert "hunter2" not in text


def test_a_missing_entry_is_no_failure_of_the_service(tmp_path):
    config = at(database(tmp_path))
    with pytest.raises(ModelError, match="no such entry"), mlflow_client(config, "read") as opened:
        opened.get_run("0" * 32)


def test_errors_of_our_own_pass_through(tmp_path):
    def fail():
        raise ModelError("mine")

    with (
        pytest.raises(ModelError, match="mine"),
        mlflow_client(at(database(tmp_path)), "read"),
    ):
        fail()


def test_telemetry_is_off_and_the_users_own_settings_win(monkeypatch):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    client.quieten()
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "7"
    assert logging.getLogger("alembic").level == logging.WARNING


@pytest.mark.parametrize("name", ["a%20b", "100%", "q?x", "my proj (1) a#b ünï", "it's"])
def test_the_database_lies_where_it_was_asked_for_in_a_folder_of_any_name(
    name, tmp_path, monkeypatch
):
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    for uri in ("sqlite:///ml.db", sqlite_uri(folder / "ml.db")):
        with create_engine(tracking_uri(at(uri))).connect() as connection:
            connection.exec_driver_sql("create table if not exists t (x)")
        assert [path.name for path in folder.iterdir()] == ["ml.db"]
