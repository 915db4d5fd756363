"""SIGKILL in mid-run, on a live scheduler: the run completes, and nothing is there twice."""

import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from biometric_core.config import load_config
from biometric_core.parallel.patience import patience
from biometric_core.training.checkpoint import FILE_NAME
from deploy.local.airflow_api import DagRun
from deploy.local.places import Layout
from deploy.local.processes import Tracked
from deploy.local.stack import SCHEDULER, Stack
from tests.containers import inside
from tests.faults.worlds import SEED, decided
from tests.system.live import TRAINING_ENDS, ended, running, settings, states

pytestmark = pytest.mark.system
_EPOCHS = "12"
# What was killed is missed sooner than in a system that nobody waits for.
_SOON = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
}


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    ours = {
        "BIOMETRIC__SCHEDULES__RETRIES": "3",
        "BIOMETRIC__SCHEDULES__RETRY_DELAY_SECONDS": "1",
        "BIOMETRIC__TRAINING__EPOCHS": _EPOCHS,
        "BIOMETRIC__TRAINING__PATIENCE": _EPOCHS,
    }
    with settings(tmp_path / "var", **ours):
        yield Layout(tmp_path / "var")


class Chaos:
    """Kills parts of a stack while a run goes on.

    Args:
        stack: which.
        run: a run in it.
        seed: of the moments.
    """

    def __init__(self, stack: Stack, run: DagRun, seed: int) -> None:
        self.stack, self.run, self.chance = stack, run, random.Random(seed)
        self.told: list[str] = []

    def when(
        self, task: str, happened: Callable[[], bool] = lambda: True, within: float = 0.3
    ) -> None:
        """Wait until a task is at work and something has happened, and a random while more.

        Args:
            task: its id.
            happened: sign of work that is under way.
            within: seconds that the while may last.
        """
        limit = time.monotonic() + patience(240)
        while not (self.workers() and states(self.stack, self.run)[task] == "running"):
            assert time.monotonic() < limit, (task, states(self.stack, self.run), self.told)
            time.sleep(0.1)
        while not happened():
            assert time.monotonic() < limit, (task, states(self.stack, self.run), self.told)
            time.sleep(0.01)
        moment = self.chance.uniform(0, within)
        time.sleep(moment)
        self.told.append(f"{task} after {moment:.2f} s")

    def workers(self) -> list[psutil.Process]:
        """LocalExecutor's processes that look after a task; the task is a child of them."""
        found = []
        for process in self.scheduler.members():
            try:
                title = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if "LocalExecutor" in title and "<idle>" not in title and process.children():
                found.append(process)
        return found

    @property
    def scheduler(self) -> Tracked:
        """The one that runs now."""
        return [one for one in self.stack.processes if one.name == "scheduler"][-1]

    def kill_task(self) -> None:
        """The process that does the work."""
        for worker in self.workers():
            for task in worker.children():
                task.kill()

    def kill_group(self) -> None:
        """The process that does the work, and the one that looks after it."""
        for worker in self.workers():
            for process in (worker, *worker.children(recursive=True)):
                process.kill()

    def kill_scheduler(self) -> None:
        """The scheduler alone: its workers go on, and nobody listens to them; start another."""
        psutil.Process(self.scheduler.pid).kill()  # the stack still ends its workers
        self.stack._handles["scheduler"].wait()
        self.stack.spawn("scheduler", SCHEDULER)

    def kill_everything(self) -> None:
        """As a machine that goes off: all processes of the stack, in one go."""
        for process in [one for part in self.stack.processes for one in part.members()]:
            process.send_signal(signal.SIGSTOP)  # nobody is left to react to the others' end
        for process in [one for part in self.stack.processes for one in part.members()]:
            process.kill()


def test_a_training_run_survives_the_death_of_every_part(layout: Layout) -> None:
    print(f"BIOMETRIC_FAULT_SEED={SEED}")  # pytest shows it where the test fails
    data, artifacts = layout.var / "data", layout.var / "mlflow" / "artifacts"
    with running(layout, **_SOON) as stack:
        params = {"source": str(layout.source / "history"), "as_of": TRAINING_ENDS}
        run = stack.api.trigger("biometric_training", params)
        chaos = Chaos(stack, run, SEED)
        chaos.when("ingest", lambda: any((data / "images").rglob("*")))
        chaos.kill_task()
        chaos.when("preprocess", lambda: any(data.glob("tables/features/**/*.parquet")))
        chaos.kill_group()
        chaos.when("train", lambda: any(data.glob(f"checkpoints/*/{FILE_NAME}")))
        chaos.kill_task()
        chaos.when("evaluate", within=2)
        chaos.kill_scheduler()
        chaos.when("register", lambda: any(artifacts.glob("**/model/*")))
        chaos.kill_task()
        chaos.when("promote", within=2)
        chaos.kill_everything()
    told = ", ".join(chaos.told)
    with running(layout, data=False, **_SOON) as again:
        run = ended(again, run)
        tasks = {task.task_id: task for task in again.api.tasks(run)}
        assert {task.state for task in tasks.values()} == {"success"}, told
        again_tried = [name for name, task in tasks.items() if task.tries > 1]
        assert {"preprocess", "train", "promote"} <= set(again_tried), (told, again_tried)
        log = again.api.log(run, tasks["train"], lines=400)
        went_on = re.search(r"going on after epoch (\d+)", log)
        assert went_on, (told, log)
        assert int(went_on[1]) > 0
        intact(again)


def intact(stack: Stack) -> None:
    """One of everything, and a champion that loads."""
    ours = ("storage", "root"), ("mlflow", "tracking_uri"), ("mlflow", "artifact_root")
    values: dict[str, dict[str, str]] = {"storage": {}, "mlflow": {}}
    for section, name in ours:
        values[section][name] = stack.env[f"BIOMETRIC__{section}__{name}".upper()]
    config = load_config("test", values)
    found = inside.intact(config)
    assert (found["twice"], found["wrong_images"]) == ({}, [])
    assert found["training_runs"] == ["FINISHED"]
    assert found["captures"] == found["features"] > 0
    assert inside.roles(config) == {"champion": "1"}
    assert decided(config) == [("promoted", None, "1")]
    assert inside.weights(config, "champion")
