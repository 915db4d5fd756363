"""Two retraining runs at once, two promoters at once: real processes, one champion."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from datetime import date, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from biometric_core.config import Config
from biometric_core.stages import promote
from biometric_core.stages.plan_retraining import plan_retraining
from biometric_core.stages.register import register
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from tests.containers.inside import roles, training_runs, twice
from tests.faults.worlds import configured, decided, made_champion, people
from tests.support.drift_rows import write_verdict
from tests.support.tiny_store import HISTORY
from tests.support.untrained import register_untrained

pytestmark = pytest.mark.long
_DAY = HISTORY + timedelta(days=4)
_LONG = 300.0  # seconds


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """People, and a champion that is easily beaten."""
    made = configured(tmp_path / "world")
    people(made)
    made_champion(made, good=False)
    return made


def at_once(work: Callable[..., None], config: Config, *each: object) -> None:
    """Run `work(config, barrier, one)` in a process of its own for each, and wait for all."""
    server = multiprocessing.get_context("forkserver")  # imports what takes seconds once
    server.set_forkserver_preload([__name__, "biometric_core.stages.evaluate"])
    barrier, failures = server.Barrier(len(each)), server.SimpleQueue()
    processes = [
        server.Process(target=_told, args=(work, config, barrier, one, failures, dict(os.environ)))
        for one in each
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(_LONG)
        process.kill()
    failed = [failures.get() for _ in iter(lambda: not failures.empty(), False)]
    assert not failed, "\n".join(failed)
    assert [process.exitcode for process in processes] == [0] * len(each)


def _told(
    work: Callable[..., None], config: Config, barrier: Barrier, one: object, failures, environment
):
    os.environ.update(environment)  # the server of processes may be older than a test's settings
    try:
        work(config, barrier, one)
    except BaseException:
        barrier.abort()
        failures.put(traceback.format_exc())
        raise


def promoter(config: Config, barrier: Barrier, version: str) -> None:
    """Measure both models, wait until the other one has, too, and go on."""
    real = promote._judge

    def together(*arguments: object) -> object:
        verdict = real(*arguments)
        barrier.wait(_LONG)
        return verdict

    promote._judge = together
    promote.promote(config, version=version)


def retraining(config: Config, barrier: Barrier, trigger: str) -> None:
    """What the DAG's tasks do."""
    barrier.wait(_LONG)
    planned = plan_retraining(config, trigger=trigger)
    assert planned.retrain, planned.reason
    barrier.wait(_LONG)
    run = train(config, as_of=_DAY + timedelta(days=1))
    version = register(config, run_id=run.run_id).version
    drift_day = date.fromisoformat(planned.day)
    promote.promote(config, version=version, trigger="drift", drift_day=drift_day)


def test_of_two_promoters_one_wins_and_both_decisions_are_on_record(config: Config):
    pair = [register_untrained(config, good=True, seed=seed) for seed in (0, 1)]
    at_once(promoter, config, *pair)
    found = decided(config)[1:]
    (won,) = [version for decision, _, version in found if decision == "promoted"]
    (lost,) = [version for decision, _, version in found if decision == "rejected"]
    assert {won, lost} == set(pair)
    assert {before for _, before, _ in found} == {"1"}
    assert roles(config) == {"champion": won, "previous": "1"}
    tags = registry.require(config, lost).tags
    assert tags["gate.decision"] == "rejected"
    assert "champion changed meanwhile" in tags["gate.reason"]


def test_two_retraining_runs_for_one_drift_train_one_model_and_decide_once(config: Config):
    people(config, impressions=range(5, 8), day=_DAY, sensor="new")
    write_verdict(Store.of(config), _DAY.date(), sensor="new")
    at_once(retraining, config, "asset", "manual")
    assert training_runs(config) == ["FINISHED"]
    assert len(registry.versions(config)) == 2
    (answer,) = decided(config)[1:]
    assert answer[1:] == ("1", "2")
    champion = {"promoted": {"champion": "2", "previous": "1"}, "rejected": {"champion": "1"}}
    assert roles(config) == champion[answer[0]]
    assert twice(config) == {}
    assert not plan_retraining(config, trigger="asset").retrain
