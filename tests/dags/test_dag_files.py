"""What every DAG must be, and that its file needs nothing heavy."""

import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

HEAVY = ("torch", "torchvision", "ray", "mlflow", "evidently", "pandas")
IDS = ("biometric_training", "biometric_monitoring", "biometric_retraining", "biometric_rollback")
HEAVY_TASKS = {"preprocess", "train", "evaluate", "monitor", "promote"}
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
