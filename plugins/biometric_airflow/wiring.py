"""Schedules, defaults and the asset of the biometric DAGs, from the configuration.

Read at every parse of a DAG file: nothing heavy is imported here.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from airflow.sdk import Asset, CronDataIntervalTimetable

from biometric_airflow.notices import FailureNotice
from biometric_core.config import Schedules, load_config
from biometric_core.errors import ConfigError

POOL = "biometric_heavy"
QUEUE = "ml"
TAGS = ["biometric"]
BROKEN = "the configuration can't be read"

DRIFT = Asset("biometric_drift", uri="biometric://drift")
"""Has an event when a day's captures have drifted; the event says day, p-value and report."""

HEAVY: dict[str, Any] = {"pool": POOL}
_log = logging.getLogger(__name__)
_MAX_RETRY_DELAY = timedelta(minutes=30)


def cron(expression: str | None) -> CronDataIntervalTimetable | None:
    """A schedule whose runs have a data interval, so that a backfill of past days is right."""
    return CronDataIntervalTimetable(expression, timezone="UTC") if expression else None


@dataclass(frozen=True)
class ParsedConfig:
    """What a DAG file needs of the configuration.

    Attributes:
        schedules: as configured; the defaults where the configuration can't be read.
        problem: why it can't be; None where it can.
        approval: `gate.approval`.
    """

    schedules: Schedules
    problem: str | None = None
    approval: str = "never"

    def doc(self, text: str | None) -> str:
        """The documentation of a DAG, with what is wrong at its top."""
        if self.problem is None:
            return text or ""
        return f"**{BROKEN}, so every task fails:**\n\n    {self.problem}\n\n{text or ''}"


def dag_defaults(config: ParsedConfig, *tags: str) -> dict[str, Any]:
    """Arguments every biometric DAG has; `tags` come on top of the common ones."""
    schedules = config.schedules
    return {
        "start_date": datetime.combine(schedules.start_date, time(), UTC),
        "catchup": False,
        "max_active_runs": 1,
        "tags": [*TAGS, *tags, *([BROKEN] if config.problem else [])],
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


def parse_config() -> ParsedConfig:
    """The configuration, for schedules and retries at parse time.

    One that can't be read must not make the DAGs vanish: they say what is wrong, their runs come
    and fail with it, and people are told as of any failure.
    """
    try:
        config = load_config()
        return ParsedConfig(config.schedules, approval=config.gate.approval)
    except ConfigError as error:
        _log.error("%s: %s", BROKEN, error)
        return ParsedConfig(Schedules(), str(error))
