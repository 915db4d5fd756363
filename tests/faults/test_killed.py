"""Killed with SIGKILL: what was done stays, nothing is half done, nothing comes twice."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from biometric_core.config import Config
from biometric_core.data import preparing
from biometric_core.data.feature_files import Chunk, Prepared, prepare_chunk
from biometric_core.stages import preprocess as stage
from biometric_core.stages.ingest import ingest
from biometric_core.storage.files import atomic_write
from biometric_core.storage.store import Store
from tests.faults.worlds import SEED
from tests.unit.stages.test_ingest import write
from tests.unit.stages.test_preprocess import digest


@pytest.mark.long
def test_a_run_killed_at_20_random_moments_ends_like_one_that_was_not(people, tmp_path):
    source = tmp_path / "source"
    for path in people.rglob("*.*"):
        write(source / path.relative_to(people), path.read_bytes())
    write(source / "iris/009_L_01.bmp", b"no image")
    write(source / "readme.txt", b"hello")
    command = [sys.executable, "-m", "tests.faults.undisturbed", str(source), str(tmp_path), "20"]
    environment = os.environ | {"BIOMETRIC_PSEUDONYM_KEY": "k" * 32}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digests = done.stdout.split()
    assert len(digests) == 21
    assert set(digests) == {digests[0]}


@pytest.mark.long
def test_training_registration_and_switch_of_champions_killed_anywhere_end_as_if_not(tmp_path):
    print(f"BIOMETRIC_FAULT_SEED={SEED}")  # pytest shows it where the test fails
    command = [sys.executable, "-m", "tests.faults.killed_stages", str(tmp_path), str(SEED), "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    undisturbed, *others = [json.loads(line) for line in done.stdout.splitlines()]
    assert undisturbed["roles"] == {"champion": "1", "previous": "2"}
    assert undisturbed["decided"][1:] == [["promoted", "1", "2"], ["rolled_back", "2", "1"]]
    assert (undisturbed["training"], undisturbed["open"]) == (["FINISHED"], 0)
    assert (undisturbed["twice"], undisturbed["asides"]) == ({}, [])
    assert undisturbed["weights"][0] != undisturbed["weights"][1]
    attempts = re.findall(r"killed (.*)", done.stderr)
    different = [told for told, one in zip(attempts, others, strict=True) if one != undisturbed]
    assert not different, (different, others)
    assert len(attempts) > 1 + 4 + 10, "at a state, at random, and at each change of the registry"
    went_on = re.search(
        r"killed at its first state.*?going on after epoch (\d+)\n.*?^epoch (\d+)/",
        done.stderr,
        re.DOTALL | re.MULTILINE,
    )
    assert went_on, done.stderr
    assert int(went_on[2]) == int(went_on[1]) + 1 > 1


@pytest.mark.long
def test_a_ray_worker_killed_in_mid_run_costs_no_row_and_makes_none_twice(
    config: Config, people, tmp_path, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ingest(config, source=str(people))
    sections = {
        "preprocess": config.preprocess.model_copy(update={"chunk_size": 2}),
        "ray": config.ray.model_copy(update={"num_cpus": 1, "object_store_mb": 100}),
    }
    config = config.model_copy(update=sections)
    at_work = tmp_path / "at-work"

    def waits_to_be_killed(chunk: Chunk) -> Prepared:  # at its first call
        if not at_work.exists():
            atomic_write(at_work, str(os.getpid()).encode())
            time.sleep(300)
        return prepare_chunk(chunk)

    monkeypatch.setattr(preparing, "prepare_chunk", waits_to_be_killed)
    over = threading.Event()

    def killer() -> None:
        while not over.wait(0.01):
            if at_work.exists():
                os.kill(int(at_work.read_text()), signal.SIGKILL)
                return

    watcher = threading.Thread(target=killer)
    watcher.start()
    try:
        result = stage.preprocess(config, executor="ray")
    finally:
        over.set()
        watcher.join()
    assert at_work.exists(), "no worker was at work"
    assert result.prepared + result.failed == Store.of(config).read("captures").num_rows
    root = config.storage.model_copy(update={"root": str(tmp_path / "other")})
    other = config.model_copy(update={"storage": root})
    ingest(other, source=str(people))
    monkeypatch.undo()
    stage.preprocess(other, executor="sequential")
    assert digest(other) == digest(config)
