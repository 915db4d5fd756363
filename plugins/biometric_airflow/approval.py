"""An approval by a person, where the configuration or a run's params ask for it.

Loaded by every Airflow process: nothing heavy may be imported here.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param

TASK = "approve"
PARAM = Param(
    None,
    type=["null", "boolean"],
    title="Ask a person",
    description="Wait for approval before the gate may promote; as gate.approval says when empty",
)


def is_asked(given: bool | None, setting: str, *, drift: bool) -> bool:
    """Whether a run waits for a person.

    Args:
        given: what the run's params say; None where they leave it to the configuration.
        setting: `gate.approval`: never, drift or always.
        drift: the run is one that answers drift.
    """
    if given is not None:
        return given
    return setting == "always" or (setting == "drift" and drift)


class OptionalApproval(ApprovalOperator):
    """Waits for Approve or Reject in the UI, or goes straight on where nobody is to be asked.

    A waiting task holds no worker slot, and no triggerer is needed. No answer in time is a Reject.
    What follows runs in either case: a Reject goes on record as a decision.

    Args:
        hours: how long a person has.
        setting: `gate.approval`, for runs that don't say.
        drift: the DAG answers drift.
    """

    def __init__(
        self, *, hours: float, setting: str = "never", drift: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(
            task_id=TASK,
            response_timeout=timedelta(hours=hours),
            defaults=self.REJECT,
            execution_timeout=None,  # it would count the time a person takes
            **kwargs,
        )
        self.hours = hours
        self.setting = setting
        self.drift = drift

    def execute(self, context: Any) -> Any:
        """Ask, where the run or the configuration wants it."""
        if not is_asked(context["params"].get("approval"), self.setting, drift=self.drift):
            self.log.info("no approval is asked for")
            return None
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Take the answer.

        Returns:
            `approved`; `by`, the person; `reason`, one sentence for the record.
        """
        # Past ApprovalOperator, which would skip what follows a Reject.
        answer = super(ApprovalOperator, self).execute_complete(context, event)
        approved = answer["chosen_options"] == [self.APPROVE]
        user = event.get("responded_by_user") or {}
        by = user.get("name") or user.get("id")
        said = "approved" if approved else "rejected"
        reason = f"{said} by {by}" if by else f"nobody answered within {self.hours:g} hours"
        self.log.info("%s", reason)
        return {"approved": approved, "by": by, "reason": reason}
