"""Which captures a run is about: params, else the interval it owns."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

START = datetime(2026, 1, 5, tzinfo=UTC)


def a_run(run_type: str, state: str = "running") -> SimpleNamespace:
    """As much of a run as is looked at, in the types that a worker gets."""
    from airflow.sdk.api.datamodels._generated import DagRunState, DagRunType

    return SimpleNamespace(
        run_type=DagRunType(run_type), state=DagRunState(state), run_id=f"{run_type}__1"
    )


def context(run_type: str, interval: bool = True, **params: Any) -> dict[str, Any]:
    given = {"as_of": None, "day": None, **params}
    told: dict[str, Any] = {"params": given, "dag_run": a_run(run_type)}
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


@pytest.mark.parametrize(
    ("before", "done"),
    [
        (None, True),
        (("scheduled", "success"), True),
        (("scheduled", "failed"), True),
        (("scheduled", "running"), False),
        (("backfill", "running"), False),
        (("backfill", "queued"), False),
    ],
)
def test_a_day_waits_while_an_earlier_one_is_under_way(
    before: tuple[str, str] | None, done: bool
) -> None:
    from biometric_airflow.intervals import earlier_days_done

    assert earlier_days_done(after(before, "scheduled")) is done


def test_a_backfill_may_not_go_backwards() -> None:
    from biometric_airflow.intervals import earlier_days_done

    assert not earlier_days_done(after(("backfill", "running"), "backfill"))
    with pytest.raises(RuntimeError, match="without --run-backwards"):
        earlier_days_done(after(("backfill", "queued"), "backfill"))


def after(before: tuple[str, str] | None, run_type: str) -> dict[str, Any]:
    earlier = a_run(*before) if before else None
    return {**context(run_type), "ti": SimpleNamespace(get_previous_dagrun=lambda: earlier)}
