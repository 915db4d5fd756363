"""`make run`: the whole loop, by the real DAGs, on one machine.

Data, `biometric_training`, three days of `biometric_monitoring`; the changed sensor of the third
day raises the alarm that makes the scheduler start `biometric_retraining`. Ends with 0 only if the
loop closed; `run/summary.json` tells what came of it.
"""

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

from filelock import FileLock, Timeout

from biometric_core.config import load_config
from biometric_core.errors import BiometricError, SourceError
from biometric_core.history.decisions import Decision, last_change
from biometric_core.reporting.terminals import write_anywhere
from deploy.local.airflow_api import AirflowApi, AirflowApiError, DagRun
from deploy.local.display import Display
from deploy.local.places import Layout, shown
from deploy.local.stack import Stack, StackError
from deploy.story.seed import FIRST_DAY, STORY_FILE
from deploy.story.summary import Summary, and_p_value
from deploy.story.world import switch_world

TRAINING, MONITORING, RETRAINING = (
    "biometric_training",
    "biometric_monitoring",
    "biometric_retraining",
)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL = 1.0


class StoryError(Exception):
    """The loop broke; the message holds the failing task and the end of its log."""


class Running(Protocol):
    """A system that is up: on this machine, or in containers."""

    @property
    def api(self) -> AirflowApi:
        """A client of its Airflow."""
        ...

    def check(self) -> None:
        """Raise when a lasting part has ended."""
        ...

    def decisions(self) -> list[Decision]:
        """What is on record, the oldest first."""
        ...


@dataclass
class Story:
    """The loop on a stack that is up.

    Args:
        stack: the running system.
        display: where progress is shown.
        timeout: seconds that one run of a DAG may take.
    """

    stack: Running
    display: Display
    timeout: float

    def train(self, history: str) -> dict[str, Any]:
        """Train on the history; what the summary says of it."""
        start = f"{FIRST_DAY.isoformat()}T00:00:00+00:00"
        run = self._trigger("training", TRAINING, {"source": history, "as_of": start})
        self._follow("training", run)
        registered, evaluated = self._result(run, "register"), self._result(run, "evaluate")
        metrics = evaluated["metrics"]
        names = ("iris", "fingerprint", "fused")
        eer = {name: (metrics.get(name) or {}).get("eer") for name in names}
        decided = self._result(run, "promote")
        version = registered["version"]
        self.display.done("training", f"version {version} {decided['decision']}")
        return {"run_id": run.run_id, "model_version": version, "eer": eer}

    def watch(self, day: str) -> tuple[dict[str, Any], DagRun]:
        """Let monitoring look at a day; what the summary says of it, and the run."""
        run = self._trigger(day, MONITORING, {"day": day})
        self._follow(day, run)
        verdict = self._result(run, "monitor")
        told = {name: verdict[name] for name in ("day", "alarm", "p_value", "report")}
        said = "ALARM" if told["alarm"] else verdict["verdict"]
        self.display.done(day, said + and_p_value(told["p_value"]))
        return told, run

    def retrain(self, alarm: DagRun) -> dict[str, Any] | None:
        """Wait for the retraining that the alarm makes the scheduler start.

        Returns:
            What the summary says of it; None when nothing was started in time.
        """
        run = self._caused_by(alarm)
        if run is None:
            self.display.fail("retraining", "the scheduler started nothing")
            return None
        self._follow("retraining", run)
        day = str(self._result(alarm, "monitor")["day"])
        decided = self.stack.api.result(run, "promote") or self._standing_decision(day)
        if decided is None:
            log = self._log_of(run, "plan", lines=3)
            decided = {"decision": "not retrained", "reason": log or "see the log of the task plan"}
        told = {name: decided[name] for name in ("decision", "reason")}
        self.display.done("retraining", f"started by {run.triggered_by}, {told['decision']}")
        return {"run_id": run.run_id, "triggered_by": run.triggered_by, **told}

    def _caused_by(self, alarm: DagRun) -> DagRun | None:
        limit = time.monotonic() + 120
        while time.monotonic() < limit:
            caused = [
                run for run in self.stack.api.runs_caused_by(alarm) if run.dag_id == RETRAINING
            ]
            if caused:
                return caused[-1]
            self.stack.check()
            self.display.start("retraining", "waiting for the scheduler")
            time.sleep(_POLL)
        return None

    def _trigger(self, key: str, dag_id: str, conf: dict[str, Any]) -> DagRun:
        self.display.start(key, "queued")
        return self.stack.api.trigger(dag_id, conf)

    def _follow(self, key: str, run: DagRun) -> None:
        """Show the tasks of a run until it ends.

        Raises:
            StoryError: it failed or takes too long.
        """
        limit = time.monotonic() + self.timeout
        while not run.ended:
            if time.monotonic() > limit:
                raise StoryError(f"{run.dag_id} takes longer than {self.timeout:.0f} s")
            self.stack.check()
            running = [
                task.task_id
                for task in self.stack.api.tasks(run)
                if task.state in ("queued", "running", "up_for_retry")
            ]
            if running:
                self.display.start(key, ", ".join(running))
            time.sleep(_POLL)
            run = self.stack.api.run(run.dag_id, run.run_id)
        if run.state != "success":
            raise StoryError(self._failure(run))

    def _failure(self, run: DagRun) -> str:
        failed = [task for task in self.stack.api.tasks(run) if task.state == "failed"]
        if not failed:
            return f"{run.dag_id} run {run.run_id} failed without a failing task"
        log = self.stack.api.log(run, failed[0])
        return f"task {failed[0].task_id} of {run.dag_id} failed; the end of its log:\n{log}"

    def _log_of(self, run: DagRun, task_id: str, lines: int) -> str:
        tasks = [task for task in self.stack.api.tasks(run) if task.task_id == task_id]
        return self.stack.api.log(run, tasks[0], lines) if tasks else ""

    def _result(self, run: DagRun, task_id: str) -> dict[str, Any]:
        result = self.stack.api.result(run, task_id)
        if result is None:
            log = self._log_of(run, task_id, lines=20)
            raise StoryError(f"task {task_id} of {run.dag_id} told no result:\n{log}")
        return result

    def champion(self) -> dict[str, Any]:
        """Name and version of the champion, by the decisions on record."""
        change = last_change(self.stack.decisions())
        version = change.challenger_version if change else None
        return {"name": load_config().mlflow.model_name, "version": version}

    def _standing_decision(self, day: str) -> dict[str, Any] | None:
        """The decision on record that answers the drift of a day; None while there is none."""
        for known in self.stack.decisions():
            if known.answered and known.answered >= date.fromisoformat(day):
                return {"decision": known.decision, "reason": known.reason}
        return None


