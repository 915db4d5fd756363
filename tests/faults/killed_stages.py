"""Run by test_killed.py: trains, registers, promotes and rolls back, over and over, killed or not.

As undisturbed.py: attempts are forked and start at once. Before each stage the system is kept as it
is, so that only the stage that dies in an attempt, and those after it, are run again.
"""

import json
import logging
import os
import random
import shutil
import signal
import sys
import time
from importlib import import_module
from itertools import count
from pathlib import Path

from sqlalchemy import Engine, event

from biometric_core.config import Config
from biometric_core.history import decisions
from biometric_core.history.decisions import ROLLED_BACK
from biometric_core.promotion.switch import is_cut_off
from biometric_core.stages import promote
from biometric_core.stages.register import register
from biometric_core.stages.rollback import rollback
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs
from biometric_core.training.checkpoint import FILE_NAME
from deploy.preloaded import MODULES
from tests.containers.inside import roles, training_runs, twice, weights
from tests.faults.undisturbed import begun, died, forked
from tests.faults.worlds import asides, configured, decided, made_champion, people
from tests.support.tiny_store import changed

for module in MODULES:  # seconds, once instead of in every attempt
    if not module.startswith("airflow"):
        import_module(module)

EPOCHS = 6


def config_of(folder: str) -> Config:
    """Trained slowly enough to be killed in between."""
    return changed(configured(Path(folder)), "training", epochs=EPOCHS, patience=EPOCHS)


def prepare(folder: str) -> None:
    """Captures, and a champion that is easily beaten."""
    config = config_of(folder)
    people(config)
    made_champion(config, good=False)


def train_stage(folder: str) -> None:
    """Says after which epoch it goes on."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s", force=True)
    train(config_of(folder))


def register_stage(folder: str) -> None:
    """As the task does: the run is known."""
    config = config_of(folder)
    (run,) = runs.find_runs(config, tag=runs.KIND, value="training")
    register(config, run_id=run.run_id)


def promote_stage(folder: str) -> None:
    """As the task does: the version is known."""
    promote.promote(config_of(folder), version="2", trigger="training")


def rollback_stage(folder: str) -> None:
    """As a person does: not again once it is done, which would lead back."""
    config = config_of(folder)
    last = decisions.read(Store.of(config))[-1]
    if last.decision != ROLLED_BACK or is_cut_off(config, last):
        rollback(config, reason="complaints")


STAGES = {
    "train": train_stage,
    "register": register_stage,
    "promote": promote_stage,
    "rollback": rollback_stage,
}


def tell(folder: str) -> str:
    """What is left in the end, as JSON: the same whatever was killed."""
    config = config_of(folder)
    store = Store.of(config)
    judged = registry.require(config, "2")
    (run,) = runs.find_runs(config, tag=runs.KIND, value="training")
    facts = {
        "roles": roles(config),
        "versions": len(registry.versions(config)),
        "pending": [n for v in registry.versions(config) for n in v.tags if "pending" in n],
        "decided": decided(config),
        "marked": judged.tags["gate.decision"],
        "training": training_runs(config),
        "epochs": sorted(runs.Run(config, run.run_id).steps("loss")),
        "open": _open(config),
        "weights": [weights(config, version) for version in ("1", "2")],
        "captures": store.read("captures").num_rows,
        "twice": twice(config),
        "checkpoints": sorted(p.name for p in store.path("checkpoints", "any").parent.iterdir()),
        "asides": asides(Path(folder)),
    }
    return json.dumps(facts, sort_keys=True)


def _open(config: Config) -> int:
    """Runs that look as if somebody were still at work."""
    from biometric_core.tracking.client import mlflow_client

    with mlflow_client(config, "look for runs") as client:
        found = client.get_experiment_by_name(config.mlflow.experiment)
        return len(client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'"))


def to_commit(stage: str, folder: str, number: str) -> None:
    """Run a stage; be killed before its so manieth change of MLflow's database is final."""
    pending, changes = [], []

    def statement(connection: object, cursor: object, text: str, *_: object) -> None:
        if text.lstrip().startswith(("INSERT", "UPDATE", "DELETE")):
            pending.append(text)

    def commit(connection: object) -> None:
        if pending:
            pending.clear()
            changes.append(connection)
            if len(changes) == int(number):
                os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", commit)
    STAGES[stage](folder)


class Attempts:
    """Stages in a folder that is put back to where it was before each of them.

    Args:
        folder: for everything.
    """

    def __init__(self, folder: str) -> None:
        self.world, self.kept = f"{folder}/world", Path(folder, "kept")
        self.seconds: dict[str, float] = {}

    def undisturbed(self) -> None:
        """Run all stages, keeping what was there before each; tell what comes of it."""
        forked(prepare, self.world)
        for name, stage in STAGES.items():
            shutil.copytree(self.world, self.kept / name)
            self.seconds[name] = forked(stage, self.world)
        forked(tell, self.world)

    def begin(self, name: str) -> None:
        """Put everything back to where it was before a stage."""
        shutil.rmtree(self.world)
        shutil.copytree(self.kept / name, self.world)

    def repeat(self, name: str, how: str) -> None:
        """After a stage was killed: run it again, and those after it; tell what comes of it."""
        print(f"{name} killed {how}", file=sys.stderr, flush=True)
        for stage in list(STAGES)[list(STAGES).index(name) :]:
            forked(STAGES[stage], self.world)
        forked(tell, self.world)

    def with_a_state(self) -> None:
        """Kill the training as soon as it has kept a state."""
        self.begin("train")
        child = begun(train_stage, self.world)
        folder = Path(self.world, "data", "checkpoints")
        while not any(folder.glob(f"*/{FILE_NAME}")):
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        died(child)
        self.repeat("train", "at its first state")

    def at_random(self, name: str, chance: random.Random) -> None:
        """Kill a stage at any moment."""
        self.begin(name)
        moment, whole = chance.uniform(0, self.seconds[name]), self.seconds[name]
        forked(STAGES[name], self.world, kill_after=moment)
        self.repeat(name, f"after {moment:.2f} of {whole:.2f} s")

    def at_every_commit(self, name: str) -> None:
        """Kill a stage before each change it makes in MLflow."""
        for number in count(1):
            self.begin(name)
            if not died(begun(to_commit, name, self.world, str(number))):
                return
            self.repeat(name, f"at change {number}")


def main(folder: str, seed: int, kills: int) -> None:
    """Print what the undisturbed run leaves, then the same for each killed and repeated one."""
    chance, attempts = random.Random(seed), Attempts(folder)
    attempts.undisturbed()
    attempts.with_a_state()
    for number in range(kills):
        attempts.at_random(list(STAGES)[number % len(STAGES)], chance)
    for name in ("register", "promote", "rollback"):
        attempts.at_every_commit(name)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
