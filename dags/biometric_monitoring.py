"""### Watch a day.

Daily: the run that owns a day takes in the captures that came on it, prepares them, compares them
with the people they claim to be under the champion, and judges whether the sensors still deliver
what the champion knows. On drift the last task sends the asset event `biometric_drift`, which
starts `biometric_retraining`; on an ordinary day it is skipped.

A day is judged once: running it again returns what is stored. After a pause only the last day runs
by itself; a backfill (in the UI, or `airflow backfill create`) judges the days between, one by one.

| param | meaning |
| --- | --- |
| `day` | the day to watch; the start of the run's interval when empty (by hand: yesterday) |
| `force` | judge the day again with the champion of now |
"""

from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from biometric_airflow.intervals import monitored_day
from biometric_airflow.stages import run_stage
from biometric_airflow.wiring import DRIFT, HEAVY, cron, dag_defaults, parse_config

CONFIG = parse_config()

PARAMS = {
    "day": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day",
        description="The UTC day whose captures are watched",
    ),
    "force": Param(
        False,
        type="boolean",
        title="Judge again",
        description="Replace a stored verdict by one of the present champion",
    ),
}


@dag(
    dag_id="biometric_monitoring",
    schedule=cron(CONFIG.schedules.monitoring),
    params=PARAMS,
    doc_md=__doc__,
    **dag_defaults(CONFIG, "monitoring"),
)
def biometric_monitoring() -> None:
    """The daily run."""

    @task
    def ingest() -> dict[str, Any]:
        """Take in the day's folder of the inbox; skipped, with all that follows, without one."""
        day = monitored_day(get_current_context())
        folder = Path(parse_config().storage.inbox) / day.isoformat()
        if not folder.is_dir():
            raise AirflowSkipException(f"no captures of {day}: there is no folder {folder}")
        at = datetime.combine(day, time(), tzinfo=UTC)
        taken = run_stage("ingest.ingest", source=str(folder), captured_at=at, kind="inbox")
        return {**taken, "day": day.isoformat()}

    @task(**HEAVY)
    def preprocess(taken: dict[str, Any]) -> dict[str, Any]:
        """Locate, normalise and mask the new captures."""
        return {**run_stage("preprocess.preprocess"), "day": taken["day"]}

    @task(**HEAVY)
    def monitor(prepared: dict[str, Any]) -> dict[str, Any]:
        """Score with the champion, judge the drift, write the report."""
        force = get_current_context()["params"]["force"]
        return run_stage("monitor.monitor", day=date.fromisoformat(prepared["day"]), force=force)

    @task(outlets=[DRIFT])
    def alert(verdict: dict[str, Any]) -> dict[str, Any]:
        """Send the asset event on drift; skipped, and nothing is sent, on an ordinary day."""
        p_value = verdict["p_value"]
        if not verdict["alarm"]:
            raise AirflowSkipException(f"no drift on {verdict['day']} (p = {p_value})")
        told = {"day": verdict["day"], "p_value": p_value, "report": verdict["report"]}
        get_current_context()["outlet_events"][DRIFT].extra = told
        return told

    alert(monitor(preprocess(ingest())))


biometric_monitoring()
