"""Where the local system keeps its things, and the environment its processes get."""

import base64
import json
import os
import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from biometric_core.config import load_config
from biometric_core.tracking.client import sqlite_uri

REPOSITORY = Path(__file__).resolve().parents[2]
USER = "admin"
POOL_SLOTS = 1  # heavy tasks at once: one already fills a small machine


@dataclass(frozen=True)
class Layout:
    """The folder of the local system (`var/`, or `BIOMETRIC_VAR`) and the places in it."""

    var: Path

    @classmethod
    def default(cls) -> "Layout":
        """`BIOMETRIC_VAR` where it is set, else `var/` in the repository."""
        return cls(Path(os.environ.get("BIOMETRIC_VAR") or REPOSITORY / "var").resolve())

    @property
    def run(self) -> Path:
        """State of what is running, and the summary."""
        return self.var / "run"

    @property
    def logs(self) -> Path:
        """What the processes say."""
        return self.var / "logs"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME."""
        return self.var / "airflow"

    @property
    def source(self) -> Path:
        """Generated captures, and the history and days made from a source."""
        return self.var / "source"


@dataclass(frozen=True)
class Ports:
    """Ports on the loopback interface."""

    airflow: int
    mlflow: int
    ray: int
    ray_client: int
    reports: int

    @classmethod
    def choose(cls, *, usual: bool) -> "Ports":
        """Free ports; with `usual`, those people know (8080, 5000, 8000) where they are free."""
        taken: set[int] = set()
        airflow = _free_port(taken, prefer=8080 if usual else 0)
        mlflow = _free_port(taken, prefer=5000 if usual else 0)
        reports = _free_port(taken, prefer=8000 if usual else 0)
        return cls(airflow, mlflow, _free_port(taken), _free_port(taken), reports)


def _free_port(taken: set[int], prefer: int = 0) -> int:
    """A port nobody listens on and that is not in `taken`; `prefer` where that is free."""
    for wanted in (prefer, 0, 0, 0, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
        if port not in taken:
            taken.add(port)
            return port
    raise OSError("no free port on 127.0.0.1")


def keep_secrets(layout: Layout) -> dict[str, str]:
    """Keys and the password of this folder's Airflow; made once, readable by the owner only."""
    path = layout.airflow / "secrets.json"
    if not path.is_file():
        made = {
            "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt": secrets.token_hex(64),
            "api": secrets.token_hex(32),
            "password": secrets.token_urlsafe(12),
            "ray": secrets.token_hex(32),
        }
        write_private(path, json.dumps(made))
    known: dict[str, str] = json.loads(path.read_text())
    write_private(
        layout.airflow / "simple_auth_manager_passwords.json.generated",
        json.dumps({USER: known["password"]}),
    )
    write_private(layout.airflow / "ray_token", known["ray"])
    return known


def shown(path: Path) -> str:
    """A path as people look for it: from the repository where it is inside."""
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


