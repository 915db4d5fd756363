"""Which captures a run is about: params, else the interval it owns."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

START = datetime(2026, 1, 5, tzinfo=UTC)


def context(run_type: str, interval: bool = True, **params: Any) -> dict[str, Any]:
    given = {"as_of": None, "day": None, **params}
    told: dict[str, Any] = {"params": given, "dag_run": SimpleNamespace(run_type=run_type)}
    if interval:
        told |= {"data_interval_start": START, "data_interval_end": START + timedelta(days=1)}
    return told


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_a_scheduled_run_owns_its_interval(run_type: str) -> None:
    from biometric_airflow.intervals import monitored_day, training_as_of

    assert monitored_day(context(run_type)) == date(2026, 1, 5)
    assert training_as_of(context(run_type)) == "2026-01-06T00:00:00+00:00"


def test_params_win() -> None:
    from biometric_airflow.intervals import monitored_day, training_as_of

    assert monitored_day(context("scheduled", day="2026-02-03")) == date(2026, 2, 3)
    assert training_as_of(context("scheduled", as_of="2026-02-03T00:00:00Z")).startswith("2026-02")


def test_a_run_by_hand_takes_what_there_is_now() -> None:
    from biometric_airflow.intervals import monitored_day, parse_time, training_as_of

    before = datetime.now(UTC)
    told = parse_time(training_as_of(context("manual")))
    assert told is not None
    assert before <= told <= datetime.now(UTC)
    yesterday = before.date() - timedelta(days=1)
    assert monitored_day(context("manual", interval=False)) >= yesterday


def test_times_without_a_zone_are_utc() -> None:
    from biometric_airflow.intervals import parse_time

    assert parse_time("2026-01-05T03:00:00") == START + timedelta(hours=3)
    assert parse_time(None) is None
