"""Times and days as people write them: ISO 8601, UTC where no zone is named, 1970 to 2100."""

import re
from datetime import UTC, date, datetime, timedelta

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,6})?)?( ?(Z|[+-]\d\d(:?\d\d)?))?)?", re.ASCII
)
_FIRST, _LAST = 1970, 2100
DAY_FORM = "write a day as 2026-01-31"
TIME_FORM = "write a time as 2026-01-31, 2026-01-31T14:30 (UTC) or 2026-01-31T14:30+02:00"


def parse_day(text: str) -> date:
    """The day that `2026-01-31` names.

    Raises:
        ValueError: it is written otherwise, doesn't exist, or lies outside 1970 to 2100.
    """
    if not _DAY.fullmatch(text.strip()):
        raise ValueError(f"is no day: {DAY_FORM}")
    try:
        day = date.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"doesn't exist ({error}): {DAY_FORM}") from None
    _in_range(day)
    return day


def parse_time(text: str) -> datetime:
    """The time that a text names, in UTC; an offset is converted, a day alone is its midnight.

    Raises:
        ValueError: it is written otherwise, doesn't exist, or lies outside 1970 to 2100.
    """
    if not _TIME.fullmatch(text.strip()):
        raise ValueError(f"is no time: {TIME_FORM}")
    try:
        time = datetime.fromisoformat(text.strip().replace(" +", "+").replace(" -", "-"))
    except ValueError as error:
        raise ValueError(f"doesn't exist ({error}): {TIME_FORM}") from None
    return valid_time(time)


def valid_time(time: datetime) -> datetime:
    """The time in UTC; one without a zone counts as UTC.

    Raises:
        ValueError: it lies outside 1970 to 2100.
    """
    _in_range(time.date())  # first: what lies near the year 1 can't be converted
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    _in_range(time.date())
    return time


def in_future(time: datetime) -> bool:
    """Whether a time lies later than a day from now: more than clocks and zones differ by."""
    return time > datetime.now(UTC) + timedelta(days=1)


def _in_range(day: date) -> None:
    if not _FIRST <= day.year <= _LAST:
        raise ValueError(f"lies outside {_FIRST} to {_LAST}")
