"""A failed task or run as one line that a person can act on."""

import logging
from typing import Any

from airflow.sdk import BaseNotifier

_log = logging.getLogger(__name__)


class FailureNotice(BaseNotifier):
    """Log which task or run failed, why, and where to look."""

    template_fields = ()

    def notify(self, context: Any) -> None:
        """Write the notice; runs in the worker for a task, in the DAG processor for a run.

        Args:
            context: the context Airflow hands to callbacks.
        """
        run = context.get("dag_run")
        instance = context.get("task_instance") or context.get("ti")
        what = f"task {instance.task_id}" if instance else "the run"
        _log.error(
            "%s of %s failed (run %s): %s. Open the run in Airflow, read the task's log, mend the "
            "cause and clear the task: every stage can be repeated.",
            what,
            run.dag_id if run else "a DAG",
            run.run_id if run else "unknown",
            context.get("exception") or context.get("reason") or "see its log",
        )
