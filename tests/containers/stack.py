"""A stack of the tests' own: project, ports, secrets and settings; nobody else's is touched."""

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import docker
import yaml
from docker.models.containers import Container

from biometric_core.history.decisions import Decision
from deploy.local.airflow_api import AirflowApi, AirflowApiError
from deploy.local.places import REPOSITORY, USER, Ports
from deploy.local.stack import DAGS
from tests.system.live import clean_environment

AIRFLOW_PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
WITH_OUR_CODE = (*AIRFLOW_PARTS, "worker", "ray-head", "ray-worker")
LASTING = (*WITH_OUR_CODE, "postgres", "redis", "mlflow")
IMAGES = ("biometric-airflow", "biometric-worker")
TAG = "test"
DATA = "/var/lib/biometric"
_COMPOSE = REPOSITORY / "docker-compose.yml"
_LABEL = "com.docker.compose"
_INSIDE = Path(__file__).with_name("inside.py")

T = TypeVar("T")


class CommandFailed(Exception):
    """A command ended with another status than 0; the message holds what it said."""


class ContainerStack:
    """One Compose project.

    Args:
        folder: of its secrets and its override file.
        settings: environment of all services that run our code.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.project = f"biometric-test-{os.getpid()}"
        self.engine = docker.from_env()
        self.ports = Ports.choose(usual=False)
        override = folder / "override.yml"
        folder.mkdir(parents=True, exist_ok=True)
        # No interval is complete on the day of the start, so nothing runs unasked.
        ours = {
            "BIOMETRIC__SCHEDULES__START_DATE": datetime.now(UTC).date().isoformat(),
            **settings,
        }
        changed = {name: {"environment": ours} for name in (*WITH_OUR_CODE, "init")}
        override.write_text(yaml.safe_dump({"services": changed}))
        self.env = {
            **clean_environment(),
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": f"{_COMPOSE}{os.pathsep}{override}",
            "AIRFLOW_PORT": str(self.ports.airflow),
            "MLFLOW_PORT": str(self.ports.mlflow),
            "BIND_ADDRESS": "127.0.0.1",
            "SECRETS_DIR": str(folder / "secrets"),
            "IMAGE_TAG": TAG,
        }

    def make(self, target: str, *variables: str) -> str:
        """A target of the Makefile on this project; what it said.

        Raises:
            CommandFailed: it failed.
        """
        return self._run(["make", "--no-print-directory", target, *variables])

    def compose(self, *arguments: str) -> str:
        """A command of Compose on this project; what it said.

        Raises:
            CommandFailed: it failed.
        """
        return self._run(["docker", "compose", *arguments])

    def _run(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            command, env=self.env, cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise CommandFailed(f"{' '.join(command)}:\n{done.stdout[-4000:]}{done.stderr[-6000:]}")
        return done.stdout + done.stderr

    def build(self, *options: str) -> float:
        """Build both images; returns the seconds it took."""
        began = time.monotonic()
        self.compose("build", *options, "init", "worker")
        return time.monotonic() - began

    def up(self) -> float:
        """Bring it up, images built; returns the seconds until all are healthy."""
        self.make("secrets")
        began = time.monotonic()
        try:
            self.make("up")
        except CommandFailed as failed:
            raise CommandFailed(f"{failed}\n{self.troubles()}") from None
        seconds = time.monotonic() - began
        within(120, lambda: set(DAGS) <= set(self.api.dags()))
        for dag_id in DAGS:
            self.api.unpause(dag_id)
        return seconds

    def troubles(self) -> str:
        """The last lines of every container that isn't well."""
        ill = [one for one in self.containers() if not _well(one)]
        return "\n".join(
            f"--- {one.name} ({one.status})\n{one.logs(tail=25).decode(errors='replace')}"
            for one in ill
        )

    def down(self) -> None:
        """Remove all of it, volumes too."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "20")
        self.__dict__.pop("api", None)

    @cached_property
    def api(self) -> AirflowApi:
        """A client of its Airflow."""
        return AirflowApi(self.url, USER, self.secret("admin_password"))

    @property
    def url(self) -> str:
        """Where Airflow answers."""
        return f"http://127.0.0.1:{self.ports.airflow}"

    @property
    def mlflow(self) -> str:
        """Where MLflow answers."""
        return f"http://127.0.0.1:{self.ports.mlflow}"

    def secret(self, name: str) -> str:
        """What a secret's file holds."""
        return Path(self.env["SECRETS_DIR"], name).read_text().strip()

    def secrets(self) -> dict[str, str]:
        """All of them by name."""
        return {path.name: path.read_text().strip() for path in self._secret_files()}

    def _secret_files(self) -> list[Path]:
        return [path for path in Path(self.env["SECRETS_DIR"]).iterdir() if path.is_file()]

    def containers(self, service: str | None = None) -> list[Container]:
        """Its containers, those that have ended too."""
        labels = [f"{_LABEL}.project={self.project}", f"{_LABEL}.oneoff=False"]
        labels += [f"{_LABEL}.service={service}"] if service else []
        found: list[Container] = self.engine.containers.list(all=True, filters={"label": labels})
        return found

    def container(self, service: str) -> Container:
        """The first container of a service."""
        return min(self.containers(service), key=lambda one: str(one.name))

    def check(self) -> None:
        """Raise when a lasting container doesn't run."""
        ended = [
            one.name
            for one in self.containers()
            if _service(one) in LASTING and one.status not in ("running", "restarting")
        ]
        if ended:
            raise CommandFailed(f"ended: {ended}\n{self.troubles()}")

    def healthy(self) -> bool:
        """Whether every lasting container runs and says that it is well."""
        ours = self.containers()
        return {_service(one) for one in ours} >= set(LASTING) and all(map(_well, ours))

    def run_in(self, service: str, *command: str, **environment: str) -> str:
        """A command in a running container, as its own process would run it; its output.

        Raises:
            CommandFailed: it failed.
        """
        container = self.container(service)
        entrypoint = container.attrs["Config"]["Entrypoint"] or []
        done = container.exec_run([*entrypoint, *command], environment=environment, demux=True)
        output, errors = ((part or b"").decode(errors="replace") for part in done.output)
        if done.exit_code:
            said = f"{output[-2000:]}{errors[-4000:]}"
            raise CommandFailed(f"{service}: {command[:3]} ended with {done.exit_code}: {said}")
        return str(output)

    def inside(self, what: str, *arguments: str, **environment: str) -> Any:
        """A function of inside.py, run in the worker; what it told."""
        program = ("python", "-c", _INSIDE.read_text(), what, *arguments)
        return json.loads(self.run_in("worker", *program, **environment).splitlines()[-1])

    def decisions(self) -> list[Decision]:
        """What is on record, the oldest first."""
        return [Decision(**one) for one in self.inside("decided")]

    def put(self, folder: Path, into: str) -> str:
        """Copy a folder into the volume of the data; returns where it lies for the worker."""
        user, group = (int(self.run_in("worker", "id", which)) for which in ("-u", "-g"))

        def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid, member.gid = user, group
            return member

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder, arcname=into, filter=owned)
        self.container("worker").put_archive(DATA, packed.getvalue())
        return f"{DATA}/{into}"

    def idle_memory(self) -> dict[str, int]:
        """Bytes that each container uses; the page cache that can be dropped doesn't count."""
        return {str(one.name): _used(one.stats(stream=False)) for one in self.containers()}


def _used(stats: dict[str, Any]) -> int:
    memory = stats.get("memory_stats") or {}
    more = memory.get("stats") or {}
    droppable = more.get("inactive_file", more.get("total_inactive_file", 0))
    return max(0, int(memory.get("usage", 0)) - int(droppable))


def _service(container: Container) -> str:
    return str(container.labels[f"{_LABEL}.service"])


def _well(container: Container) -> bool:
    """Whether a container is healthy, or has done what it was for."""
    state = container.attrs["State"]
    if _service(container) not in LASTING:
        return state["Status"] == "exited" and state["ExitCode"] == 0
    return bool(state["Running"]) and state.get("Health", {}).get("Status", "healthy") == "healthy"


def within(seconds: float, true: Callable[[], T]) -> T:
    """What `true` tells, as soon as that is something; a server that is away is asked again.

    Raises:
        AssertionError: it never is.
    """
    limit = time.monotonic() + seconds
    while True:
        try:
            if found := true():
                return found
            why: object = "it never was so"
        except (AirflowApiError, CommandFailed) as error:
            why = error
        assert time.monotonic() < limit, f"not within {seconds:.0f} s: {why}"
        time.sleep(2)
