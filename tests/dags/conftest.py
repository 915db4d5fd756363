"""One Airflow database, one set of generated people and one store for all DAG tests."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from biometric_core.config import Config, load_config

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST_DAY = date(2026, 1, 5)


@dataclass(frozen=True)
class World:
    """Where the tests' Airflow and data are, and the laid-out story."""

    home: Path
    history: str
    days: list[str]

    @property
    def config(self) -> Config:
        return load_config()


@pytest.fixture(scope="session", autouse=True)
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Set before the first import of airflow, which reads its configuration then."""
    home = tmp_path_factory.mktemp("airflow")
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "BIOMETRIC_PROFILE": "test",
        "BIOMETRIC_VAR": str(home),
        "BIOMETRIC__STORAGE__ROOT": str(home / "data"),
        "BIOMETRIC__STORAGE__INBOX": str(home / "story" / "inbox"),
        "BIOMETRIC__MLFLOW__TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "BIOMETRIC__MLFLOW__ARTIFACT_ROOT": str(home / "artifacts"),
        "DO_NOT_TRACK": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.syspath_prepend(str(REPOSITORY / "plugins"))
        yield home


@pytest.fixture(scope="session")
def database(airflow_environment: Path) -> None:
    """Airflow's tables, and the pool that heavy tasks need."""
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb

    initdb()
    Pool.create_or_update_pool("biometric_heavy", slots=1, description="", include_deferred=False)


@pytest.fixture(scope="session")
def dags(database: None) -> dict[str, Any]:
    """All DAGs by id; none of their files may fail to import."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.fixture(scope="session")
def world(airflow_environment: Path) -> World:
    """Few generated people, laid out as a history and three days."""
    from biometric_core.sources.generator.people import generate
    from biometric_core.sources.replay import replay

    config, home = load_config(), airflow_environment
    made = generate(config, out=str(home / "generated"), workers=1)
    told = replay(config, source=made.path, out=str(home / "story"), first_day=FIRST_DAY)
    return World(home, told.history, [day["day"] for day in told.days])


class Runner:
    """Runs a DAG in this process, as the scheduler would."""

    def __call__(self, dag_id: str, **params: Any) -> dict[str, str]:
        """Run a DAG by hand; the state of every task, and of the run under the key ""."""
        return self._states(dag_id, run_conf=params, logical_date=None)

    def of_day(self, dag_id: str, day: date) -> dict[str, str]:
        """Run a DAG for the interval that begins with a day, as a schedule or a backfill does."""
        end = datetime.combine(day + timedelta(days=1), time(), UTC)
        return self._states(dag_id, logical_date=end)

    def _states(self, dag_id: str, **how: Any) -> dict[str, str]:
        from airflow.dag_processing.dagbag import DagBag

        # Read anew: a run in this process leaves its params behind as the defaults of the next.
        dag = DagBag(REPOSITORY / "dags" / f"{dag_id}.py").dags[dag_id]
        # A run of `dag.test` looks its deadlines up by ids it lacks (apache/airflow#73428).
        dag.deadline = None
        run = dag.test(**how)
        states = {task.task_id: str(task.state) for task in run.get_task_instances()}
        return {**states, "": str(run.state)}


@pytest.fixture(scope="session")
def run_dag(database: None) -> Runner:
    return Runner()


@pytest.fixture(scope="session")
def trained(run_dag: Runner, world: World) -> dict[str, str]:
    """States of a training run on the history; what it left is kept aside for `copied`."""
    states = run_dag(
        "biometric_training", source=world.history, as_of=f"{FIRST_DAY}T00:00:00+00:00"
    )
    shutil.copytree(world.home / "data", world.home / "as_trained" / "data")
    shutil.copy(world.home / "mlflow.db", world.home / "as_trained")
    return states


@pytest.fixture
def copied(
    trained: dict[str, str], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Config:
    """A copy of what training left, with an empty inbox; DAGs work on it."""
    shutil.copytree(world.home / "as_trained", tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("BIOMETRIC__STORAGE__ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("BIOMETRIC__STORAGE__INBOX", str(tmp_path / "inbox"))
    monkeypatch.setenv("BIOMETRIC__MLFLOW__TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return load_config()
