"""Which captures a run is about."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from airflow.sdk.exceptions import AirflowFailException

from biometric_core import times

T = TypeVar("T")
_BY_SCHEDULE = ("scheduled", "backfill")


def training_as_of(context: Mapping[str, Any]) -> str:
    """The end of a run's training data, ISO 8601.

    The `as_of` param, else the end of the data interval of a scheduled or backfilled run. A run by
    hand has the interval of some past week: it takes all captures there are.
    """
    given = context["params"].get("as_of")
    if given:
        return _told(times.parse_time, given, "as_of").isoformat()
    run = context["dag_run"]
    if run.run_type in _BY_SCHEDULE and context.get("data_interval_end"):
        return str(context["data_interval_end"].isoformat())
    return datetime.now(UTC).isoformat()


def monitored_day(context: Mapping[str, Any]) -> date:
    """The day a monitoring run looks at.

    The `day` param, else the day the data interval starts, else the last whole day (UTC).
    """
    given = context["params"].get("day")
    if given:
        return parse_day(given)
    start = context.get("data_interval_start")
    return start.date() if start else datetime.now(UTC).date() - timedelta(days=1)


def earlier_days_done(context: Mapping[str, Any]) -> bool:
    """Whether the run of the interval before is over, well or not; a run by hand waits for none.

    Raises:
        RuntimeError: it has not even begun, in the same backfill: that goes backwards.
    """
    before = context["ti"].get_previous_dagrun()
    if before is None or before.state not in ("queued", "running"):
        return True
    backfill = context["dag_run"].run_type == before.run_type == "backfill"
    if backfill and before.state == "queued":
        raise RuntimeError(
            f"run {before.run_id} of an earlier day has not begun: days are judged oldest first, "
            "create the backfill without --run-backwards"
        )
    return False


def parse_time(text: str | None) -> datetime | None:
    """A time from a param or an XCom, in UTC; UTC where it names no zone.

    Raises:
        AirflowFailException: it is no time; says the form to write.
    """
    return _told(times.parse_time, text, "as_of") if text else None


def parse_day(text: str) -> date:
    """The day of a param.

    Raises:
        AirflowFailException: it is no day; says the form to write.
    """
    return _told(times.parse_day, text, "day")


def _told(parse: Callable[[str], T], text: str, param: str) -> T:
    """What `parse` makes of a param; a retry would read the same text."""
    try:
        return parse(str(text))
    except ValueError as error:
        raise AirflowFailException(f"param {param}: {text!r} {error}") from None
