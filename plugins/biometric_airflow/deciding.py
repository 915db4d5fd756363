"""The last task of a training: the gate's decision or a person's, and who is told."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from airflow.sdk import get_current_context

from biometric_airflow import approval
from biometric_airflow.channels import tell
from biometric_airflow.notices import decision_notice
from biometric_airflow.stages import run_stage


def decide(
    version: str, *, trigger: str, as_of: datetime | None, drift_day: date | None = None
) -> dict[str, Any]:
    """Ask the gate, or record the Reject of the person who was asked; tell the decision.

    Args:
        version: the challenger's.
        trigger: training, drift or manual.
        as_of: measure on captures taken before.
        drift_day: the day of the drift that is answered.
    """
    answer = get_current_context()["ti"].xcom_pull(task_ids=approval.TASK) or {}
    question: dict[str, Any] = {"version": version, "trigger": trigger, "drift_day": drift_day}
    if answer and not answer["approved"]:
        decided = run_stage("reject", reason=answer["reason"], as_of=as_of, **question)
    else:
        by = answer.get("by")
        decided = run_stage("promote", as_of=as_of, approved_by=by, **question)
    tell_decision(decided)
    return decided


def tell_decision(decided: Mapping[str, Any]) -> None:
    """Tell a decision that was made now; one found on record was told when it was made.

    Found by a retry it is told again: the first try may have died before it told anybody.
    """
    context = get_current_context()
    if not decided["reused"] or context["ti"].try_number > 1:
        tell(decision_notice(decided), context)
