"""Which captures a run is about."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

_BY_SCHEDULE = ("scheduled", "backfill")


def training_as_of(context: Mapping[str, Any]) -> str:
    """The end of a run's training data, ISO 8601.

    The `as_of` param, else the end of the data interval of a scheduled or backfilled run. A run by
    hand has the interval of some past week: it takes all captures there are.
    """
    given = context["params"].get("as_of")
    if given:
        return str(given)
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
        return date.fromisoformat(given)
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
    """A time from a param or an XCom, ISO 8601; UTC where it names no zone."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
