"""Airflow, a Ray head and (for people) MLflow's and Evidently's pages, as local processes."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from biometric_core.config import Ray, load_config
from biometric_core.history.decisions import Decision, read
from biometric_core.parallel.patience import patience, ray_start_limits
from biometric_core.storage.store import Store
from deploy.local.airflow_api import AirflowApi
from deploy.local.places import (
    POOL_SLOTS,
    REPOSITORY,
    USER,
    Layout,
    Ports,
    environment,
    keep_secrets,
    shown,
    write_private,
)
from deploy.local.processes import Tracked, end, start

DAGS = ("biometric_training", "biometric_monitoring", "biometric_retraining")
POOL = "biometric_heavy"
AIRFLOW_PARTS = ("api-server", "scheduler", "dag-processor")
PAGES = {"mlflow": "/health", "reports": "/api/version"}  # and what answers when they are up
# Logs are read from the files: no server for them, whose port could clash.
SCHEDULER = ("python", "-m", "deploy.preloaded", "scheduler", "--skip-serve-logs")
LASTING = (*AIRFLOW_PARTS, "ray", *PAGES)
_PORTS = {field.name for field in fields(Ports)}
_READY_WITHIN = 240.0  # seconds, on a machine that does nothing else
_WAITED_FOR = {"migrate": "Airflow's database", "registry": "MLflow's database", "data": "the data"}


class StackError(Exception):
    """A part of the stack doesn't start or has ended; the message names its log."""


