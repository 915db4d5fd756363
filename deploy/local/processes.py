"""Processes that are started in a session of their own, remembered, and ended exactly."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from biometric_core.storage.private import owner_only
from deploy.local.places import REPOSITORY, shown

_AN_ERROR = re.compile(r"\s*(error:|[\w.]*(Error|Exception)\b)")
_CLOCK_SLACK = 0.05  # seconds by which two readings of one start time may differ


@dataclass(frozen=True)
class Tracked:
    """A process started here: the leader of its own session.

    The start time tells it from a later process that got the same pid.
    """

    name: str
    pid: int
    started: float
    log: str

    @property
    def running(self) -> bool:
        """Whether this very process (not another with its pid) still runs."""
        leader = self._leader()
        return leader is not None and leader.status() != psutil.STATUS_ZOMBIE

    def tail(self, lines: int = 30) -> str:
        """The end of what it has said."""
        path = Path(self.log)
        text = path.read_text(errors="replace") if path.is_file() else ""
        return "\n".join(text.splitlines()[-lines:])

    def last_words(self) -> str:
        """In one line: the last error in what it has said, else its last line; and the log."""
        lines = [line for line in self.tail(100).splitlines() if line.strip()]
        errors = [line for line in lines if _AN_ERROR.match(line)]
        said = [*lines, *errors][-1].strip()[:300] if lines else "it said nothing"
        return f"{said}; its log: {shown(Path(self.log))}"

    def members(self) -> list[psutil.Process]:
        """The process, what belongs to its session, and all their descendants."""
        leader = self._leader()
        if leader is None and psutil.pid_exists(self.pid):
            return []  # the pid is someone else's now, so the old session is gone
        found = {process.pid: process for process in self._session()}
        if leader is not None:
            found[leader.pid] = leader
        for process in list(found.values()):
            with contextlib.suppress(psutil.Error):
                found.update({child.pid: child for child in process.children(recursive=True)})
        return list(found.values())

    def _leader(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= _CLOCK_SLACK
        except psutil.Error:
            return None
        return process if same else None

    def _session(self) -> Iterable[psutil.Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                ours = os.getsid(process.pid) == self.pid
                if ours and process.create_time() >= self.started - _CLOCK_SLACK:
                    yield process


def start(
    name: str, command: Sequence[str], env: Mapping[str, str], log: Path
) -> tuple[Tracked, "subprocess.Popen[bytes]"]:
    """Start `command` in a session of its own, from the repository's root, writing to `log`.

    What it and its children write is the owner's alone: captures, tables, models, databases.
    """
    with owner_only():
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    with output:
        process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    return Tracked(name, process.pid, psutil.Process(process.pid).create_time(), str(log)), process


def end(processes: Sequence[Tracked], grace: float = 10.0) -> None:
    """End the processes and all that belongs to them: ask, wait `grace` seconds, then kill."""
    members = [member for process in processes for member in process.members()]
    for process in processes:
        if process.running:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGTERM)
    _, left = psutil.wait_procs(members, timeout=grace)
    late = [member for process in processes for member in process.members()]
    for member in {process.pid: process for process in [*left, *late]}.values():
        with contextlib.suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(left + late, timeout=5)
