import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deploy.local.processes import Tracked, end, start

FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
apart = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
print(own.pid, apart.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def family(tmp_path: Path) -> tuple[Tracked, list[psutil.Process]]:
    """A process that ignores SIGTERM, a child, and a child in another process group."""
    command = [sys.executable, "-c", FAMILY]
    tracked, _ = start("family", command, os.environ, tmp_path / "log")
    while len(pids := tracked.tail().split()) < 2:
        time.sleep(0.05)
    return tracked, [psutil.Process(int(pid)) for pid in pids]


def test_end_ends_the_whole_family(family: tuple[Tracked, list[psutil.Process]]) -> None:
    tracked, children = family
    assert tracked.running
    assert {tracked.pid, *(child.pid for child in children)} <= {p.pid for p in tracked.members()}
    end([tracked], grace=0.5)
    assert not tracked.running
    assert not any(_alive(child) for child in children)


def test_orphans_of_a_dead_leader_are_found(family: tuple[Tracked, list[psutil.Process]]) -> None:
    tracked, children = family
    leader = psutil.Process(tracked.pid)
    leader.kill()
    leader.wait()
    assert not tracked.running
    end([tracked], grace=2)
    assert not any(_alive(child) for child in children)


def test_another_process_with_the_pid_is_left_alone(
    family: tuple[Tracked, list[psutil.Process]],
) -> None:
    tracked, children = family
    earlier = replace(tracked, started=tracked.started - 100)
    assert not earlier.running
    assert earlier.members() == []
    end([earlier], grace=0.2)
    assert tracked.running
    assert all(_alive(child) for child in children)
    end([tracked], grace=0.2)


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("print('Ray runtime'); raise OSError('no' + chr(10) + 'place')", "OSError: no"),
        ("print('error: no captures'); print('bye')", "error: no captures"),
        ("print('last'); print()", "last"),
        ("pass", "it said nothing"),
    ],
)
def test_the_last_words_are_one_line_with_the_log(says: str, told: str, tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    tracked, handle = start("part", [sys.executable, "-c", says], os.environ, log)
    handle.wait()
    assert tracked.last_words() == f"{told}; its log: {log}"
