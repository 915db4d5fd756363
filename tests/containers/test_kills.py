"""`docker kill` of every part in turn, during a training run: it completes, whole and once."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.rows import Row, at_most
from deploy.local.airflow_api import AirflowApiError, DagRun, TaskRun
from deploy.local.stack import DAGS
from tests.containers.stack import LASTING, ContainerStack, within
from tests.faults.worlds import SEED
from tests.system.live import TRAINING_ENDS, states

pytestmark = pytest.mark.containers
_MOST = 300.0
_WHEN = {
    "ray-worker": "preprocess",
    "redis": "preprocess",
    "worker": "train",
    "mlflow": "train",
    "scheduler": "train",
    "postgres": "evaluate",
}


@dataclass
class Stays:
    """How long each try of a task is seen in each state, in seconds."""

    since: dict[tuple[str, int, str], float] = field(default_factory=dict)
    seconds: dict[tuple[str, int, str], float] = field(default_factory=dict)

    def look(self, tasks: list[TaskRun]) -> None:
        now = time.monotonic()
        for task in tasks:
            if task.state in ("queued", "running"):
                key = (task.task_id, task.tries, task.state)
                self.seconds[key] = now - self.since.setdefault(key, now)

    @property
    def longest(self) -> float:
        return max(self.seconds.values(), default=0.0)


def followed(small: ContainerStack, run: DagRun, stays: Stays) -> DagRun:
    """Wait for the end of a run while parts of the stack come and go."""
    limit = time.monotonic() + 1200
    while not run.ended:
        assert time.monotonic() < limit, (run, stays.seconds)
        time.sleep(1)
        try:
            stays.look(small.api.tasks(run))
            run = small.api.run(run.dag_id, run.run_id)
        except AirflowApiError:
            continue
    return run


@pytest.mark.parametrize("seed", [SEED], ids="BIOMETRIC_FAULT_SEED={}".format)
@pytest.mark.parametrize("service", _WHEN)
def test_a_training_run_survives_the_death_of(
    small: ContainerStack,
    champion: DagRun,
    generated: Callable[[int, int], Path],
    measured: Callable[[Row], None],
    service: str,
    seed: int,
) -> None:
    number = list(_WHEN).index(service)
    people = generated(100 + number, 40)
    files = sum(path.suffix in (".bmp", ".png") for path in people.rglob("*"))
    source = small.put(people, f"people-{service}")
    before = small.inside("intact")
    run = small.api.trigger("biometric_training", {"source": source, "as_of": TRAINING_ENDS})
    within(300, lambda: states(small, run)[_WHEN[service]] == "running")
    moment = random.Random(f"{seed} {service}").uniform(0.5, 4)
    time.sleep(moment)
    container = small.container(service)
    at_work = [task for task, state in states(small, run).items() if state == "running"]
    container.kill()
    time.sleep(5)
    container.start()  # Docker restarts what crashes, not what a person has killed
    stays = Stays()
    over = followed(small, run, stays)
    told = f"{service} {moment:.1f} s into {_WHEN[service]} ({at_work}): {stays.seconds}"
    assert over.state == "success", told
    found = small.inside("intact")
    assert found["captures"] == found["features"] == before["captures"] + files, told
    assert (found["twice"], found["wrong_images"]) == ({}, []), told
    assert found["training_runs"] == ["FINISHED"] * (len(before["training_runs"]) + 1), told
    assert found["versions"] == before["versions"] + 1, told
    assert found["decisions"] == before["decisions"] + 1, told
    assert [left for dag_id in DAGS for left in small.api.unfinished(dag_id)] == []
    name = f"{service} killed in a training run: longest time queued or running"
    tries = {task.task_id: task.tries for task in small.api.tasks(over) if task.tries > 1}
    facts = {"seed": seed, "at_work": at_work, "tried_again": tries}
    measured(at_most(name, stays.longest, _MOST, "s", **facts))
    assert stays.longest < _MOST, told
    within(240, small.healthy)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may kill a container's process")
def test_what_crashes_is_started_again(small: ContainerStack) -> None:
    ours = {one.name: one for one in small.containers() if one.status == "running"}
    assert len(ours) == len(LASTING)
    for container in ours.values():
        os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)

    def started_again() -> bool:
        """A big process takes a while to die: until then its container looks well."""
        begun = {one.name: one.attrs["State"]["StartedAt"] for one in small.containers()}
        return all(begun[name] > one.attrs["State"]["StartedAt"] for name, one in ours.items())

    within(60, started_again)
    within(300, small.healthy)
