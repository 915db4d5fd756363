"""When a run must be done, and who is told when it isn't."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference

from biometric_airflow.notices import DeadlineNotice

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class IntervalEnd(BaseDeadlineReference):
    """The end of a scheduled run's data interval: a day can be watched from its end on.

    Runs by hand and of a backfill have no deadline: their interval may be long past. The scheduler
    evaluates it when it makes the run; the plugin registers it.
    """

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: "Session", dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from sqlalchemy import select

        chosen = (DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        run = session.scalar(select(DagRun).where(*chosen))
        if run is None or run.run_type != "scheduled":
            return None
        end: datetime | None = run.data_interval_end
        return end


def after_interval(hours: float | None) -> dict[str, Any]:
    """The `deadline` argument of a DAG whose scheduled runs watch an interval; none for None."""
    return _deadline(IntervalEnd(), hours)


def after_queueing(hours: float | None) -> dict[str, Any]:
    """The `deadline` argument of a DAG that is done so long after it is asked for."""
    return _deadline(DeadlineReference.DAGRUN_QUEUED_AT, hours)


def _deadline(reference: BaseDeadlineReference, hours: float | None) -> dict[str, Any]:
    if hours is None:
        return {}
    # Synchronous: the executor runs it. An AsyncCallback would need a triggerer.
    told = SyncCallback(DeadlineNotice)
    return {"deadline": DeadlineAlert(reference, timedelta(hours=hours), told)}
