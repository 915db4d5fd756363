"""Whether an alarm leads to a new model: read from the tables, once for every drift."""

from datetime import date, timedelta

import pyarrow as pa
import pytest
from drift_story import (
    CHANGED,
    PEOPLE,
    at,
    changed_day,
    decide,
    made_champion,
    system,
    with_settings,
)

from biometric_core import drift
from biometric_core.config import Config
from biometric_core.retraining import plan
from biometric_core.schemas import TABLES
from biometric_core.store import Store


def _verdict(
    config: Config,
    day: date,
    *,
    shift: float = -2.0,
    alarm: bool = True,
    version: str = "1",
    sensor: str = "default",
) -> None:
    common = {"day": day, "model_version": version, "modality": "iris", "sensor": sensor}
    outcome = "alarm" if alarm else "calm"
    rows = [
        common | {"statistic": drift.RESIDUAL_T2, "value": 50.0, "verdict": outcome},
        common | {"statistic": drift.GENUINE_SHIFT, "value": shift, "verdict": "calm"},
    ]
    Store.of(config).append_new("drift", pa.Table.from_pylist(rows, schema=TABLES["drift"]))


@pytest.fixture
def alarmed(tmp_path) -> Config:
    """Forty people came through a changed sensor on the day of the alarm."""
    config = system(tmp_path)
    changed_day(config)
    return config


def test_no_alarm_no_retraining(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED, alarm=False)
    found = plan(alarmed, trigger="asset")
    assert (found.retrain, found.reason) == (False, "no drift alarm")


def test_a_pending_alarm_retrains_on_everything_up_to_its_day(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    found = plan(alarmed, trigger="asset")
    assert found.retrain
    assert (found.day, found.as_of) == ("2026-01-07", "2026-01-08T00:00:00+00:00")
    assert found.numbers["new_captures"] == 2 * PEOPLE
    assert found.numbers["score_shift"] == -2.0


@pytest.mark.parametrize("decision", ["promoted", "rejected"])
def test_one_drift_is_answered_once(alarmed: Config, decision: str) -> None:
    _verdict(alarmed, CHANGED - timedelta(days=1))
    _verdict(alarmed, CHANGED)
    decide(alarmed, decision, CHANGED)
    found = plan(alarmed, trigger="asset")
    assert not found.retrain
    assert found.reason == f"the drift of 2026-01-07 was answered: version 2 was {decision}"


def test_a_later_alarm_is_pending_again_after_the_cooldown(alarmed: Config) -> None:
    decide(alarmed, "rejected", CHANGED - timedelta(days=1))
    _verdict(alarmed, CHANGED)
    assert plan(alarmed, trigger="asset").retrain
    patient = with_settings(alarmed, "retraining", cooldown_days=2)
    found = plan(patient, trigger="asset")
    assert not found.retrain
    assert "cooldown" in found.reason
    assert found.day == "2026-01-07"


def test_the_cooldown_counts_from_the_last_day_of_the_champions_data(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    days = plan(alarmed, trigger="asset").numbers["days_since_last"]
    assert days == (CHANGED - date(2026, 1, 1)).days


def test_too_few_captures_wait(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    demanding = with_settings(alarmed, "retraining", min_new_captures=2 * PEOPLE + 1)
    found = plan(demanding, trigger="asset")
    assert not found.retrain
    assert "80 captures" in found.reason


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_a_shift_that_does_no_harm_is_no_reason(alarmed: Config, shift: float) -> None:
    _verdict(alarmed, CHANGED, shift=shift)
    # Another sensor scores worse, but it is the first one that has the alarm.
    _verdict(alarmed, CHANGED, shift=-9.0, alarm=False, sensor="other")
    found = plan(alarmed, trigger="asset")
    assert not found.retrain
    assert "no lower" in found.reason


def test_an_alarm_of_an_earlier_champion_is_history(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    made_champion(alarmed, as_of=at(CHANGED + timedelta(days=1)))
    found = plan(alarmed, trigger="asset")
    assert not found.retrain
    assert found.reason.startswith("the drift of 2026-01-07 was found by version 1")


def test_a_person_may_force_it(alarmed: Config) -> None:
    found = plan(alarmed, trigger="manual", force=True)
    assert found.retrain
    assert found.day is None
    assert found.as_of == "2026-01-08T00:00:00+00:00"
    assert "forced (manual)" in found.reason


def test_three_alarms_at_once_are_one_retraining_for_the_newest(alarmed: Config) -> None:
    for back in (2, 1, 0):
        _verdict(alarmed, CHANGED - timedelta(days=back))
    assert plan(alarmed, trigger="asset").day == "2026-01-07"
    decide(alarmed, "promoted", CHANGED)
    assert not plan(alarmed, trigger="asset").retrain
