from datetime import UTC, date, datetime, timedelta

import pytest

from biometric_core.times import in_future, parse_day, parse_time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2027-01-06T02:00:00+05:30", datetime(2027, 1, 5, 20, 30)),
        ("2027-01-06 02:00 +0530", datetime(2027, 1, 5, 20, 30)),
        ("2027-01-06T02:00-05", datetime(2027, 1, 6, 7)),
        ("2027-01-06T02:00Z", datetime(2027, 1, 6, 2)),
        ("2027-01-06T02:00", datetime(2027, 1, 6, 2)),
        ("2027-01-06T02:00:00.5", datetime(2027, 1, 6, 2, 0, 0, 500_000)),
        (" 2027-01-06 ", datetime(2027, 1, 6)),
        ("1970-01-01", datetime(1970, 1, 1)),
        ("2100-12-31T23:59", datetime(2100, 12, 31, 23, 59)),
    ],
)
def test_a_time_is_told_in_utc(text, time):
    assert parse_time(text) == time.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("today", "write a time as 2026-01-31"),
        ("", "write a time as"),
        ("06.01.2027", "write a time as"),
        ("2027-1-6", "write a time as"),
        ("20270106", "write a time as"),
        ("1736035200", "write a time as"),
        ("2027-W01-1", "write a time as"),
        ("2027-02-30", "doesn't exist"),
        ("2027-01-06T25:00", "doesn't exist"),
        ("2027-01-06T02:00+99:00", "doesn't exist"),
        ("0001-01-01", "1970 to 2100"),
        ("2207-01-01", "1970 to 2100"),
        ("0001-01-01T00:00+05:00", "1970 to 2100"),
        ("9999-12-31T23:00-05:00", "1970 to 2100"),
        ("1970-01-01T00:00+05:00", "1970 to 2100"),
        ("2100-12-31T23:30-01:00", "1970 to 2100"),
    ],
)
def test_what_is_no_time_is_refused_with_the_form(text, said):
    with pytest.raises(ValueError, match=said):
        parse_time(text)


def test_days():
    assert parse_day("2026-01-31") == date(2026, 1, 31)
    for text in (
        "2026-02-30",
        "2026-01-31T00:00",
        "yesterday",
        "20260131",
        "1969-12-31",
        "2101-01-01",
    ):
        with pytest.raises(ValueError, match=r"is no day|doesn't exist|1970 to 2100"):
            parse_day(text)


def test_the_future_begins_after_tomorrow():
    now = datetime.now(UTC)
    assert not in_future(now + timedelta(hours=23))
    assert in_future(now + timedelta(hours=25))
