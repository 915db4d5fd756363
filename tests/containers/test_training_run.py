"""One training run in containers, and its model through MLflow's server."""

import httpx
import pytest

from deploy.local.airflow_api import DagRun
from tests.containers.stack import ContainerStack
from tests.system.live import states

pytestmark = [pytest.mark.containers, pytest.mark.smoke]


def test_training_ends_with_a_champion(small: ContainerStack, champion: DagRun) -> None:
    assert set(states(small, champion).values()) == {"success"}
    assert small.api.result(champion, "promote") is not None
    found = small.inside("intact")
    assert found["captures"] == found["features"] > 100
    assert (found["twice"], found["wrong_images"]) == ({}, [])
    assert found["training_runs"] == ["FINISHED"]
    assert [one.decision for one in small.decisions()] == ["promoted"]
    assert small.inside("champion_weights")


def test_a_task_of_the_run_can_be_read_about(small: ContainerStack, champion: DagRun) -> None:
    tasks = {task.task_id: task for task in small.api.tasks(champion)}
    assert "epoch" in small.api.log(champion, tasks["train"], lines=400)


def test_artifacts_come_through_the_server_and_not_without_credentials(
    small: ContainerStack, champion: DagRun
) -> None:
    run_id = small.inside("run_of", "champion")
    page = f"{small.mlflow}/api/2.0/mlflow/artifacts/list"
    login = ("admin", small.secret("mlflow_password"))
    with httpx.Client(timeout=60, trust_env=False) as nobody:
        assert nobody.get(page, params={"run_id": run_id}).status_code == 401
    with httpx.Client(timeout=60, trust_env=False, auth=login) as http:
        uri = http.get(f"{small.mlflow}/api/2.0/mlflow/runs/get?run_id={run_id}").json()
        assert uri["run"]["info"]["artifact_uri"].startswith("mlflow-artifacts:")
        files = every_file(http, page, {"run_id": run_id})
        assert any(path.endswith(".safetensors") for path in files)
        address = f"{small.mlflow}/get-artifact?run_uuid={run_id}&path={{}}"
        for path, size in files.items():
            assert len(http.get(address.format(path)).content) == size > 0
        one = address.format(min(files))
    with httpx.Client(timeout=60, trust_env=False) as nobody:
        assert nobody.get(one).status_code == 401
        assert nobody.get(one, auth=("admin", "wrong")).status_code == 401


def every_file(http: httpx.Client, page: str, query: dict[str, str]) -> dict[str, int]:
    """Size of each artifact of a run by its path, as the UI finds them."""
    found: dict[str, int] = {}
    for entry in http.get(page, params=query).json().get("files", []):
        if entry["is_dir"]:
            found |= every_file(http, page, query | {"path": entry["path"]})
        else:
            found[entry["path"]] = int(entry["file_size"])
    return found


def test_the_host_header_of_the_network_is_served(small: ContainerStack) -> None:
    ours = "http://mlflow:5000/health", "http://mlflow:5000/api/2.0/mlflow/experiments/search"
    assert small.inside("asked", *ours) == {ours[0]: 200, ours[1]: 401}
