"""Whether a part of the stack works: `health.py ROLE`, for the engine's health checks."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

SECRET = Path(__file__).with_name("secret")
AIRFLOW = os.environ.get("AIRFLOW_URL", "http://api-server:8080")


def _get(url: str) -> bytes:
    # Straight there, whatever proxies the environment names.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=8) as answer:
        return bytes(answer.read())


def _airflow_reports(part: str) -> bool:
    told = json.loads(_get(f"{AIRFLOW}/api/v2/monitor/health"))
    return bool(told[part]["status"] == "healthy")


def _celery_answers() -> bool:
    broker = subprocess.run([SECRET, "broker"], capture_output=True, text=True, check=True).stdout
    from celery import Celery

    app = Celery(broker=broker)
    return bool(app.control.ping([f"celery@{socket.gethostname()}"], timeout=8))


def _ray_node_runs() -> bool:
    """Whether the node's process is there: it ends by itself without its head."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"raylet/raylet\0" in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def _ray_is_elsewhere() -> bool:
    return os.environ.get("RAY_ADDRESS", "").startswith("ray://")


CHECKS = {
    "api-server": lambda: bool(_get("http://127.0.0.1:8080/api/v2/version")),
    "scheduler": lambda: _airflow_reports("scheduler"),
    "dag-processor": lambda: _airflow_reports("dag_processor"),
    "triggerer": lambda: _airflow_reports("triggerer"),
    "worker": lambda: (_ray_is_elsewhere() or _ray_node_runs()) and _celery_answers(),
    "ray": _ray_node_runs,
    "mlflow": lambda: _get("http://127.0.0.1:5000/health") == b"OK",
}

if __name__ == "__main__":
    try:
        well = CHECKS[sys.argv[1]]()
    except Exception as error:  # whatever it is, the part doesn't work; the engine shows the line
        sys.exit(f"{sys.argv[1]}: {error}")
    sys.exit(None if well else f"{sys.argv[1]}: no answer")
