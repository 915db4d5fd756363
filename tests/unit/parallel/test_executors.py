import multiprocessing
import os
import subprocess
import sys
import time

import psutil
import pytest

from biometric_core.config import load_config
from biometric_core.errors import ConfigError
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor, choose
from biometric_core.parallel.windowed import windowed


def chunk_sum(chunk: list[int]) -> int:
    time.sleep(0.01 * (5 - len(chunk)))  # later chunks finish first
    return sum(chunk)


CHUNKS = [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]


@pytest.mark.parametrize("executor", [Executor.SEQUENTIAL, Executor.MULTIPROCESSING])
def test_results_come_in_the_order_of_the_chunks(executor, config):
    assert list(map_chunks(chunk_sum, CHUNKS, executor, config)) == [1, 3, 6, 10]


@pytest.mark.parametrize("executor", [Executor.SEQUENTIAL, Executor.MULTIPROCESSING])
def test_nothing_to_do_is_nothing(executor, config):
    assert list(map_chunks(chunk_sum, [], executor, config)) == []


def test_auto_takes_no_parallel_engine_for_little_work(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = load_config("test", {"preprocess": {"executor": "auto", "workers": 2}})
    assert choose(config, 10, 0.01) is Executor.SEQUENTIAL
    assert choose(config, 10_000, 0.01) is Executor.MULTIPROCESSING
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert choose(config, 10_000, 0.01) is Executor.RAY
    assert choose(config, 10, 0.01) is Executor.SEQUENTIAL


def test_auto_starts_ray_for_much_work_where_this_process_may_have_no_children(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = load_config("test", {"preprocess": {"executor": "auto", "workers": 2}})
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert choose(config, 1_000, 0.01) is Executor.SEQUENTIAL
    assert choose(config, 10_000, 0.01) is Executor.RAY


def test_one_core_works_alone(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = load_config("test", {"preprocess": {"executor": "auto", "workers": 1}})
    assert choose(config, 10_000, 0.01) is Executor.SEQUENTIAL


def test_the_configured_executor_is_taken(config):
    assert choose(config, 10**6, 1.0) is Executor.SEQUENTIAL
    assert os.environ.get("RAY_ADDRESS") is None


def test_work_is_taken_only_as_results_are():
    taken = []
    numbers = (taken.append(n) or n for n in range(100))
    results = windowed(numbers, lambda n: n, lambda n: 2 * n, 4)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert len(taken) == 6, "three given back, three in flight"
    assert list(results) == [2 * n for n in range(3, 100)]


def test_processes_are_refused_where_there_may_be_none(monkeypatch):
    config = load_config("test", {"preprocess": {"executor": "multiprocessing"}})
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(ConfigError, match="set ray, sequential or auto"):
        choose(config, 10, 0.01)


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(
        "import time\n"
        "from biometric_core.parallel.process_pool import process_map\n"
        "if __name__ == '__main__':\n"
        "    work = process_map(int, iter(['1'] * 20), 2)\n"
        "    print(next(work), flush=True)\n"
        "    time.sleep(600)\n"
    )
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"1\n"
    workers = psutil.Process(driver.pid).children()
    assert len(workers) >= 2
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