def write_private(path: Path, text: str) -> None:
    """Write `text` aside with mode 0600 and rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    aside.replace(path)


def environment(layout: Layout, ports: Ports, *, watch_files: bool) -> dict[str, str]:
    """The environment of every process of the stack; what the caller has set of ours wins.

    Args:
        layout: the folder everything is under.
        ports: where the services listen.
        watch_files: for people: look for changed DAG files every half minute (parsing costs seconds
            of CPU, so the demonstration parses once), and link to MLflow's and Evidently's pages.

    Raises:
        ConfigError: the configuration can't be read.
    """
    keys = keep_secrets(layout)
    # Threads that wait must not spin: beside Airflow on two cores that cost a factor of three.
    env = {"OMP_WAIT_POLICY": "PASSIVE", **_biometric_defaults(layout), **os.environ}
    env.update(_airflow_settings(layout, ports, keys, parse_every=30 if watch_files else 3600))
    if not load_config(env["BIOMETRIC_PROFILE"]).ray.address:
        env.update(_own_ray(layout, ports))
    env.update(
        {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
            ),
            "PYTHONUNBUFFERED": "1",
            "BIOMETRIC_VAR": str(layout.var),
            "RAY_USAGE_STATS_ENABLED": "0",
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # Its server would start seven processes for jobs that nobody here asks for.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )
    if watch_files:
        env["BIOMETRIC_MLFLOW_UI"] = f"http://127.0.0.1:{ports.mlflow}"
        env["BIOMETRIC_REPORTS_UI"] = f"http://127.0.0.1:{ports.reports}"
    # Without compiled modules every process compiles torch and its like anew, for seconds each.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def _own_ray(layout: Layout, ports: Ports) -> dict[str, str]:
    """What leads to the Ray of this stack; a cluster (`ray.address`) has a token of its own."""
    return {
        "RAY_ADDRESS": f"127.0.0.1:{ports.ray}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(layout.airflow / "ray_token"),
    }


def _biometric_defaults(layout: Layout) -> dict[str, str]:
    mlflow = layout.var / "mlflow"
    return {
        "BIOMETRIC_PROFILE": "local",
        "BIOMETRIC__STORAGE__ROOT": str(layout.var / "data"),
        "BIOMETRIC__STORAGE__INBOX": str(layout.source / "inbox"),
        "BIOMETRIC__MLFLOW__TRACKING_URI": sqlite_uri(mlflow / "mlflow.db"),
        "BIOMETRIC__MLFLOW__ARTIFACT_ROOT": str(mlflow / "artifacts"),
        # No interval is complete on the day of the start, so nothing runs unasked.
        "BIOMETRIC__SCHEDULES__START_DATE": datetime.now(UTC).date().isoformat(),
        "BIOMETRIC__SCHEDULES__RETRIES": "1",
        "BIOMETRIC__SCHEDULES__RETRY_DELAY_SECONDS": "3",
    }


def _airflow_settings(
    layout: Layout, ports: Ports, keys: dict[str, str], parse_every: int
) -> dict[str, str]:
    url = f"http://127.0.0.1:{ports.airflow}"
    settings: dict[str, dict[str, Any]] = {
        "CORE": {
            "DAGS_FOLDER": REPOSITORY / "dags",
            "PLUGINS_FOLDER": REPOSITORY / "plugins",
            "LOAD_EXAMPLES": False,
            "EXECUTOR": "LocalExecutor",
            "PARALLELISM": 4,
            "DAGS_ARE_PAUSED_AT_CREATION": False,
            "FERNET_KEY": keys["fernet"],
            "EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "HOSTNAME_CALLABLE": "socket.gethostname",
            "DAGBAG_IMPORT_TIMEOUT": 120,
        },
        "API": {
            "HOST": "127.0.0.1",
            "PORT": ports.airflow,
            "BASE_URL": url,
            "SECRET_KEY": keys["api"],
            "WORKERS": 1,
        },
        "API_AUTH": {"JWT_SECRET": keys["jwt"]},
        "DAG_PROCESSOR": {
            "REFRESH_INTERVAL": parse_every,
            "MIN_FILE_PROCESS_INTERVAL": parse_every,
            "DAG_FILE_PROCESSOR_TIMEOUT": 180,
        },
        "DATABASE": {"SQL_ALCHEMY_CONN": sqlite_uri(layout.airflow / "airflow.db")},
        "LOGGING": {"BASE_LOG_FOLDER": layout.logs / "tasks"},
        # One machine: what was killed with it is taken up within a minute or so, not after ten.
        "SCHEDULER": {"TASK_INSTANCE_HEARTBEAT_TIMEOUT": 60, "ORPHANED_TASKS_CHECK_INTERVAL": 30},
        # A loaded laptop answers late; that is no reason to fail a task.
        "WORKERS": {"EXECUTION_API_TIMEOUT": 30},
    }
    return {"AIRFLOW_HOME": str(layout.airflow), **_variables(settings)}


def _variables(settings: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The environment variables that Airflow reads settings from, given by section and key."""
    return {
        f"AIRFLOW__{section}__{key}": str(value)
        for section, values in settings.items()
        for key, value in values.items()
    }
