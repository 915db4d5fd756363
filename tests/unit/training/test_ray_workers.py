"""Really run: a Ray cluster on this machine with two workers."""

import threading
import time

import psutil
import pytest
import torch

from biometric_core.config import Config
from biometric_core.errors import ServiceError
from biometric_core.training import checkpoint
from biometric_core.training.checkpoint import FILE_NAME
from biometric_core.training.fit import fit
from biometric_core.training.validation import open_set
from tests.support.toys import toy_config, toy_sets

pytestmark = pytest.mark.slow
TRAIN, VALIDATION = toy_sets(6), toy_sets(4, first=50)


def config_of(epochs, workers=2) -> Config:
    plain = toy_config(epochs=epochs, workers=workers)
    return plain.model_copy(update={"ray": plain.ray.model_copy(update={"num_cpus": 2})})


@pytest.fixture(autouse=True)
def _own_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class WorkerKiller(threading.Thread):
    """Kills one training worker of this process's cluster once the first epoch is reported."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder = folder
        self.killed = 0

    def run(self):
        deadline = time.monotonic() + 500
        while time.monotonic() < deadline:
            if any(self.folder.rglob(FILE_NAME)):
                self.kill()
                return
            time.sleep(0.02)

    def kill(self):
        for process in psutil.Process().children(recursive=True):
            try:
                if "RayTrainWorker" in " ".join(process.cmdline()):
                    process.kill()
                    self.killed += 1
                    return
            except psutil.NoSuchProcess:
                continue


def test_two_workers_train_one_network_and_survive_the_loss_of_one(tmp_path):
    epochs, killer = [], WorkerKiller(tmp_path)
    killer.start()
    fitted = fit(
        TRAIN,
        VALIDATION,
        config_of(12),
        checkpoint_dir=tmp_path,
        on_epoch=lambda epoch, metrics: epochs.append(epoch),
    )
    killer.join()
    assert killer.killed == 1
    assert epochs == [int(row["epoch"]) for row in fitted.history]
    assert epochs == list(range(1, fitted.epochs_run + 1))  # nothing twice, nothing lost
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    figures = open_set(fitted.network(), VALIDATION, torch.device("cpu"))
    best = fitted.history[fitted.best_epoch - 1]
    assert figures["separation"] == pytest.approx(best["separation"], abs=1e-4)
    # The state is left where one process finds it: the fit is finished for it too.
    assert checkpoint.load(tmp_path / FILE_NAME).finished
    alone = fit(TRAIN, VALIDATION, config_of(12, workers=1), checkpoint_dir=tmp_path)
    assert alone.history == fitted.history


def test_more_workers_than_the_cluster_has_cpus_is_a_clear_error(tmp_path):
    with pytest.raises(ServiceError, match="has 2 CPUs"):
        fit(TRAIN, VALIDATION, config_of(2, workers=3), checkpoint_dir=tmp_path)
