"""What only a live scheduler shows: deadlines, notices, backfills, outside alerts."""

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from biometric_core.parallel.patience import patience
from deploy.local.airflow_api import DagRun
from deploy.local.places import REPOSITORY, USER, Layout
from deploy.local.stack import Stack
from tests.dags.listeners import Heard, webhook
from tests.support.drift_rows import write_verdict
from tests.system.live import ended, running, settings, states, store_of

pytestmark = pytest.mark.system
_A_SECOND = 1 / 3600  # hours
_KINDS = ("alarm", "decision", "failure", "deadline")


@pytest.fixture(scope="module")
def heard() -> Iterator[Heard]:
    with webhook() as found:
        yield found


@pytest.fixture(scope="module")
def stack(heard: Heard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A system that tells everything to a webhook, with deadlines that are missed at once."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    address = {"conn_type": "http", "host": f"http://127.0.0.1:{heard.port}/"}
    ours = {
        "BIOMETRIC__SCHEDULES__START_DATE": yesterday.isoformat(),
        "BIOMETRIC__SCHEDULES__MONITORING_DEADLINE_HOURS": str(_A_SECOND),
        "BIOMETRIC__SCHEDULES__TRAINING_DEADLINE_HOURS": str(_A_SECOND),
        # What the days tell is answered by nobody here: no model is trained but the first.
        "BIOMETRIC__RETRAINING__MIN_NEW_CAPTURES": "1000",
        "BIOMETRIC__NOTIFICATIONS": json.dumps({kind: ["webhook"] for kind in _KINDS}),
        "AIRFLOW_CONN_BIOMETRIC_WEBHOOK": json.dumps(address),
        "no_proxy": "*",
    }
    layout = Layout(tmp_path_factory.mktemp("var"))
    with settings(layout.var, **ours), running(layout) as made:
        yield made


def within(seconds: float, found: Callable[[], Any]) -> Any:
    """The first thing that is found."""
    limit = time.monotonic() + patience(seconds)
    while not (thing := found()):
        assert time.monotonic() < limit, "nothing in time"
        time.sleep(0.5)
    return thing


def posts(heard: Heard, kind: str, **facts: Any) -> list[dict[str, Any]]:
    told = [post for post in heard.posts if post["kind"] == kind]
    return [post for post in told if facts.items() <= post["facts"].items()]


def create_backfill(stack: Stack, first: str, last: str, *how: str) -> None:
    """By the command line, as a person beside the running system does.

    With SQLite it can meet a scheduler that is writing; what it leaves half made then counts as
    running until the scheduler clears it away, after two minutes.
    """
    command = [str(REPOSITORY / ".venv" / "bin" / "airflow"), "backfill", "create"]
    command += ["--dag-id", "biometric_monitoring", "--from-date", first, "--to-date", last, *how]

    def created() -> bool:
        done = subprocess.run(command, env=stack.env, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        busy = "database is locked" in said or "AlreadyRunningBackfill" in said
        assert done.returncode == 0 or busy, said
        return done.returncode == 0

    within(240, created)


def runs(stack: Stack, dag_id: str, run_type: str) -> list[DagRun]:
    """All runs of a DAG of one type, by their logical date."""
    return stack.api.runs(dag_id, run_type=run_type, order_by="logical_date")


def test_a_scheduled_day_that_is_late_is_told_without_a_triggerer(
    stack: Stack, heard: Heard
) -> None:
    (run,) = within(60, lambda: runs(stack, "biometric_monitoring", "scheduled"))
    (told,) = within(60, lambda: posts(heard, "deadline", dag="biometric_monitoring"))
    assert told["title"] == "biometric_monitoring is late"
    assert told["facts"]["run"] == run.run_id
    assert told["facts"]["link"].startswith(stack.url)
    assert "triggerer" not in {process.name for process in stack.processes}


def test_a_training_that_takes_too_long_is_told_while_it_goes_on(
    stack: Stack, heard: Heard, champion: DagRun
) -> None:
    assert champion.state == "success"
    (told,) = within(30, lambda: posts(heard, "deadline", run=champion.run_id))
    assert told["facts"]["state"] in ("queued", "running")


def test_the_first_champion_is_told(heard: Heard, champion: DagRun) -> None:
    (told,) = posts(heard, "decision")
    assert told["title"] == "version 1 promoted"


def test_a_backfill_judges_days_in_order_however_many_runs_it_starts(
    stack: Stack, heard: Heard, champion: DagRun, story: dict[str, Any]
) -> None:
    days = [day["day"] for day in story["days"]]
    create_backfill(stack, days[0], days[-1])
    made = within(60, lambda: runs(stack, "biometric_monitoring", "backfill"))
    assert len(made) == len(days)
    for before, after in itertools.pairwise([ended(stack, run) for run in made]):
        begun = {task.task_id: task.started for task in stack.api.tasks(after)}["ingest"]
        assert (
            begun
            >= stack.api._call("GET", f"dags/{before.dag_id}/dagRuns/{before.run_id}")["end_date"]
        )
    judged = sorted(set(store_of(stack).read("drift", ["day"])["day"].to_pylist()))
    assert [day.isoformat() for day in judged] == days
    late = [told["facts"]["run"] for told in posts(heard, "deadline")]
    assert not {run.run_id for run in made} & set(late), "a backfilled day has no deadline"


def test_a_failure_is_told_by_the_task_and_by_the_run(stack: Stack, heard: Heard) -> None:
    folder = Path(stack.env["BIOMETRIC__STORAGE__INBOX"], "2026-04-01", "iris")
    folder.mkdir(parents=True)
    (folder / "001_L_01.png").write_bytes(b"half an image")
    run = stack.api.trigger("biometric_monitoring", {"day": "2026-04-01"})
    within(120, lambda: stack.api.run(run.dag_id, run.run_id).ended)
    (task,) = within(60, lambda: posts(heard, "failure", run=run.run_id, task="ingest"))
    assert "refused" in task["text"]
    within(60, lambda: posts(heard, "failure", run=run.run_id)[1:])


def test_an_outside_alert_starts_retraining(
    stack: Stack, heard: Heard, champion: DagRun, story: dict[str, Any]
) -> None:
    """The calls of docs/operations.md."""
    write_verdict(store_of(stack), date(2026, 1, 9))
    login = {"username": USER, "password": stack.password}
    with httpx.Client(base_url=stack.url, trust_env=False) as http:
        token = http.post("/auth/token", json=login).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        named = http.get("/api/v2/assets", params={"name_pattern": "biometric_drift"}).json()
        (asset,) = [one for one in named["assets"] if one["name"] == "biometric_drift"]
        body = {"asset_id": asset["id"], "extra": {"from": "outside"}}
        sent = http.post("/api/v2/assets/events", json=body)
    assert sent.is_success

    def plan_log(run: DagRun) -> str:
        plan = next(task for task in stack.api.tasks(run) if task.task_id == "plan")
        return stack.api.log(run, plan, lines=200)

    def from_outside() -> DagRun | None:
        """The alarms of the days before have runs of their own."""
        made = runs(stack, "biometric_retraining", "asset_triggered")
        return next((run for run in made if run.ended and "outside" in plan_log(run)), None)

    answered = within(120, from_outside)
    log = plan_log(answered)
    assert "2026-01-09" in log
    assert set(states(stack, answered).values()) == {"skipped"}


def test_a_backfill_may_not_go_backwards(
    stack: Stack, champion: DagRun, story: dict[str, Any]
) -> None:
    order = ("--run-backwards", "--max-active-runs", "1")
    create_backfill(stack, "2026-02-01", "2026-02-02", *order)
    known = {day["day"] for day in story["days"]}

    def first() -> DagRun | None:
        made = [
            run
            for run in runs(stack, "biometric_monitoring", "backfill")
            if not any(day in run.run_id for day in known)
        ]
        return made[-1] if made and made[-1].ended else None

    run = within(120, first)
    task = next(task for task in stack.api.tasks(run) if task.task_id == "earlier_days")
    assert task.state == "failed"
    assert "without --run-backwards" in stack.api.log(run, task, lines=200)
