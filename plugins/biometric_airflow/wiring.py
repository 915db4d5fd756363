"""Schedules, defaults and the asset of the biometric DAGs, from the configuration.

Read at every parse of a DAG file: nothing heavy is imported here.
"""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from airflow.sdk import Asset, CronDataIntervalTimetable

from biometric_airflow.notices import FailureNotice
from biometric_core.config import Config, load_config

POOL = "biometric_heavy"
QUEUE = "ml"
TAGS = ["biometric"]

DRIFT = Asset("biometric_drift", uri="biometric://drift")
"""Has an event when a day's captures have drifted; the event says day, p-value and report."""

HEAVY: dict[str, Any] = {"pool": POOL}
_MAX_RETRY_DELAY = timedelta(minutes=30)


def cron(expression: str | None) -> CronDataIntervalTimetable | None:
    """A schedule whose runs have a data interval, so that a backfill of past days is right."""
    return CronDataIntervalTimetable(expression, timezone="UTC") if expression else None


def dag_defaults(config: Config, *tags: str) -> dict[str, Any]:
    """Arguments every biometric DAG has; `tags` come on top of the common ones."""
    schedules = config.schedules
    return {
        "start_date": datetime.combine(schedules.start_date, time(), UTC),
        "catchup": False,
        "max_active_runs": 1,
        "tags": [*TAGS, *tags],
        "on_failure_callback": FailureNotice(),
        "default_args": {
            "owner": "biometric",
            "queue": QUEUE,
            "retries": schedules.retries,
            "retry_delay": timedelta(seconds=schedules.retry_delay_seconds),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": _MAX_RETRY_DELAY,
            # On tasks as well: callbacks of DAGs alone have been missed (apache/airflow#63374).
            "on_failure_callback": FailureNotice(),
        },
    }


def parse_config() -> Config:
    """The configuration, for schedules and retries at parse time."""
    return load_config()
