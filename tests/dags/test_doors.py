"""A param of a DAG opens no folder and no host that the configuration doesn't name."""

import json
import logging
from pathlib import Path

import pytest

from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store
from tests.dags.conftest import Runner, World

pytestmark = pytest.mark.slow


@pytest.fixture
def outside(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A link to the history of the world, outside of it; tasks have retries."""
    monkeypatch.setenv("BIOMETRIC__STORAGE__ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("BIOMETRIC__SCHEDULES__RETRIES", "2")
    monkeypatch.setenv("BIOMETRIC_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("BIOMETRIC__STORAGE__INBOX", str(tmp_path / "inbox"))
    return Path(world.history)


@pytest.mark.parametrize(
    "given", ["{outside}", "{outside}/..", "s3://x/y?endpoint_override=127.0.0.1:9&scheme=http"]
)
def test_another_source_fails_the_run_at_once_with_a_line_that_says_why(
    outside: Path, run_dag: Runner, caplog: pytest.LogCaptureFixture, tmp_path: Path, given: str
) -> None:
    with caplog.at_level(logging.ERROR):
        states = run_dag("biometric_training", source=given.format(outside=outside))
    assert states[""] == "failed"
    assert states["acquire"] == "failed", "not up_for_retry"
    assert states["ingest"] == "upstream_failed"
    told = [record for record in caplog.messages if "source.allowed" in record or "s3://" in record]
    assert told, caplog.messages
    store = Store(tmp_path / "data")
    assert not any(store.read(name).num_rows for name in TABLES)


def test_what_the_configuration_names_is_taken(
    outside: Path, run_dag: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BIOMETRIC__SOURCE__ALLOWED", json.dumps([str(outside.parent)]))
    monkeypatch.setenv("BIOMETRIC__CHECK__MIN_SUBJECTS", "1000")  # no need to train
    monkeypatch.setenv("BIOMETRIC__SCHEDULES__RETRIES", "0")
    states = run_dag("biometric_training", source=str(outside))
    assert (states["acquire"], states["ingest"]) == ("success", "success")
    assert Store(tmp_path / "data").read("captures").num_rows


def test_an_inbox_that_is_no_folder_fails_the_day_instead_of_looking_empty(
    outside: Path, run_dag: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOMETRIC__STORAGE__INBOX", "s3://bucket/inbox")
    states = run_dag("biometric_monitoring", day="2026-01-05")
    assert states["ingest"] == "failed"
