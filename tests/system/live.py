"""A stack of its own for a test module, and following what runs in it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from biometric_core.parallel.patience import patience
from biometric_core.storage.store import Store
from deploy.local.airflow_api import AirflowApiError, DagRun
from deploy.local.places import Layout
from deploy.local.stack import Stack
from deploy.story.run import Running

TRAINING_ENDS = "2026-01-05T00:00:00+00:00"


def clean_environment() -> dict[str, str]:
    """The environment without what tests of single DAGs have set for their own database."""
    ours = ("BIOMETRIC_", "AIRFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@contextmanager
def settings(var: Path, **ours: str) -> Iterator[None]:
    """The environment in which a stack under `var` is started, with settings of ours."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(clean_environment()):
            patch.delenv(name)
        named = {"BIOMETRIC_VAR": str(var), "BIOMETRIC_PROFILE": "test", **ours}
        for name, value in named.items():
            patch.setenv(name, value)
        yield


@contextmanager
def running(layout: Layout, *, data: bool = True, **airflow: str) -> Iterator[Stack]:
    """A stack with generated people, ended at the end.

    Args:
        layout: its folder.
        data: make the people; False where they are there.
        airflow: variables for its processes, in place of its own.
    """
    made = Stack(layout)
    try:
        made.begin()
        made.env |= airflow
        parts = ("story", "registry") if data else ()
        for part in parts:
            made.spawn(part, ["python", "-m", "deploy.story.seed", part])
        made.finish()
        for part in parts:
            made.wait(part)
        made.wait_for_ray()
        yield made
    finally:
        made.close()


def store_of(stack: Stack) -> Store:
    """The tables that its tasks write."""
    return Store(stack.env["BIOMETRIC__STORAGE__ROOT"])


def set_paused(stack: Running, dag_id: str, paused: bool) -> None:
    """What the switch in the UI does."""
    stack.api._call("PATCH", f"dags/{dag_id}", json={"is_paused": paused})


def send_event(stack: Running, extra: dict[str, object]) -> None:
    """An event of the drift asset, as an outside alert sends it: again where SQLite was busy."""
    found = stack.api._call("GET", "assets", params={"name_pattern": "biometric_drift"})
    (asset,) = found["assets"]
    body = {"asset_id": asset["id"], "extra": extra}
    for attempt in range(10):
        try:
            stack.api._call("POST", "assets/events", json=body)
        except AirflowApiError as error:
            if "Database error" not in str(error) or attempt == 9:
                raise
            time.sleep(1)
        else:
            return


def runs_of(stack: Running, dag_id: str) -> list[DagRun]:
    """All runs of a DAG, the oldest first."""
    return stack.api.runs(dag_id, order_by="run_after")


def states(stack: Running, run: DagRun) -> dict[str, str | None]:
    """What each task of a run is at."""
    return {task.task_id: task.state for task in stack.api.tasks(run)}


def follow(stack: Running, dag_id: str, params: dict[str, object]) -> DagRun:
    """Start a run and wait for it."""
    return ended(stack, stack.api.trigger(dag_id, params))


def ended(
    stack: Running,
    run: DagRun,
    within: float = 900,
    whenever_asked: tuple[str, str] | None = None,
) -> DagRun:
    """Wait for the end of a run.

    Args:
        stack: where it runs.
        run: it.
        within: seconds, on a machine that does nothing else.
        whenever_asked: task and answer. An answer within a second of the question can be lost to
            the scheduler (Airflow 3.3.2: the end of the process that asked is then taken for the
            end of the one that resumed); the task is tried again and asks again.
    """
    limit = time.monotonic() + patience(within)
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
