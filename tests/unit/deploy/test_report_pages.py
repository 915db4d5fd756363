"""Evidently's pages over the reports, as `make ui` serves them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from biometric_core.config import Config
from biometric_core.monitoring.report.workspace import project_id, run_id
from deploy.local.places import REPOSITORY, Ports
from tests.support.drift_days import TODAY, report
from tests.support.drift_story import system

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return system(tmp_path)


@pytest.fixture
def pages(config: Config, tmp_path: Path) -> Iterator[httpx.Client]:
    """The running pages."""
    port = Ports.choose(usual=False).reports
    env = {
        **{name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"},
        "BIOMETRIC_PROFILE": "test",
        "BIOMETRIC__STORAGE__ROOT": config.storage.root,
        "BIOMETRIC__MLFLOW__MODEL_NAME": config.mlflow.model_name,
    }
    command = [sys.executable, "-m", "deploy.local.report_pages", "--port", str(port)]
    log = tmp_path / "pages.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=env, cwd=REPOSITORY, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            limit = time.monotonic() + 240
            while not _answers(client):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < limit, log.read_text()
                time.sleep(0.2)
            yield client
    finally:
        process.terminate()
        process.wait(20)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/version").is_success
    except httpx.TransportError:
        return False


def shown(pages: httpx.Client, config: Config) -> set[str]:
    """Ids of the runs that the pages know."""
    answer = pages.get(f"/api/projects/{project_id(config)}/snapshots")
    return {one["id"] for one in answer.raise_for_status().json()}


def values(pages: httpx.Client, config: Config, metric: str, **labels: str) -> list[list[float]]:
    """Values over days, a list for each line of a panel."""
    wanted = {
        "tags": [],
        "metadata": {},
        "metric": f"evidently:metric_v2:{metric}",
        "metric_labels": labels,
    }
    answer = pages.post(
        f"/api/v2/snapshots/{project_id(config)}/data_series_batch",
        json={"series_filter": [wanted]},
    )
    return [one["values"] for one in answer.raise_for_status().json()["series"]]


def test_reports_appear_as_they_are_written_and_can_only_be_read(config, pages) -> None:
    (project,) = pages.get("/api/projects").json()
    assert project["name"] == config.mlflow.model_name
    panels = pages.get(f"/api/v2/dashboards/{project['id']}").json()["panels"]
    assert len(panels) == 3

    days = [TODAY, TODAY + timedelta(days=1)]
    for day in days:
        report(config, day=day)
    report(config, 3.0, days[1])  # judged again
    limit = time.monotonic() + 30
    ids = {str(run_id(day)) for day in days}
    while shown(pages, config) != ids:
        assert time.monotonic() < limit, "the pages don't see the new runs"
        time.sleep(0.2)

    (p_values,) = values(pages, config, "DriftPValue", statistic="day")
    assert [p < 0.01 for p in p_values] == [False, True]
    lines = values(pages, config, "DayFigure", modality="iris", statistic="genuine_mean")
    assert [len(line) for line in lines] == [2]

    run = f"/api/projects/{project['id']}/{run_id(TODAY)}"
    for refused in (pages.delete(run), pages.delete(f"/api/projects/{project['id']}")):
        assert refused.status_code in (401, 403)
    assert shown(pages, config) == ids
