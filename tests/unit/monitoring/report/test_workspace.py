import json
import re
import subprocess
import sys
import threading
from datetime import date, timedelta
from pathlib import Path

import pytest
from evidently.ui.workspace import Workspace

from biometric_core.config import Config
from biometric_core.monitoring.report.workspace import forget_reports, project_id, run_id, workspace
from biometric_core.monitoring.report.writing import prepare_workspace
from biometric_core.stages.monitor import monitor
from biometric_core.storage.store import Store
from tests.support.drift_days import TODAY, report
from tests.support.drift_story import CALM, calm_day, system
from tests.support.tiny_store import changed

LIGHT = """
import sys
from datetime import date
from biometric_core.config import load_config
from biometric_core.monitoring.report.workspace import forget_reports
config = load_config("test", {"storage": {"root": sys.argv[1]}})
assert forget_reports(config, before=date(2026, 1, 1)) == 0
assert not [name for name in sys.modules if name.split(".")[0] in ("evidently", "mlflow", "torch")]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return system(tmp_path)


def kept(config: Config) -> Workspace:
    return Workspace(str(workspace(config)))


def test_a_day_is_one_run_that_is_replaced_when_it_is_judged_again(config) -> None:
    calm_day(config)
    for force in (False, False, True):
        monitor(config, day=CALM, force=force)
    (project,) = kept(config).list_projects()
    assert project.name == config.mlflow.model_name
    assert kept(config).list_runs(project.id) == [run_id(CALM)]
    report(config, day=TODAY)
    assert sorted(kept(config).list_runs(project.id)) == [run_id(CALM), run_id(TODAY)]
    found = kept(config).get_run(project.id, run_id(TODAY))
    assert found is not None
    assert (found.name, found.metadata["day"]) == (f"drift {TODAY}", TODAY.isoformat())
    assert found.widgets


def test_the_runs_are_strict_json(config) -> None:
    report(config)
    (file,) = workspace(config).glob(f"*/snapshots/{run_id(TODAY)}.json")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(file.read_text(), parse_constant=refuse)


def test_metrics_bear_the_names_that_earlier_workspaces_hold(config) -> None:
    """Evidently names a metric by its class alone: another name would start another series."""
    report(config)
    (file,) = workspace(config).glob(f"*/snapshots/{run_id(TODAY)}.json")
    named = set(re.findall(r'"type": ?"([^"]*:(?:Day|DriftP)[^"]*)"', file.read_text()))
    kinds = ("DayFigure", "DayVerdict", "DriftPValue")
    assert named == {f"evidently:metric_v2:{kind}" for kind in kinds}
    assert "biometric_core" not in file.read_text()


def test_each_model_has_its_project(config) -> None:
    report(config)
    report(changed(config, "mlflow", model_name="another"))
    assert {one.name for one in kept(config).list_projects()} == {
        config.mlflow.model_name,
        "another",
    }


def test_there_is_a_dashboard_that_people_may_change(config) -> None:
    prepare_workspace(config)
    (project,) = kept(config).list_projects()
    titles = [panel.title for panel in project.dashboard.model().panels]
    assert titles == [
        "Smallest corrected p-value of the day",
        "Mean genuine score",
        "Failure-to-acquire rate",
    ]
    project.dashboard.delete_panel(titles[0], "Drift")
    report(config)
    assert len(project.dashboard.model().panels) == 2


def test_values_of_all_days_make_one_series(config) -> None:
    """Evidently draws values over days where the parameters of a metric are always the same."""
    for day in (CALM, TODAY):
        report(config, day=day)
    (project,) = kept(config).list_projects()
    params = []
    for run in kept(config).list_runs(project.id):
        found = kept(config).get_run(project.id, run)
        assert found is not None
        metrics = [one.metric_value_location.metric.params for one in found.metric_results.values()]
        params.append([{**one, "tests": None} for one in metrics])
    assert params[0] == params[1]


def test_monitors_at_once_do_not_break_the_workspace(config) -> None:
    days = [TODAY, TODAY, TODAY + timedelta(days=1), TODAY + timedelta(days=2)]
    problems: list[BaseException] = []

    def one(day: date) -> None:
        try:
            prepare_workspace(config)
            report(config, day=day)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=one, args=(day,)) for day in days]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    (project,) = kept(config).list_projects()
    assert sorted(kept(config).list_runs(project.id)) == [run_id(day) for day in sorted(set(days))]
    assert project.id == project_id(config)
    aside = Store.of(config).path("cache", "any").parent
    assert not list(aside.glob("evidently-*"))


def test_reports_of_old_days_are_forgotten(config) -> None:
    days = [TODAY - timedelta(days=1), TODAY]
    for day in days:
        report(config, day=day)
    reports = Store.of(config).path("reports", "any").parent
    (reports / "data").mkdir()
    (reports / "data" / "capture-1.html").write_text("the data report")
    (reports / "2020-01-01.txt").write_text("no report")
    assert forget_reports(config, before=TODAY) == 1
    assert sorted(path.name for path in reports.iterdir()) == [
        "2020-01-01.txt",
        TODAY.isoformat(),
        "data",
    ]
    (project,) = kept(config).list_projects()
    assert kept(config).list_runs(project.id) == [run_id(TODAY)]
    assert forget_reports(config, before=TODAY) == 0


def test_reports_in_an_object_store_are_forgotten_there_as_well(tmp_path, config, bucket) -> None:
    remote = changed(config, "storage", root=bucket, work=str(tmp_path / "work"))
    report(remote)
    files, old = Store.of(remote).files, f"reports/{TODAY}/drift.html"
    assert files.exists(old)
    assert workspace(remote).is_relative_to(tmp_path / "work")
    assert forget_reports(remote, before=TODAY + timedelta(days=1)) == 1
    assert not files.exists(old)
    assert not list((tmp_path / "work").rglob("drift.html"))


def test_forgetting_needs_neither_evidently_nor_mlflow(tmp_path) -> None:
    command = [sys.executable, "-c", LIGHT, str(tmp_path / "data")]
    subprocess.run(command, check=True, timeout=60, cwd=Path(__file__).parents[4])