def tell(layout: Layout, source: Path | None, timeout: float) -> Summary:
    """Bring everything up, run the loop, and end what was brought up.

    Raises:
        StackError: a part of the system doesn't start or has ended.
        StoryError: a run failed.
        AirflowApiError: Airflow stopped answering.
    """
    began = time.monotonic()
    (layout.run / "summary.json").unlink(missing_ok=True)
    display = Display(_steps(source))
    if said := switch_world(layout, source):
        display.console.print(said)
    stack = Stack.running(layout)
    lasting = stack is not None
    stack = stack or Stack(layout)
    try:
        with display:
            data = _bring_up(stack, display, source, lasting)
            story = Story(stack, display, timeout)
            training = story.train(data["history"])
            watched = [story.watch(day["day"]) for day in data["days"]]
            verdict, last = watched[-1]
            retraining = story.retrain(last) if verdict["alarm"] else None
            return Summary(
                training=training,
                monitoring=[told for told, _ in watched],
                retraining=retraining,
                champion=story.champion(),
                seconds=round(time.monotonic() - began, 1),
            )
    finally:
        if not lasting:
            _undisturbed(stack.close)


def _steps(source: Path | None) -> dict[str, str]:
    what = "history and new days from the source" if source else "generated people"
    changed = "changed sensor (simulated)"
    days = [(FIRST_DAY + timedelta(days=offset)).isoformat() for offset in range(3)]
    watched = zip(days, ("ordinary day", "ordinary day", changed), strict=True)
    return {
        "start": "Airflow and Ray",
        "data": f"data: {what}",
        "training": "train the first champion",
        **{day: f"watch {day}, {label}" for day, label in watched},
        "retraining": "retrain on the alarm",
    }


def _bring_up(stack: Stack, display: Display, source: Path | None, lasting: bool) -> dict[str, Any]:
    """Start the system and, beside it, lay out the data; returns where the data are."""
    display.start("start", "already up" if lasting else "")
    display.start("data")
    stack.say = partial(display.start, "start")
    if not lasting:
        stack.begin()
    given = ["--source", str(source.resolve())] if source else []
    stack.spawn("data", ["python", "-m", "deploy.story.seed", "story", *given])
    stack.spawn("registry", ["python", "-m", "deploy.story.seed", "registry"])
    if not lasting:
        stack.finish()
        _fail_leftovers(stack)
        stack.wait_for_ray()
    display.done("start", stack.url)
    stack.say = partial(display.start, "data")
    stack.wait("data")
    told: dict[str, Any] = json.loads((stack.layout.source / STORY_FILE).read_text())
    stack.wait("registry")
    counts = ", ".join(f"{day['captures']}" for day in told["days"])
    display.done("data", f"new captures a day: {counts}")
    return told


def _fail_leftovers(stack: Stack) -> None:
    """Runs that a broken-off demonstration has left would be in the way of the new ones."""
    for dag_id in (TRAINING, MONITORING, RETRAINING):
        for run in stack.api.unfinished(dag_id):
            stack.api.fail(run)


def _undisturbed(action: Callable[[], object]) -> None:
    """Run `action` to its end, whatever keys are pressed."""
    handlers = {sign: signal.signal(sign, signal.SIG_IGN) for sign in _SIGNALS}
    try:
        action()
    finally:
        for sign, handler in handlers.items():
            signal.signal(sign, handler)


def _interrupted(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--source", type=Path, help="folder or .zip instead of generated people")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one DAG run")
    given = parser.parse_args(arguments)
    write_anywhere()
    layout = Layout.default()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for sign in _SIGNALS:
        signal.signal(sign, _interrupted)
    layout.run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(layout.run / "story.lock", timeout=0):
            if given.source is not None and not given.source.exists():
                raise SourceError(f"source {given.source} doesn't exist: name a folder or a .zip")
            return _report(layout, tell(layout, given.source, given.timeout))
    except Timeout:
        print(f"error: another `make run` is using {layout.var}", file=sys.stderr)
    except (BiometricError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
    except (StoryError, AirflowApiError) as error:
        print(f"error: {error}\nlogs: {shown(layout.logs)}", file=sys.stderr)
    return 1


def _report(layout: Layout, summary: Summary) -> int:
    summary.write(layout.run / "summary.json")
    summary.show(Display({}).console)
    open_ends = summary.open_ends()
    for reason in open_ends:
        print(f"the loop is not closed: {reason}", file=sys.stderr)
    return 1 if open_ends else 0


if __name__ == "__main__":
    sys.exit(main())
