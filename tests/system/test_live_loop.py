"""The link that only a live scheduler has: an alarm's asset event starts retraining."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path

import psutil
import pytest

from biometric_core.history import decisions
from biometric_core.parallel.patience import patience
from deploy.local.airflow_api import DagRun
from deploy.local.places import REPOSITORY, USER, Layout
from deploy.local.processes import Tracked
from deploy.local.stack import Stack, read_state, stop
from tests.support.drift_rows import write_verdict
from tests.system.live import (
    clean_environment,
    ended,
    follow,
    running,
    runs_of,
    send_event,
    set_paused,
    settings,
    states,
    store_of,
)

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    layout = Layout(tmp_path_factory.mktemp("var"))
    # Which of its few captures are of training subjects, and accepted, is chance.
    ours = {"BIOMETRIC__RETRAINING__MIN_NEW_CAPTURES": "0"}
    with settings(layout.var, **ours), running(layout) as made:
        yield made


def caused(stack: Stack, run: DagRun, within: float) -> list[DagRun]:
    """Runs that asset events of `run` started, waiting for the first."""
    limit = time.monotonic() + patience(within)
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
    day = story["days"][0]["day"]
    write_verdict(store_of(stack), date.fromisoformat(day))
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
    on_record = decisions.read(store_of(stack))
    assert on_record[-1].decision_id == decided["decision_id"]


def test_the_same_alarm_again_is_not_answered_twice(
    stack: Stack, story: dict[str, list[dict[str, str]]], champion: DagRun
) -> None:
    store = store_of(stack)
    before = store.read("decisions").num_rows
    watched = follow(stack, "biometric_monitoring", {"day": story["days"][0]["day"]})
    (run,) = caused(stack, watched, within=120)
    answered = ended(stack, run)
    assert set(states(stack, answered).values()) == {"skipped"}
    plan = next(task for task in stack.api.tasks(answered) if task.task_id == "plan")
    assert "was answered" in stack.api.log(answered, plan)
    assert store.read("decisions").num_rows == before


def test_events_while_paused_and_in_a_burst_are_one_retraining_for_one_drift(
    stack: Stack, story: dict[str, list[dict[str, str]]], champion: DagRun
) -> None:
    store, day = store_of(stack), story["days"][-1]["day"]
    before = {run.run_id for run in runs_of(stack, "biometric_retraining")}
    set_paused(stack, "biometric_retraining", True)
    reigning = decisions.last_change(decisions.read(store))
    assert reigning is not None
    follow(stack, "biometric_monitoring", {"day": day})
    store.delete("drift", f"day = '{day}'")
    write_verdict(store, date.fromisoformat(day), version=reigning.challenger_version)
    send_event(stack, {"day": day})
    assert {run.run_id for run in runs_of(stack, "biometric_retraining")} == before
    set_paused(stack, "biometric_retraining", False)
    with ThreadPoolExecutor(3) as burst:
        list(burst.map(partial(send_event, stack), [{"number": one} for one in range(3)]))
    first = ended(stack, next_run(stack, before))
    # One more when all is over: its run comes after whatever the burst has left to do.
    send_event(stack, {"day": day})
    later = first
    while "was answered" not in told(stack, later):
        later = ended(stack, next_run(stack, before | {first.run_id, later.run_id}))
    since = [run for run in runs_of(stack, "biometric_retraining") if run.run_id not in before]
    since = [ended(stack, run) for run in since]
    trained = [run.run_id for run in since if states(stack, run)["train"] == "success"]
    assert trained == [first.run_id]
    # Of a champion that stayed, after a rejected answer, the drift reaches back to that day.
    on_record = [one for one in decisions.read(store) if one.drift_until == day]
    assert len(on_record) == 1


def next_run(stack: Stack, seen: set[str], within: float = 120) -> DagRun:
    """The first retraining that is not among those `seen`."""
    limit = time.monotonic() + patience(within)
    while time.monotonic() < limit:
        for run in runs_of(stack, "biometric_retraining"):
            if run.run_id not in seen:
                return run
        time.sleep(0.5)
    raise AssertionError("no event started a retraining")


def told(stack: Stack, run: DagRun) -> str:
    """What the plan of a retraining said."""
    plan = next(task for task in stack.api.tasks(run) if task.task_id == "plan")
    return stack.api.log(run, plan)


def test_a_persons_reject_is_a_decision(
    stack: Stack, story: dict[str, list[dict[str, str]]], champion: DagRun
) -> None:
    day = story["days"][-1]["day"]
    asked = stack.api.trigger("biometric_retraining", {"force": True, "approval": True, "day": day})
    answered = ended(stack, asked, whenever_asked=("approve", "Reject"))
    assert set(states(stack, answered).values()) == {"success"}
    made = decisions.read(store_of(stack))[-1]
    assert (made.decision, made.reason) == ("rejected", f"rejected by {USER}")
    assert made.drift_day == day


def test_a_day_without_captures_sends_nothing(stack: Stack, champion: DagRun) -> None:
    watched = follow(stack, "biometric_monitoring", {"day": "2026-03-01"})
    found = states(stack, watched)
    assert found.pop("earlier_days") == "success"  # it waits for the day before, captures or not
    assert set(found.values()) == {"skipped"}
    assert caused(stack, watched, within=5) == []


def test_an_interrupted_run_leaves_no_process(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var")
    env = {**clean_environment(), "BIOMETRIC_VAR": str(layout.var), "BIOMETRIC_PROFILE": "test"}
    command = [sys.executable, "-m", "deploy.story.run"]
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
    command = [sys.executable, "-m", "deploy.story.run"]
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
    limit = time.monotonic() + patience(120)
    while time.monotonic() < limit:
        processes = [Tracked(**told) for told in (read_state(layout) or {}).get("processes", [])]
        if {"ray", "data"} <= {process.name for process in processes}:
            time.sleep(5)
            return [member for process in processes for member in process.members()]
        time.sleep(0.2)
    raise AssertionError("the stack doesn't start")
