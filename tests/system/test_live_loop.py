"""The link that only a live scheduler has: an alarm's asset event starts retraining."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from biometric_core import decisions
from biometric_core.drift import GENUINE_SHIFT
from biometric_core.schemas import TABLES
from biometric_core.store import Store
from biometric_core.verdicts import Outcome
from deploy.local.airflow_api import DagRun
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.prepare import STORY_FILE
from deploy.local.processes import Tracked
from deploy.local.stack import Stack, read_state, stop

pytestmark = pytest.mark.system
_TRAINING_ENDS = "2026-01-05T00:00:00+00:00"


def clean_environment() -> dict[str, str]:
    """The environment without what tests of single DAGs have set for their own database."""
    ours = ("BIOMETRIC_", "AIRFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    layout = Layout(tmp_path_factory.mktemp("var"))
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(clean_environment()):
            patch.delenv(name)
        patch.setenv("BIOMETRIC_VAR", str(layout.var))
        patch.setenv("BIOMETRIC_PROFILE", "test")
        made = Stack(layout)
        try:
            made.begin()
            made.spawn("data", ["python", "-m", "deploy.local.prepare", "story"])
            made.spawn("registry", ["python", "-m", "deploy.local.prepare", "registry"])
            made.finish()
            made.wait("data")
            made.wait("registry")
            made.wait_for_ray()
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def story(stack: Stack) -> dict[str, object]:
    told: dict[str, object] = json.loads((stack.layout.source / STORY_FILE).read_text())
    return told


@pytest.fixture(scope="module")
def champion(stack: Stack, story: dict[str, object]) -> DagRun:
    return follow(
        stack, "biometric_training", {"source": story["history"], "as_of": _TRAINING_ENDS}
    )


def follow(stack: Stack, dag_id: str, params: dict[str, object]) -> DagRun:
    """Start a run and wait for it."""
    return ended(stack, stack.api.trigger(dag_id, params))


def ended(
    stack: Stack,
    run: DagRun,
    within: float = 900,
    whenever_asked: tuple[str, str] | None = None,
) -> DagRun:
    """Wait for the end of a run.

    Args:
        stack: where it runs.
        run: it.
        within: seconds.
        whenever_asked: task and answer. An answer within a second of the question can be lost to
            the scheduler (Airflow 3.3.2: the end of the process that asked is then taken for the
            end of the one that resumed); the task is tried again and asks again.
    """
    limit = time.monotonic() + within
    while not run.ended:
        assert time.monotonic() < limit, f"{run} takes too long: {states(stack, run)}"
        stack.check()
        time.sleep(1)
        if whenever_asked and states(stack, run)[whenever_asked[0]] == "awaiting_input":
            time.sleep(2)
            stack.api.answer(run, *whenever_asked)
        run = stack.api.run(run.dag_id, run.run_id)
    failed = [task for task in stack.api.tasks(run) if task.state == "failed"]
    assert run.state == "success", [stack.api.log(run, task) for task in failed]
    return run


def states(stack: Stack, run: DagRun) -> dict[str, str | None]:
    return {task.task_id: task.state for task in stack.api.tasks(run)}


def caused(stack: Stack, run: DagRun, within: float) -> list[DagRun]:
    """Runs that asset events of `run` started, waiting for the first."""
    limit = time.monotonic() + within
    while not (found := stack.api.runs_caused_by(run)) and time.monotonic() < limit:
        time.sleep(1)
    return found


def test_nothing_runs_unasked(stack: Stack) -> None:
    for dag_id in ("biometric_training", "biometric_monitoring", "biometric_retraining"):
        assert not stack.api.dags()[dag_id]["is_paused"]
        assert stack.api.unfinished(dag_id) == []


def test_a_param_out_of_form_is_refused(stack: Stack) -> None:
    from deploy.local.airflow_api import AirflowApiError

    with pytest.raises(AirflowApiError, match="400"):
        stack.api.trigger("biometric_monitoring", {"day": 7})


def test_training_and_the_pool_of_heavy_tasks(stack: Stack, champion: DagRun) -> None:
    assert champion.triggered_by == "rest_api"
    assert set(states(stack, champion).values()) == {"success"}
    assert stack.api.result(champion, "register") == {
        "name": "biometric-recogniser",
        "version": "1",
        "run_id": (stack.api.result(champion, "train") or {})["run_id"],
        "reused": False,
    }


def test_an_alarm_makes_the_scheduler_start_retraining(
    stack: Stack, story: dict[str, list[dict[str, str]]], champion: DagRun
) -> None:
    day = story["days"][-1]["day"]
    assume_alarm(stack, day)
    watched = follow(stack, "biometric_monitoring", {"day": day})
    assert states(stack, watched)["alert"] == "success"
    runs = caused(stack, watched, within=120)
    assert [run.dag_id for run in runs] == ["biometric_retraining"]
    assert (runs[0].triggered_by, runs[0].run_type) == ("asset", "asset_triggered")
    answered = ended(stack, runs[0])
    assert set(states(stack, answered).values()) == {"success"}
    decided = stack.api.result(answered, "promote")
    assert decided is not None
    assert decided["decision"] in ("promoted", "rejected")
    assert decided["drift_day"] == day
    on_record = decisions.read(Store(stack.env["BIOMETRIC__STORAGE__ROOT"]))
    assert on_record[-1].decision_id == decided["decision_id"]


def test_the_same_alarm_again_is_not_answered_twice(
    stack: Stack, story: dict[str, list[dict[str, str]]], champion: DagRun
) -> None:
    store = Store(stack.env["BIOMETRIC__STORAGE__ROOT"])
    before = store.read("decisions").num_rows
    watched = follow(stack, "biometric_monitoring", {"day": story["days"][-1]["day"]})
    (run,) = caused(stack, watched, within=120)
    answered = ended(stack, run)
    assert set(states(stack, answered).values()) == {"skipped"}
    plan = next(task for task in stack.api.tasks(answered) if task.task_id == "plan")
    assert "was answered" in stack.api.log(answered, plan)
    assert store.read("decisions").num_rows == before


def test_a_person_may_be_asked(stack: Stack, champion: DagRun) -> None:
    asked = stack.api.trigger("biometric_retraining", {"force": True, "approval": True})
    answered = ended(stack, asked, whenever_asked=("approve", "Reject"))
    assert (states(stack, answered)["approve"], states(stack, answered)["promote"]) == (
        "success",
        "skipped",
    )


def test_a_day_without_captures_sends_nothing(stack: Stack, champion: DagRun) -> None:
    watched = follow(stack, "biometric_monitoring", {"day": "2026-03-01"})
    assert set(states(stack, watched).values()) == {"skipped"}
    assert caused(stack, watched, within=5) == []


def assume_alarm(stack: Stack, day: str) -> None:
    """A stored verdict, as `monitor` leaves it behind: so few people carry no real one."""
    row = {
        "day": date.fromisoformat(day),
        "model_version": "1",
        "modality": "iris",
        "sensor": "default",
        "statistic": GENUINE_SHIFT,
        "value": -2.0,
        "p_value": 0.001,
        "threshold": 0.01,
        "subjects": 12,
        "verdict": Outcome.ALARM.value,
        "report": "reports/none.html",
    }
    store = Store(stack.env["BIOMETRIC__STORAGE__ROOT"])
    store.append_new("drift", pa.Table.from_pylist([row], schema=TABLES["drift"]))


def test_an_interrupted_run_leaves_no_process(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var")
    env = {**clean_environment(), "BIOMETRIC_VAR": str(layout.var), "BIOMETRIC_PROFILE": "test"}
    command = [sys.executable, "-m", "deploy.local.story"]
    run = subprocess.Popen(command, env=env, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        members = _started(layout)
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 128 + signal.SIGTERM
        _, left = psutil.wait_procs(members, timeout=10)
        assert left == []
        assert read_state(layout) is None
    finally:
        run.kill()
        run.wait()
        stop(layout)


def test_what_a_killed_run_has_left_is_ended(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var")
    env = {**clean_environment(), "BIOMETRIC_VAR": str(layout.var), "BIOMETRIC_PROFILE": "test"}
    command = [sys.executable, "-m", "deploy.local.story"]
    run = subprocess.Popen(command, env=env, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        members = _started(layout)
    finally:
        run.kill()
        run.wait()
    assert any(member.is_running() for member in members)
    assert stop(layout) > 0
    _, left = psutil.wait_procs(members, timeout=10)
    assert left == []


def _started(layout: Layout) -> list[psutil.Process]:
    """The processes of a stack that is starting, once Ray and the data are under way."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        processes = [Tracked(**told) for told in (read_state(layout) or {}).get("processes", [])]
        if {"ray", "data"} <= {process.name for process in processes}:
            time.sleep(5)
            return [member for process in processes for member in process.members()]
        time.sleep(0.2)
    raise AssertionError("the stack doesn't start")
