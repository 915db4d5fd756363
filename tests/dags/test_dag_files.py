"""What every DAG must be, and that its file needs nothing heavy."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

HEAVY = ("torch", "torchvision", "ray", "mlflow", "evidently", "pandas")
IDS = (
    "biometric_training",
    "biometric_monitoring",
    "biometric_retraining",
    "biometric_rollback",
    "biometric_maintenance",
)
HEAVY_TASKS = {"preprocess", "train", "evaluate", "monitor", "promote", "maintain"}
PARSE = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {heavy}:
            raise ImportError(f"{{name}} is not in this environment")

sys.meta_path.insert(0, Blocked())
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
assert set(bag.dags) == set({ids}), set(bag.dags)
assert not [name for name in sys.modules if name.split(".")[0] in {heavy}]
print("parsed")
"""


def test_the_dags_are_all_there(dags: dict[str, Any]) -> None:
    assert set(dags) == set(IDS)


@pytest.mark.parametrize("dag_id", IDS)
def test_dag_has_what_a_dag_needs(dags: dict[str, Any], dag_id: str) -> None:
    dag = dags[dag_id]
    assert dag.doc_md
    assert len(dag.doc_md) > 50
    assert "biometric" in dag.tags
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.on_failure_callback
    assert dag.start_date is not None
    for param in dag.params.values():
        assert param  # a default that fits its own schema
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        assert {"type", "title"} <= set(schema), name
        assert dag.params.get_param(name).description, name


@pytest.mark.parametrize("dag_id", IDS)
def test_tasks_retry_and_alert(
    monkeypatch: pytest.MonkeyPatch, dags: dict[str, Any], dag_id: str
) -> None:
    for task in dags[dag_id].tasks:
        assert task.on_failure_callback, task.task_id
        assert task.retry_exponential_backoff == 2.0
        assert task.max_retry_delay == timedelta(minutes=30)
        assert task.queue == "ml"
        assert (task.pool == "biometric_heavy") == (task.task_id in HEAVY_TASKS), task.task_id


def test_retries_and_schedules_come_from_the_configuration(
    monkeypatch: pytest.MonkeyPatch, database: None
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("BIOMETRIC__SCHEDULES__RETRIES", "7")
    monkeypatch.setenv("BIOMETRIC__SCHEDULES__TRAINING", "30 4 * * 2")
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    dag = bag.dags["biometric_training"]
    assert {task.retries for task in dag.tasks} == {7}
    assert dag.timetable.expression == "30 4 * * 2"


def test_deadlines_come_from_the_configuration(
    monkeypatch: pytest.MonkeyPatch, database: None
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    hours = {"monitoring_deadline_hours": 2.5, "training_deadline_hours": None}
    monkeypatch.setenv("BIOMETRIC__SCHEDULES", json.dumps(hours))
    dags = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]).dags
    (deadline,) = dags["biometric_monitoring"].deadline
    assert deadline.interval == timedelta(hours=2.5)
    assert deadline.reference.reference_name == "IntervalEnd"
    # Synchronous, so that the executor runs it and no triggerer is needed.
    assert type(deadline.callback).__name__ == "SyncCallback"
    for dag_id in ("biometric_training", "biometric_retraining"):
        assert not dags[dag_id].deadline


def test_training_is_due_some_time_after_it_was_asked_for(dags: dict[str, Any]) -> None:
    for dag_id in ("biometric_training", "biometric_retraining"):
        (deadline,) = dags[dag_id].deadline
        assert deadline.interval == timedelta(hours=24)
        assert deadline.reference.reference_name == "DagRunQueuedAtDeadline"


@pytest.mark.parametrize(
    ("run_type", "due"),
    [("scheduled", "2026-01-06T00:00:00+00:00"), ("backfill", None), ("manual", None)],
)
def test_only_scheduled_days_are_due(dags: dict[str, Any], run_type: str, due: str | None) -> None:
    from airflow.models import DagRun
    from airflow.plugins_manager import get_deadline_references_plugins
    from airflow.utils.session import create_session

    (deadline,) = dags["biometric_monitoring"].deadline
    assert type(deadline.reference) in get_deadline_references_plugins().values()
    begin = datetime(2026, 1, 5, tzinfo=UTC)
    interval = (begin, begin + timedelta(days=1))
    run_id = f"{run_type}__due"
    with create_session() as session:
        run = DagRun(
            dag_id="biometric_monitoring",
            run_id=run_id,
            run_type=run_type,
            data_interval=interval,
            logical_date=begin,
            run_after=interval[1],
        )
        session.add(run)
        session.flush()
        found = deadline.reference._evaluate_with(
            session=session, dag_id="biometric_monitoring", run_id=run_id
        )
        session.rollback()
    assert (found.isoformat() if found else None) == due


def test_runs_own_their_day(dags: dict[str, Any]) -> None:
    from airflow.sdk import CronDataIntervalTimetable

    for dag_id in ("biometric_training", "biometric_monitoring"):
        assert isinstance(dags[dag_id].timetable, CronDataIntervalTimetable)


def test_only_the_alert_starts_retraining(dags: dict[str, Any]) -> None:
    outlets = [
        (dag_id, task.task_id, outlet.name)
        for dag_id, dag in dags.items()
        for task in dag.tasks
        for outlet in task.outlets
    ]
    assert outlets == [("biometric_monitoring", "alert", "biometric_drift")]
    assert "biometric_drift" in str(dags["biometric_retraining"].timetable.asset_condition)


def test_dag_files_parse_without_heavy_packages(database: None) -> None:
    code = PARSE.format(heavy=HEAVY, ids=IDS)
    folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "parsed" in done.stdout
