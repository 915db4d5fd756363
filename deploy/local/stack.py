"""Airflow, a Ray head and (for people) MLflow's and Evidently's pages, as local processes.

`python -m deploy.local.stack up` leaves them running, `stop` ends exactly those.
"""

import argparse
import json
import logging
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
from biometric_core.errors import BiometricError
from biometric_core.history.decisions import Decision, read
from biometric_core.reporting.terminals import write_anywhere
from biometric_core.storage.store import Store
from deploy.local.airflow_api import AirflowApi, AirflowApiError
from deploy.local.places import (
    POOL_SLOTS,
    REPOSITORY,
    USER,
    Layout,
    Ports,
    environment,
    keep_secrets,
    write_private,
)
from deploy.local.processes import Tracked, end, start

DAGS = ("biometric_training", "biometric_monitoring", "biometric_retraining")
POOL = "biometric_heavy"
AIRFLOW_PARTS = ("api-server", "scheduler", "dag-processor")
PAGES = {"mlflow": "/health", "reports": "/api/version"}  # and what answers when they are up
LASTING = (*AIRFLOW_PARTS, "ray", *PAGES)
_PORTS = {field.name for field in fields(Ports)}
_READY_WITHIN = 240.0
_log = logging.getLogger(__name__)


class StackError(Exception):
    """A part of the stack doesn't start or has ended; the message holds the end of its log."""


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
        self.env: dict[str, str] = {}
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
        stack._handles, stack._api = {}, None
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
        """End what an earlier, broken-off run has left and start on database and Ray."""
        stop(self.layout)
        self.env = environment(self.layout, self.ports, watch_files=self.kind == "ui")
        self.spawn("migrate", ["airflow", "db", "migrate"])
        if not self._ray.address:
            self._ray_folder = Path(tempfile.mkdtemp(prefix="bio-ray-"))  # sockets: a short path
            self.spawn("ray", self._ray_command())

    def finish(self) -> None:
        """Start Airflow's parts once its database is ready, and wait until they work."""
        self.wait("migrate")
        began = datetime.now(UTC)
        # Logs are read from the files: no server for them, whose port could clash.
        scheduler = ["python", "-m", "deploy.preloaded", "scheduler", "--skip-serve-logs"]
        for part in AIRFLOW_PARTS:
            self.spawn(part, scheduler if part == "scheduler" else ["airflow", part])
        self._until(self.healthy, "Airflow")
        self._until(lambda: self._dags_parsed(began), "the DAG processor")
        self.api.ensure_pool(POOL, POOL_SLOTS, "Stages that fill a machine")
        for dag_id in DAGS:
            self.api.unpause(dag_id)

    def spawn(self, name: str, command: Sequence[str]) -> Tracked:
        """Start a program of the virtual environment (by its name) as part of the stack."""
        whole = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
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
        try:
            status = self._handles[name].wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise StackError(
                f"{name} takes longer than {timeout:.0f} s\n{tracked.tail()}"
            ) from error
        self.processes.remove(tracked)
        self._remember()
        if status:
            raise StackError(f"{name} ended with status {status}:\n{tracked.tail()}")

    def wait_for_ray(self) -> None:
        """Wait until the Ray head takes work; an existing cluster (`ray.address`) isn't ours."""
        if self._ray.address:
            return
        ray = next(process for process in self.processes if process.name == "ray")
        self._until(lambda: "Ray runtime started" in ray.tail(200), "Ray")

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
        """Raise a StackError with the end of the log when a lasting part has ended."""
        for process in self.processes:
            if process.name in LASTING and not process.running:
                raise StackError(f"{process.name} has ended:\n{process.tail()}")

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
            raise StackError("a DAG file can't be imported:\n" + "\n".join(errors))
        return False

    def _until(self, done: Callable[[], bool], what: str) -> None:
        limit = time.monotonic() + _READY_WITHIN
        while not done():
            self.check()
            if time.monotonic() > limit:
                tails = "\n".join(
                    f"--- {process.name}\n{process.tail(10)}" for process in self.processes
                )
                raise StackError(f"{what} isn't ready after {_READY_WITHIN:.0f} s\n{tails}")
            time.sleep(0.5)

    @property
    def _ray(self) -> Ray:
        """`ray` of the configuration that the stack's processes get."""
        return load_config(self.env["BIOMETRIC_PROFILE"]).ray

    def _ray_command(self) -> list[str]:
        cpus = self._ray.num_cpus or os.cpu_count() or 1
        store = self._ray.object_store_mb * 2**20
        return [
            *("ray", "start", "--head", "--block", f"--port={self.ports.ray}"),
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


def up(layout: Layout) -> Stack:
    """Airflow, Ray and all pages, left running; the running ones when they are up already."""
    stack = Stack.running(layout)
    if stack is None:
        stop(layout)  # before ports are chosen, so that it gets those again that people know
        stack = Stack(layout, "ui")
        try:
            stack.begin()
            stack.spawn("registry", ["python", "-m", "deploy.story.seed", "registry"])
            stack.finish()
            stack.wait("registry")
            stack.spawn("mlflow", _mlflow_command(stack))
            stack.spawn("reports", _reports_command(stack))
            stack.wait_for_ray()
            stack.wait_for_pages()
        except BaseException:
            stack.close()
            raise
    return stack


def _mlflow_command(stack: Stack) -> list[str]:
    return [
        *("mlflow", "server", "--host", "127.0.0.1", "--port", str(stack.ports.mlflow)),
        *("--workers", "1", "--backend-store-uri", stack.env["BIOMETRIC__MLFLOW__TRACKING_URI"]),
        *("--default-artifact-root", stack.env["BIOMETRIC__MLFLOW__ARTIFACT_ROOT"]),
    ]


def _reports_command(stack: Stack) -> list[str]:
    return ["python", "-m", "deploy.local.report_pages", "--port", str(stack.ports.reports)]


def _state_file(layout: Layout) -> Path:
    return layout.run / "stack.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: `up` or `stop`."""
    parser = argparse.ArgumentParser(prog="deploy.local.stack", description=__doc__)
    parser.add_argument("what", choices=("up", "stop"))
    write_anywhere()
    layout = Layout.default()
    if parser.parse_args(arguments).what == "stop":
        print(f"ended {stop(layout)} processes of {_shown(layout.var)}")
        return 0
    try:
        stack = up(layout)
    except BiometricError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (StackError, AirflowApiError) as error:
        print(f"error: {error}\nlogs: {_shown(layout.logs)}", file=sys.stderr)
        return 1
    print(f"Airflow  {stack.url}   user {USER}, password {stack.password}")
    print(f"MLflow   {stack.address('mlflow')}")
    print(f"Reports  {stack.address('reports')}")
    print("make stop ends all three")
    return 0


def _shown(path: Path) -> str:
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


if __name__ == "__main__":
    sys.exit(main())
