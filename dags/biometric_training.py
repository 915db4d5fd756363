"""### Train a recogniser.

Weekly, or by hand. Brings a source of captures to disk, takes its captures in, prepares them,
reports on all data and checks them, trains, evaluates on people the model has never seen, registers
the result as *challenger* and asks the gate whether it becomes *champion*.

Doing it again with the same captures, settings and code trains nothing: the finished run, its
version and its decision are found and returned.

| param | meaning |
| --- | --- |
| `source` | `generator`, `kaggle`, a folder, a .zip, `s3://bucket/prefix`; else as configured |
| `as_of` | train on captures before this time; the interval's end when empty (by hand: now) |
| `force` | train even if the same has been trained before |
| `approval` | a person is asked before the gate, and a Reject is a decision; else `gate.approval` |

A `source` must lie where `source.allowed` says; by default that is `storage.root`, `storage.inbox`,
`source.path` and `var/`. Another one fails the run at once, with a line that says so.
"""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from biometric_airflow.approval import PARAM, OptionalApproval
from biometric_airflow.credentials import kaggle_environment
from biometric_airflow.deadlines import after_queueing
from biometric_airflow.deciding import decide, tell_decision
from biometric_airflow.doors import permitted_source
from biometric_airflow.intervals import parse_time, training_as_of
from biometric_airflow.stages import run_stage
from biometric_airflow.wiring import HEAVY, cron, dag_defaults, parse_config

CONFIG = parse_config()

PARAMS = {
    "source": Param(
        None,
        type=["null", "string"],
        title="Source",
        description="generator, kaggle, the path of a folder or .zip on the worker, or s3://bucket/prefix",
    ),
    "as_of": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Captures before",
        description="Train on captures taken before this time",
    ),
    "force": Param(
        False,
        type="boolean",
        title="Train again",
        description="Even if the same captures, settings and code have been trained on",
    ),
    "approval": PARAM,
}


@task
def acquire() -> dict[str, Any]:
    """Bring the source to disk; the time that bounds the run's captures is fixed here."""
    context = get_current_context()
    as_of = training_as_of(context)
    source = permitted_source(context["params"]["source"])
    with kaggle_environment():
        found = run_stage("acquire", source=source)
    return {**found, "as_of": as_of}


@task
def ingest(acquired: dict[str, Any]) -> dict[str, Any]:
    """Take the captures in; what can't be one is quarantined and counted."""
    # A source that doesn't say when it was captured counts as captured just before the run.
    before = parse_time(acquired["as_of"]) - timedelta(seconds=1)
    path, kind = acquired["path"], acquired["kind"]
    return run_stage("ingest", source=path, captured_at=before, kind=kind)


@task(**HEAVY)
def preprocess() -> dict[str, Any]:
    """Locate, normalise and mask, in parallel."""
    return run_stage("preprocess")


@task
def check() -> dict[str, Any]:
    """Report on all that was taken in and prepared; the gates decide whether to train on it."""
    return run_stage("check")


@task(**HEAVY)
def train(acquired: dict[str, Any]) -> dict[str, Any]:
    """Fit the model; a retry goes on after the last finished epoch."""
    force = get_current_context()["params"]["force"]
    return run_stage("train", as_of=parse_time(acquired["as_of"]), force=force)


@task(**HEAVY)
def evaluate(acquired: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """Error rates on people the model has never seen."""
    as_of = parse_time(acquired["as_of"])
    return run_stage("evaluate", run_id=trained["run_id"], as_of=as_of)


@task
def register(trained: dict[str, Any]) -> dict[str, Any]:
    """Bundle the model and register it as challenger."""
    return run_stage("register", run_id=trained["run_id"])


@task(**HEAVY)
def promote(acquired: dict[str, Any], registered: dict[str, Any]) -> dict[str, Any]:
    """Ask the gate; a version that was found again keeps the decision it had."""
    version = registered["version"]
    if not get_current_context()["params"]["force"]:
        from biometric_core.config import load_config
        from biometric_core.promotion.switch import decision_on

        if known := decision_on(load_config(), version):
            found = asdict(known) | {"reused": True}
            tell_decision(found)
            return found
    return decide(version, trigger="training", as_of=parse_time(acquired["as_of"]))


@dag(
    dag_id="biometric_training",
    schedule=cron(CONFIG.schedules.training),
    params=PARAMS,
    doc_md=CONFIG.doc(__doc__),
    **after_queueing(CONFIG.schedules.training_deadline_hours),
    **dag_defaults(CONFIG, "training"),
)
def biometric_training() -> None:
    """The weekly run, one task a stage."""
    approve = OptionalApproval(
        hours=CONFIG.schedules.approval_hours,
        setting=CONFIG.approval,
        subject="May the new model face the gate?",
        body="Version {{ ti.xcom_pull(task_ids='register')['version'] }}; its figures are in "
        "MLflow, run {{ ti.xcom_pull(task_ids='register')['run_id'] }}.",
    )

    acquired = acquire()
    trained = train(acquired)
    registered = register(trained)
    ingest(acquired) >> preprocess() >> check() >> trained
    evaluate(acquired, trained) >> registered
    registered >> approve >> promote(acquired, registered)


biometric_training()
