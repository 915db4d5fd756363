"""By hand: make the previous champion champion again."""

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from biometric_airflow.deciding import tell_decision
from biometric_airflow.stages import run_stage
from biometric_airflow.wiring import dag_defaults, parse_config

CONFIG = parse_config()


@task(retries=0)  # twice would lead back to the model that was rolled back
def rollback() -> dict[str, Any]:
    """Move the alias back, put the reason on record and tell people."""
    decided = run_stage("rollback", reason=get_current_context()["params"]["reason"])
    tell_decision(decided)
    return decided


@dag(
    dag_id="biometric_rollback",
    schedule=None,
    description="Make the previous champion champion again",
    doc_md=CONFIG.doc("""
### Take a promotion back

Moves the alias `champion` to the version it had before. The reason goes into the decisions table.
The next day is watched by that version, against its own reference.
"""),
    params={"reason": Param("", type="string", minLength=3, title="Reason", description="Why")},
    **dag_defaults(CONFIG),
)
def biometric_rollback() -> None:
    """Wire the stage."""
    rollback()


biometric_rollback()