class Stack:
    """What runs for one `var/` folder, remembered in `run/stack.json` so that it can be ended.

    Args:
        layout: the folder.
        kind: "run" (ends with the demonstration) or "ui" (left running).
    """

    def __init__(self, layout: Layout, kind: str = "run") -> None:
        self.layout = layout
        self.kind = kind
        self.ports = Ports.choose(usual=kind == "ui")
        self.processes: list[Tracked] = []
        self._handles: dict[str, subprocess.Popen[bytes]] = {}
        self._ray_folder: Path | None = None
        self._ray_up = False
        self.env: dict[str, str] = {}
        self.say: Callable[[str], object] = str  # is told again and again what is waited for
        self._api: AirflowApi | None = None

    @classmethod
    def running(cls, layout: Layout) -> "Stack | None":
        """The stack that `make ui` has left running, or None when it isn't whole."""
        told = read_state(layout)
        if told is None or told["kind"] != "ui" or set(told["ports"]) != _PORTS:
            return None
        stack = cls.__new__(cls)
        stack.layout, stack.kind, stack.ports = layout, "ui", Ports(**told["ports"])
        stack.processes = [Tracked(**process) for process in told["processes"]]
        stack._handles, stack._api, stack._ray_up, stack.say = {}, None, True, str
        stack._ray_folder = Path(told["ray_folder"]) if told["ray_folder"] else None
        stack.env = environment(layout, stack.ports, watch_files=True)
        whole = all(process.running for process in stack.processes)
        up = whole and stack.healthy() and all(stack.answers(name) for name in PAGES)
        return stack if up else None

    @property
    def url(self) -> str:
        """Where Airflow answers."""
        return f"http://127.0.0.1:{self.ports.airflow}"

    @property
    def password(self) -> str:
        """Of the user `admin`."""
        return keep_secrets(self.layout)["password"]

    @property
    def api(self) -> AirflowApi:
        """A client of the running Airflow."""
        if self._api is None:
            self._api = AirflowApi(self.url, USER, self.password)
        return self._api

    def begin(self) -> None:
        """End what an earlier, broken-off run has left and start on database and Ray.

        Raises:
            StackError: a folder has a name that Airflow (%) or a search path (:) can't hold.
        """
        stop(self.layout)
        for folder in (REPOSITORY, self.layout.var):
            if {"%", ":"} & set(str(folder)):
                raise StackError(f"Airflow can't run in {folder}: rename what holds a % or a colon")
        self.env = environment(self.layout, self.ports, watch_files=self.kind == "ui")
        self.env = {**ray_start_limits(), **self.env}
        self.spawn("migrate", ["python", "-m", "airflow", "db", "migrate"])
        if not self._ray.address:
            self._ray_folder = Path(tempfile.mkdtemp(prefix="bio-ray-"))  # sockets: a short path
            # Ray starts its processes through a shell, which a space or a bracket in the
            # interpreter's path would stop: this way to it has neither.
            (self._ray_folder / "venv").symlink_to(sys.prefix)
            self.spawn("ray", self._ray_command())

    def finish(self) -> None:
        """Start Airflow's parts once its database is ready, and wait until they work."""
        self.wait("migrate")
        began = datetime.now(UTC)
        for part in AIRFLOW_PARTS:
            usual = ["python", "-m", "airflow", part]
            self.spawn(part, SCHEDULER if part == "scheduler" else usual)
        self._until(self.healthy, "Airflow")
        self._until(lambda: self._dags_parsed(began), "the DAG processor")
        self.api.ensure_pool(POOL, POOL_SLOTS, "Stages that fill a machine")
        for dag_id in DAGS:
            self.api.unpause(dag_id)

    def spawn(self, name: str, command: Sequence[str]) -> Tracked:
        """Start a program as part of the stack; `python` is the one that runs this.

        The virtual environment's scripts aren't used: they depend on the name of its folder.
        """
        whole = [sys.executable if command[0] == "python" else command[0], *command[1:]]
        log = self.layout.logs / f"{name}.log"
        tracked, handle = start(name, whole, self.env, log)
        self.processes.append(tracked)
        self._handles[name] = handle
        self._remember()
        return tracked

    def wait(self, name: str, timeout: float = 1800.0) -> None:
        """Wait for a process of the stack that ends by itself.

        Raises:
            StackError: it failed, or takes longer than `timeout` seconds.
        """
        tracked = next(process for process in self.processes if process.name == name)
        handle = self._handles[name]
        self._until(lambda: handle.poll() is not None, _WAITED_FOR.get(name, name), timeout)
        self.processes.remove(tracked)
        self._remember()
        if handle.returncode:
            raise StackError(
                f"{name} ended with status {handle.returncode}: {tracked.last_words()}"
            )

    def wait_for_ray(self) -> None:
        """Wait until the Ray head takes work; one that doesn't start is started once more.

        A cluster of somebody else's (`ray.address`) isn't ours to wait for.

        Raises:
            StackError: it didn't start the second time either; all else runs on.
        """
        if self._ray.address:
            return
        try:
            self._wait_for_head()
        except StackError:
            self.check()  # of all other parts
            self.say("Ray, which did not start: once more")
            (tracked,) = (process for process in self.processes if process.name == "ray")
            end([tracked])
            self.processes.remove(tracked)
            self.spawn("ray", self._ray_command())
            self._wait_for_head()
        self._ray_up = True

    def _wait_for_head(self) -> None:
        (head,) = (process for process in self.processes if process.name == "ray")

        def up() -> bool:
            started = "Ray runtime started" in head.tail(200)
            if not started and not head.running:
                raise StackError(f"Ray doesn't start: {head.last_words()}")
            return started

        self._until(up, "Ray")

    def wait_for_pages(self) -> None:
        """Wait until MLflow's and Evidently's pages answer."""
        for name in PAGES:
            self._until(partial(self.answers, name), f"the page of {name}")

    def address(self, name: str) -> str:
        """Of the pages of MLflow (`mlflow`) or Evidently (`reports`)."""
        return f"http://127.0.0.1:{getattr(self.ports, name)}"

    def answers(self, name: str) -> bool:
        """Whether the pages of MLflow or Evidently answer."""
        try:
            url = self.address(name) + PAGES[name]
            return httpx.get(url, timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def check(self) -> None:
        """Raise a StackError that names the log when a lasting part has ended.

        Ray is one from when it takes work; what happens before, `wait_for_ray` tells.
        """
        for process in self.processes:
            lasting = process.name in LASTING and (process.name != "ray" or self._ray_up)
            if lasting and not process.running:
                raise StackError(f"{process.name} has ended: {process.last_words()}")

    def decisions(self) -> list[Decision]:
        """What is on record, the oldest first."""
        return read(Store(self.env["BIOMETRIC__STORAGE__ROOT"]))

    def healthy(self) -> bool:
        """Whether the API answers and scheduler and DAG processor report a heartbeat."""
        told = self.api.health()
        parts = ("metadatabase", "scheduler", "dag_processor")
        return all(told.get(part, {}).get("status") == "healthy" for part in parts)

    def close(self) -> None:
        """End everything that was started."""
        if self._api is not None:
            self._api.close()
        stop(self.layout)

    def _dags_parsed(self, since: datetime) -> bool:
        found = self.api.dags()
        fresh = [
            dag_id
            for dag_id in DAGS
            if (parsed := found.get(dag_id, {}).get("last_parsed_time"))
            and datetime.fromisoformat(parsed) >= since
        ]
        if len(fresh) == len(DAGS):
            return True
        if errors := self.api.import_errors():
            last = " ".join(errors[0].split())[-300:]
            raise StackError(f"{len(errors)} DAG files can't be imported, the first: {last}")
        return False

    def _until(self, done: Callable[[], bool], what: str, within: float | None = None) -> None:
        within = within or patience(_READY_WITHIN)
        limit = time.monotonic() + within
        while not done():
            self.check()
            self.say(f"waiting for {what}")
            if time.monotonic() > limit:
                logs = shown(self.layout.logs)
                raise StackError(f"{what} isn't ready after {within:.0f} s; logs: {logs}")
            time.sleep(0.5)

    @property
    def _ray(self) -> Ray:
        """`ray` of the configuration that the stack's processes get."""
        return load_config(self.env["BIOMETRIC_PROFILE"]).ray

    def _ray_command(self) -> list[str]:
        cpus = self._ray.num_cpus or os.cpu_count() or 1
        store = self._ray.object_store_mb * 2**20
        interpreter = Path(sys.executable).relative_to(sys.prefix)
        return [
            *(f"{self._ray_folder}/venv/{interpreter}", "-m", "ray.scripts.scripts"),
            *("start", "--head", "--block", f"--port={self.ports.ray}"),
            *("--node-ip-address=127.0.0.1", f"--ray-client-server-port={self.ports.ray_client}"),
            *("--min-worker-port=0", "--max-worker-port=0", f"--num-cpus={cpus}"),
            *(f"--object-store-memory={store}", "--include-dashboard=false"),
            *("--include-log-monitor=false", "--disable-usage-stats"),
            f"--temp-dir={self._ray_folder}",
        ]

    def _remember(self) -> None:
        state = {
            "kind": self.kind,
            "ports": asdict(self.ports),
            "ray_folder": str(self._ray_folder) if self._ray_folder else None,
            "processes": [asdict(process) for process in self.processes],
        }
        write_private(_state_file(self.layout), json.dumps(state, indent=1))


def read_state(layout: Layout) -> dict[str, Any] | None:
    """What is remembered of a stack; None when there is none."""
    path = _state_file(layout)
    try:
        told: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return told


def stop(layout: Layout) -> int:
    """End exactly the processes that were started for this folder; returns how many still ran."""
    told = read_state(layout)
    if told is None:
        return 0
    processes = [Tracked(**process) for process in told["processes"]]
    running = sum(process.running for process in processes)
    end(processes)
    if told.get("ray_folder"):
        shutil.rmtree(told["ray_folder"], ignore_errors=True)
    _state_file(layout).unlink(missing_ok=True)
    return running


def _state_file(layout: Layout) -> Path:
    return layout.run / "stack.json"
