"""### Watch a day.

Daily: the run that owns a day takes in the captures that came on it, prepares them, compares them
with the people they claim to be under the champion, and judges whether the sensors still deliver
what the champion knows. On a confirmed alarm the last task tells people and sends the asset event
`biometric_drift`, which starts `biometric_retraining`; on every other day it is skipped.

A day is judged once: running it again returns what is stored, unless its captures have changed.
Each run takes in what came late into the folders of the last `monitoring.late_days` days, and
judges those days again, before its own; a verdict that changed is told. A folder that isn't there
is told as well: where nobody came, leave an empty one. Longer pauses: a backfill (in the UI, or
`airflow backfill create`) judges the days between. Days are judged oldest first, whatever is
started at once: a run waits while that of an earlier day is under way. It doesn't wait for one that
has failed: clear that one to make its day up.

| param | meaning |
| --- | --- |
| `day` | the day to watch; the start of the run's interval when empty (by hand: yesterday) |
| `force` | judge the day again, by the model that served it |
"""

from datetime import UTC, date, datetime
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from biometric_airflow.arrivals import take_in, take_late
from biometric_airflow.channels import tell
from biometric_airflow.deadlines import after_interval
from biometric_airflow.doors import inbox
from biometric_airflow.intervals import earlier_days_done, monitored_day
from biometric_airflow.notices import drift_notice, late_notice, missing_notice
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
        description="Replace a stored verdict, by the model that served the day",
    ),
}

FACTS = ("day", "verdict", "p_value", "reason", "report", "model_version")


@task.sensor(mode="reschedule", poke_interval=10, timeout=24 * 3600)
def earlier_days() -> bool:
    """Wait for the run of the day before: trend, confirmation and cooldown look back."""
    return earlier_days_done(get_current_context())


@task
def ingest() -> dict[str, Any]:
    """Take in the day's folder of the inbox, and what came late into those of the days before.

    Skipped, with all that follows, where none of them holds a capture.
    """
    from biometric_core.config import load_config

    context = get_current_context()
    day, config = monitored_day(context), load_config()
    place, late_days = inbox(config.storage.inbox), config.monitoring.late_days
    late = take_late(place, day, late_days, context)
    folder = place / day.isoformat()
    if not folder.is_dir() and day < datetime.now(UTC).date():
        tell(missing_notice(day, folder, late_days, context), context)
    taken = take_in(folder, day)
    if taken is None and not late:
        raise AirflowSkipException(f"no captures of {day}: nothing in {folder}")
    return {**(taken or {}), "day": day.isoformat(), "late": late}


@task(**HEAVY)
def preprocess(taken: dict[str, Any]) -> dict[str, Any]:
    """Locate, normalise and mask the new captures."""
    return {**run_stage("preprocess"), "day": taken["day"]}


@task(**HEAVY)
def monitor(prepared: dict[str, Any]) -> dict[str, Any]:
    """Score with the champion, judge the drift, write the report; the rows are in the table."""
    force = get_current_context()["params"]["force"]
    day = date.fromisoformat(prepared["day"])
    judged = run_stage("monitor", day=day, force=force)
    return {name: value for name, value in judged.items() if name != "verdicts"}


@task(outlets=[DRIFT])
def alert(judged: dict[str, Any]) -> dict[str, Any]:
    """Tell people and send the asset event on a confirmed alarm; skipped otherwise.

    Of an earlier day that was judged again it is told as well if another verdict came of it.
    """
    context = get_current_context()
    days = [*judged["late"], judged]
    for told in filter(None, map(late_notice, days)):
        tell(told, context)
    alarms = [one for one in days if one["alarm"]]
    if not alarms:
        raise AirflowSkipException(f"{judged['day']}: {judged['verdict']}: {judged['reason']}")
    for one in alarms:
        facts = {name: one[name] for name in FACTS}
        context["outlet_events"][DRIFT].extra = facts  # of the newest, where there are several
        tell(drift_notice(facts, one["before"]), context)
    return facts


@dag(
    dag_id="biometric_monitoring",
    schedule=cron(CONFIG.schedules.monitoring),
    params=PARAMS,
    doc_md=CONFIG.doc(__doc__),
    **after_interval(CONFIG.schedules.monitoring_deadline_hours),
    **dag_defaults(CONFIG, "monitoring"),
)
def biometric_monitoring() -> None:
    """The daily run."""
    taken = ingest()
    earlier_days() >> taken
    alert(monitor(preprocess(taken)))


biometric_monitoring()
