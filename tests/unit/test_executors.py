import os
import time

import pytest

from biometric_core.config import load_config
from biometric_core.executors import Executor, choose, map_chunks


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


def test_the_configured_executor_is_taken(config):
    assert choose(config, 10**6, 1.0) is Executor.SEQUENTIAL
    assert os.environ.get("RAY_ADDRESS") is None
