"""The few calls of Airflow's REST API (v2) that the story and the tests need."""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

ENDED = ("success", "failed")
_TRIES = 5
# SQLite gave up waiting for another request's transaction: nothing of this one is kept.
_BROKEN_OFF = "Database error"


class AirflowApiError(Exception):
    """Airflow's API can't be reached or refuses; the message holds what it said."""


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG, as the API tells it."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    triggered_by: str

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen in it."""
        return self.state in ENDED


@dataclass(frozen=True)
class TaskRun:
    """One task of a run."""

    task_id: str
    state: str | None
    tries: int
    seconds: float | None
    started: str | None


class AirflowApi:
    """A client that logs in when it must and tries again when the server is busy.

    Args:
        url: such as `http://127.0.0.1:8080`.
        user: who logs in.
        password: of that user.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        # Straight to the loopback address, whatever proxies the environment names.
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> dict[str, Any]:
        """State of the scheduler, DAG processor and database; empty while nobody answers."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=5)
        except httpx.TransportError:
            return {}
        return dict(answer.json()) if answer.status_code == 200 else {}

    def dags(self) -> dict[str, dict[str, Any]]:
        """All DAGs by id."""
        return {dag["dag_id"]: dag for dag in self._call("GET", "dags")["dags"]}

    def import_errors(self) -> list[str]:
        """Stack traces of DAG files that can't be imported."""
        return [
            error["stack_trace"] for error in self._call("GET", "importErrors")["import_errors"]
        ]

    def ensure_pool(self, name: str, slots: int, description: str) -> None:
        """Make the pool unless it is there; a pool somebody has resized stays as it is."""
        pools = {pool["name"] for pool in self._call("GET", "pools")["pools"]}
        if name not in pools:
            body = {"name": name, "slots": slots, "description": description}
            self._call("POST", "pools", json=body)

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self._call("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> DagRun:
        """Start a run by hand with these params."""
        body = {"logical_date": None, "conf": conf}
        return _dag_run(self._call("POST", f"dags/{dag_id}/dagRuns", json=body))

    def run(self, dag_id: str, run_id: str) -> DagRun:
        """One run as it stands."""
        return _dag_run(self._call("GET", f"dags/{dag_id}/dagRuns/{quote(run_id)}"))

    def fail(self, run: DagRun) -> None:
        """Break a run off."""
        path = f"dags/{run.dag_id}/dagRuns/{quote(run.run_id)}"
        self._call("PATCH", path, json={"state": "failed"})

    def answer(self, run: DagRun, task_id: str, option: str) -> None:
        """Choose an option of a task that waits for a person."""
        path = f"dags/{run.dag_id}/dagRuns/{quote(run.run_id)}/taskInstances/{task_id}/-1"
        self._call("PATCH", f"{path}/hitlDetails", json={"chosen_options": [option]})

    def unfinished(self, dag_id: str) -> list[DagRun]:
        """Runs that are queued or running."""
        return self.runs(dag_id, state=["queued", "running"])

    def runs(self, dag_id: str, **query: Any) -> list[DagRun]:
        """Runs of a DAG; what the query asks for is the API's own."""
        answer = self._call("GET", f"dags/{dag_id}/dagRuns", params=query)
        return [_dag_run(run) for run in answer["dag_runs"]]

    def tasks(self, run: DagRun) -> list[TaskRun]:
        """The tasks of a run, those that started first in front."""
        path = f"dags/{run.dag_id}/dagRuns/{quote(run.run_id)}/taskInstances"
        found = [
            TaskRun(
                task["task_id"],
                task["state"],
                task["try_number"],
                task["duration"],
                task["start_date"],
            )
            for task in self._call("GET", path)["task_instances"]
        ]
        return sorted(found, key=lambda task: (task.started is None, task.started or ""))

    def result(self, run: DagRun, task_id: str) -> dict[str, Any] | None:
        """What a task returned; None when it returned nothing (it was skipped, for instance)."""
        path = f"dags/{run.dag_id}/dagRuns/{quote(run.run_id)}/taskInstances/{task_id}"
        answer = self._call("GET", f"{path}/xcomEntries/return_value", missing=True)
        return answer["value"] if answer else None

    def runs_caused_by(self, run: DagRun) -> list[DagRun]:
        """Runs the scheduler started because of asset events of this run."""
        query = {"source_dag_id": run.dag_id, "source_run_id": run.run_id}
        events = self._call("GET", "assets/events", params=query)["asset_events"]
        return [
            self.run(caused["dag_id"], caused["run_id"])
            for event in events
            for caused in event["created_dagruns"]
        ]

    def log(self, run: DagRun, task: TaskRun, lines: int = 40) -> str:
        """The end of a task's log."""
        path = f"dags/{run.dag_id}/dagRuns/{quote(run.run_id)}/taskInstances/{task.task_id}"
        answer = self._call("GET", f"{path}/logs/{task.tries}", params={"full_content": True})
        return "\n".join(_log_lines(answer["content"])[-lines:])

    def _call(
        self, method: str, path: str, *, missing: bool = False, **request: Any
    ) -> dict[str, Any]:
        """One call, repeated when the server is away or the token is old."""
        for attempt in range(_TRIES):
            try:
                if "Authorization" not in self._http.headers:
                    self._log_in()
                answer = self._http.request(method, f"/api/v2/{path}", **request)
            except httpx.TransportError as error:
                if method == "POST" or attempt == _TRIES - 1:
                    raise AirflowApiError(f"{method} {path}: {error}") from error
                time.sleep(1 + attempt)
                continue
            if answer.status_code == 401:
                del self._http.headers["Authorization"]
            elif answer.status_code >= 500 and (method != "POST" or _BROKEN_OFF in answer.text):
                time.sleep(1 + attempt)
            elif answer.status_code == 404 and missing:
                return {}
            elif answer.is_success:
                return dict(answer.json()) if answer.content else {}
            else:
                break
        raise AirflowApiError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")

    def _log_in(self) -> None:
        answer = self._http.post("/auth/token", json=self._login)
        if not answer.is_success:
            raise AirflowApiError(f"Airflow refuses the login: {answer.status_code}")
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def _dag_run(told: dict[str, Any]) -> DagRun:
    return DagRun(
        dag_id=told["dag_id"],
        run_id=told["dag_run_id"],
        state=told["state"],
        run_type=told["run_type"],
        triggered_by=told["triggered_by"] or "",
    )


def _log_lines(content: Any) -> list[str]:
    """The messages of a log, a stack trace spelled out below its message."""
    if not isinstance(content, list):
        return str(content).splitlines()
    lines: list[str] = []
    for entry in content:
        message = str(entry.get("event", "")) if isinstance(entry, dict) else str(entry)
        if message.startswith("::"):
            continue
        lines.extend(message.splitlines())
        for error in entry.get("error_detail") or [] if isinstance(entry, dict) else []:
            lines.extend(
                f"  {frame['filename']}:{frame['lineno']} in {frame['name']}"
                for frame in error.get("frames") or []
            )
            lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return lines
