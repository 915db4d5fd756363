"""An approval by a person that a run's params switch on.

Loaded by every Airflow process: nothing heavy may be imported here.
"""

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator


class OptionalApproval(ApprovalOperator):
    """Waits for Approve or Reject in the UI, or goes straight on where the run doesn't ask for it.

    A waiting task holds no worker slot. Reject, or no answer in time, skips what follows.

    Args:
        param: name of the boolean DAG param that asks for approval.
    """

    def __init__(self, *, param: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.param = param

    def execute(self, context: Any) -> Any:
        """Ask, where the run wants to be asked."""
        if not context["params"].get(self.param):
            self.log.info("no approval is asked for")
            return None
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Take the answer; returns who gave it as `approved_by`."""
        super().execute_complete(context, event)
        user = event.get("responded_by_user") or {}
        return {"approved_by": user.get("name") or user.get("id") or "nobody (timeout)"}
