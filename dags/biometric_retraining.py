"""### Answer drift with a new model.

Started by the asset event `biometric_drift`, or by hand. An event is a wake-up only: the drift
state is read again from the tables, and the run goes on only where the newest alarm has no decision
yet, the cooldown is over, enough captures came and the champion does worse. Then a challenger is
trained, evaluated and registered, and the gate decides by the same captures for both.

| param | meaning |
| --- | --- |
| `force` | train although nothing calls for it |
| `day` | the drift's day that a forced run answers; by default the newest alarm |
| `approval` | a person is asked before the gate, and a Reject is a decision; else `gate.approval` |
"""

import logging
from datetime import date
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from biometric_airflow.approval import PARAM, OptionalApproval
from biometric_airflow.deadlines import after_queueing
from biometric_airflow.deciding import decide
from biometric_airflow.intervals import parse_day, parse_time
from biometric_airflow.stages import run_stage
from biometric_airflow.wiring import DRIFT, HEAVY, dag_defaults, parse_config

_log = logging.getLogger(__name__)
CONFIG = parse_config()

PARAMS = {
    "force": Param(
        False,
        type="boolean",
        title="Train anyway",
        description="Although no pending drift calls for it",
    ),
    "day": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day of the drift",
        description="Captures from this day on count as drifted; the newest alarm when empty",
    ),
    "approval": PARAM,
}


@task
def plan() -> dict[str, Any]:
    """Read the drift state again; skipped, with the reason, where nothing is to be done."""
    context = get_current_context()
    sent = context["triggering_asset_events"].values()
    _log.info("asset events: %s", [event.extra for events in sent for event in events])
    given = context["params"]
    trigger = "asset" if context["dag_run"].run_type == "asset_triggered" else "manual"
    made = run_stage("plan_retraining", trigger=trigger, force=given["force"])
    if not made["retrain"]:
        raise AirflowSkipException(f"no retraining: {made['reason']}")
    asked = parse_day(given["day"]).isoformat() if given["day"] else None
    if asked and asked > made["as_of"][:10]:
        raise AirflowFailException(f"day {asked} lies after the captures: correct it")
    day = asked or made["day"]
    return {**made, "day": day, "sensors": made["sensors"] if day == made["day"] else []}


@task(**HEAVY)
def train(planned: dict[str, Any]) -> dict[str, Any]:
    """Fit the challenger on all captures up to and with the drift."""
    from biometric_core.history.changes import Change

    day, as_of = planned["day"], parse_time(planned["as_of"])
    change = Change.of(date.fromisoformat(day), planned["sensors"]) if day else None
    return run_stage("train", as_of=as_of, change=change)


@task(**HEAVY)
def evaluate(planned: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """Error rates on people the challenger has never seen."""
    as_of = parse_time(planned["as_of"])
    return run_stage("evaluate", run_id=trained["run_id"], as_of=as_of)


@task
def register(trained: dict[str, Any]) -> dict[str, Any]:
    """Bundle the model and register it as challenger."""
    return run_stage("register", run_id=trained["run_id"])


@task(**HEAVY)
def promote(planned: dict[str, Any], registered: dict[str, Any]) -> dict[str, Any]:
    """Ask the gate: both models, measured now, on the same captures."""
    return decide(
        registered["version"],
        trigger="drift" if planned["day"] else "manual",
        drift_day=date.fromisoformat(planned["day"]) if planned["day"] else None,
        as_of=parse_time(planned["as_of"]),
    )


@dag(
    dag_id="biometric_retraining",
    schedule=[DRIFT],
    params=PARAMS,
    doc_md=CONFIG.doc(__doc__),
    **after_queueing(CONFIG.schedules.training_deadline_hours),
    **dag_defaults(CONFIG, "training", "drift"),
)
def biometric_retraining() -> None:
    """From an alarm to a decision."""
    approve = OptionalApproval(
        hours=CONFIG.schedules.approval_hours,
        setting=CONFIG.approval,
        drift=True,
        subject="May the challenger face the gate?",
        body="Version {{ ti.xcom_pull(task_ids='register')['version'] }}. "
        "{{ ti.xcom_pull(task_ids='plan')['reason'] }}",
    )
    planned = plan()
    trained = train(planned)
    registered = register(trained)
    evaluate(planned, trained) >> registered
    decided = promote(planned, registered)
    registered >> approve >> decided


biometric_retraining()
