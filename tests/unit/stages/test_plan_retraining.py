"""Whether an alarm leads to a new model: read from the tables, once for every drift."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from biometric_core.config import Config
from biometric_core.history import drift_table
from biometric_core.history.drift_table import ALL, DAY, FAILURE_SHIFT, GENUINE_SHIFT
from biometric_core.schemas import TABLES, Modality
from biometric_core.stages.plan_retraining import plan_retraining
from biometric_core.stages.status import status
from biometric_core.storage.store import Store
from biometric_core.training.training_data import load_training_data
from tests.support.drift_story import (
    CHANGED,
    PEOPLE,
    at,
    changed_day,
    decide,
    failures,
    made_champion,
    system,
    with_settings,
)
from tests.support.tiny_store import fill


def _verdict(
    config: Config,
    day: date,
    *,
    outcome: str = "alarm",
    own: str | None = None,
    shift: float | None = -2.0,
    version: str = "1",
    sensor: str = "default",
    prefix: str = "",
    failures: tuple[float, str] | None = None,
) -> None:
    """What the monitor leaves behind: of one sensor, and of the day as a whole."""
    own = own or ("alarm" if outcome == "standing" else outcome)
    common = {"day": day, "model_version": version}
    group = common | {"modality": "iris", "sensor": sensor}
    rows = [
        group | {"statistic": prefix + drift_table.RESIDUAL_T2, "value": 50.0, "verdict": own},
        group
        | {"statistic": prefix + drift_table.GENUINE_SHIFT, "value": shift, "verdict": "calm"},
        common | {"modality": ALL, "sensor": ALL, "statistic": DAY, "verdict": outcome},
    ]
    if failures:
        value, verdict = failures
        rows.append(group | {"statistic": FAILURE_SHIFT, "value": value, "verdict": verdict})
    Store.of(config).append_new("drift", pa.Table.from_pylist(rows, schema=TABLES["drift"]))


@pytest.fixture
def alarmed(tmp_path) -> Config:
    """Forty people came through a changed sensor on the day of the alarm."""
    config = system(tmp_path)
    changed_day(config)
    return config


@pytest.mark.parametrize("outcome", ["calm", "suspect", "not_enough_subjects"])
def test_no_alarm_no_retraining(alarmed: Config, outcome: str) -> None:
    # A statistic below alpha is no alarm while the day's verdict waits for a second day.
    _verdict(alarmed, CHANGED, outcome=outcome, own="alarm")
    found = plan_retraining(alarmed, trigger="asset")
    assert (found.retrain, found.reason) == (False, "no drift alarm")


def test_a_pending_alarm_retrains_on_everything_up_to_its_day(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    found = plan_retraining(alarmed, trigger="asset")
    assert found.retrain
    assert (found.day, found.as_of) == ("2026-01-07", "2026-01-08T00:00:00+00:00")
    fitted = len(trained_on(alarmed, CHANGED, Modality.IRIS))
    assert found.numbers["new_captures"] == fitted, "the fingers' sensor has not moved"
    assert found.numbers["score_shift"] == -2.0


@pytest.mark.parametrize("decision", ["promoted", "rejected"])
def test_one_drift_is_answered_once(alarmed: Config, decision: str) -> None:
    _verdict(alarmed, CHANGED - timedelta(days=1))
    _verdict(alarmed, CHANGED)
    decide(alarmed, decision, CHANGED)
    found = plan_retraining(alarmed, trigger="asset")
    assert not found.retrain
    assert found.reason == f"the drift of 2026-01-07 was answered: version 2 was {decision}"


def test_a_later_alarm_is_pending_again_after_the_cooldown(alarmed: Config) -> None:
    decide(alarmed, "rejected", CHANGED - timedelta(days=1))
    _verdict(alarmed, CHANGED)
    assert plan_retraining(alarmed, trigger="asset").retrain
    patient = with_settings(alarmed, "retraining", cooldown_days=2)
    found = plan_retraining(patient, trigger="asset")
    assert not found.retrain
    assert "cooldown" in found.reason
    assert found.day == "2026-01-07"


def test_the_cooldown_counts_from_the_last_day_of_the_champions_data(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    days = plan_retraining(alarmed, trigger="asset").numbers["days_since_last"]
    assert days == (CHANGED - date(2026, 1, 1)).days


def test_too_few_captures_wait(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    demanding = with_settings(alarmed, "retraining", min_new_captures=PEOPLE + 1)
    found = plan_retraining(demanding, trigger="asset")
    assert not found.retrain
    assert f"only {found.numbers['new_captures']} captures to train on" in found.reason


def trained_on(config: Config, day: date, modality: Modality) -> set[str]:
    """What a training on everything up to and with a day would fit of that day."""
    found = load_training_data(config, as_of=at(day) + timedelta(hours=12)).train[modality]
    of_day = found.captured_at.astype("datetime64[D]") == np.datetime64(day)
    return set(found.capture_id[of_day].tolist())


def test_captures_that_can_not_be_trained_on_do_not_count(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    fitted = trained_on(alarmed, CHANGED, Modality.IRIS)
    assert 0 < len(fitted) < PEOPLE / 2, "half of them train, less the reserved captures"
    failures(alarmed, CHANGED, 20)
    tomorrow = CHANGED + timedelta(days=1)
    fill(alarmed, subjects=PEOPLE, impressions=range(7, 8), day=at(tomorrow))
    plan = plan_retraining(alarmed, trigger="asset")
    assert plan.numbers["new_captures"] == len(fitted)
    demanding = with_settings(alarmed, "retraining", min_new_captures=len(fitted) + 1)
    assert not plan_retraining(demanding, trigger="asset").retrain


def test_captures_of_nobody_known_do_not_count(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    before = plan_retraining(alarmed, trigger="asset").numbers["new_captures"]
    names = [f"unknown{number}" for number in range(30)]
    columns = {"capture_id": names, "captured_at": [at(CHANGED)] * 30}
    columns |= {"modality": ["iris"] * 30, "sensor": ["default"] * 30}
    rows = {
        field.name: pa.array(columns.get(field.name, [None] * 30), field.type)
        for field in TABLES["captures"]
    }
    Store.of(alarmed).append_new("captures", pa.table(rows, schema=TABLES["captures"]))
    assert plan_retraining(alarmed, trigger="asset").numbers["new_captures"] == before


def test_captures_of_sensors_that_have_not_moved_are_no_new_ones(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED - timedelta(days=1), sensor="door-3")
    _verdict(alarmed, CHANGED, outcome="standing", own="calm", sensor="door-4")
    _verdict(alarmed, CHANGED, own="suspect", sensor="door-5")
    for offset, door in enumerate(("door-3", "door-4", "door-5")):
        span = range(7 + offset, 8 + offset)
        fill(alarmed, subjects=30 + offset, impressions=span, day=at(CHANGED), sensor=door)
    found = plan_retraining(alarmed, trigger="asset")
    captures = load_training_data(alarmed).train[Modality.IRIS]
    fitted = {door: int((captures.sensor == door).sum()) for door in np.unique(captures.sensor)}
    assert min(fitted["door-3"], fitted["door-4"], fitted["door-5"]) > 0
    assert found.numbers["new_captures"] == fitted["door-3"] + fitted["door-5"]
    assert found.sensors == (("iris", "door-3"), ("iris", "door-5"))
    assert plan_retraining(alarmed, trigger="manual", force=True).sensors == found.sensors


def test_a_standing_drift_is_retrained_for_when_its_alarm_was_slept_through(
    alarmed: Config,
) -> None:
    _verdict(alarmed, CHANGED, outcome="standing")
    found = plan_retraining(alarmed, trigger="manual")
    assert found.retrain
    assert found.day == "2026-01-07"


def test_a_drift_confirmed_by_two_suspect_days_counts_with_the_sensor_that_is_suspect(
    alarmed: Config,
) -> None:
    _verdict(alarmed, CHANGED, own="suspect")
    found = plan_retraining(alarmed, trigger="asset")
    assert found.retrain
    assert found.numbers["moved"] == ["iris, sensor default"]


def test_a_slow_drift_is_seen_by_what_the_recent_days_say(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED, prefix="trend_", shift=-0.7)
    found = plan_retraining(alarmed, trigger="asset")
    assert found.retrain
    assert found.numbers["score_shift"] == -0.7


def test_more_failures_to_acquire_are_harm_where_they_moved_by_themselves(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED, shift=0.3, failures=(0.2, "alarm"))
    found = plan_retraining(alarmed, trigger="asset")
    assert found.retrain
    assert "failures to acquire rose by 0.2" in found.reason


@pytest.mark.parametrize("failures", [(0.01, "calm"), (-0.2, "alarm")])
def test_failures_by_chance_or_fewer_of_them_are_no_harm(
    alarmed: Config, failures: tuple[float, str]
) -> None:
    _verdict(alarmed, CHANGED, shift=0.3, failures=failures)
    assert not plan_retraining(alarmed, trigger="asset").retrain


@pytest.mark.parametrize("shift", [None, float("nan")])
def test_a_shift_that_is_not_known_is_no_reason(alarmed: Config, shift: float | None) -> None:
    _verdict(alarmed, CHANGED, shift=shift)
    assert not plan_retraining(alarmed, trigger="asset").retrain


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_a_shift_that_does_no_harm_is_no_reason(alarmed: Config, shift: float) -> None:
    _verdict(alarmed, CHANGED, shift=shift)
    # Another sensor scores worse, but it is the first one that has the alarm.
    rows = [
        {
            "sensor": "other",
            "statistic": drift_table.GENUINE_SHIFT,
            "value": -9.0,
            "verdict": "calm",
        }
    ]
    common = {"day": CHANGED, "model_version": "1", "modality": "iris"}
    table = pa.Table.from_pylist([common | row for row in rows], schema=TABLES["drift"])
    Store.of(alarmed).append_new("drift", table)
    found = plan_retraining(alarmed, trigger="asset")
    assert not found.retrain
    assert "no lower" in found.reason


def test_an_alarm_of_an_earlier_champion_is_history(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    made_champion(alarmed, as_of=at(CHANGED + timedelta(days=1)))
    found = plan_retraining(alarmed, trigger="asset")
    assert not found.retrain
    assert found.reason.startswith("the drift of 2026-01-07 was found by version 1")


def test_a_person_may_force_it(alarmed: Config) -> None:
    found = plan_retraining(alarmed, trigger="manual", force=True)
    assert found.retrain
    assert found.day is None
    assert found.as_of == "2026-01-08T00:00:00+00:00"
    assert "forced (manual)" in found.reason


def test_three_alarms_at_once_are_one_retraining_for_all_of_them(alarmed: Config) -> None:
    for back in (2, 1, 0):
        _verdict(alarmed, CHANGED - timedelta(days=back))
    found = plan_retraining(alarmed, trigger="asset")
    assert (found.day, found.as_of) == ("2026-01-05", "2026-01-08T00:00:00+00:00")
    decide(alarmed, "promoted", CHANGED - timedelta(days=2), until=CHANGED)
    assert not plan_retraining(alarmed, trigger="asset").retrain


def test_a_drift_reaches_back_to_its_first_day_and_no_further(alarmed: Config) -> None:
    for back, outcome in ((4, "alarm"), (3, "calm"), (2, "alarm"), (1, "standing")):
        _verdict(alarmed, CHANGED - timedelta(days=back), outcome=outcome)
    _verdict(alarmed, CHANGED, outcome="standing")
    assert plan_retraining(alarmed, trigger="asset").day == "2026-01-05"


def test_a_drift_that_goes_on_after_its_answer_waits_for_its_next_alarm(alarmed: Config) -> None:
    first = CHANGED - timedelta(days=1)
    _verdict(alarmed, first)
    decide(alarmed, "rejected", first)
    _verdict(alarmed, CHANGED, outcome="standing")
    found = plan_retraining(alarmed, trigger="manual")
    assert (found.retrain, found.reason) == (
        False,
        "the drift of 2026-01-06 was answered: version 2 was rejected",
    )
    _verdict(alarmed, CHANGED + timedelta(days=1))
    assert plan_retraining(alarmed, trigger="asset").day == "2026-01-06"


def test_scores_that_fell_by_chance_are_no_reason(alarmed: Config) -> None:
    _verdict(alarmed, CHANGED)
    rows = Store.of(alarmed).read("drift")
    raw = [0.6 if name == GENUINE_SHIFT else None for name in rows["statistic"].to_pylist()]
    column = rows.schema.get_field_index("raw_p_value")
    rows = rows.set_column(column, "raw_p_value", pa.array(raw, pa.float64()))
    Store.of(alarmed).replace("drift", rows, "true")
    assert not plan_retraining(alarmed, trigger="asset").retrain


def test_an_answer_does_not_bury_what_another_sensor_did_on_an_earlier_day(alarmed: Config) -> None:
    earlier = CHANGED - timedelta(days=1)
    fill(alarmed, subjects=PEOPLE, impressions=range(7, 8), day=at(earlier), sensor="door-4")
    _verdict(alarmed, CHANGED)
    decide(alarmed, "rejected", CHANGED, sensors=[("iris", "default")])
    assert not plan_retraining(alarmed, trigger="asset").retrain
    _verdict(alarmed, earlier, sensor="door-4")  # the day is made up for
    found = plan_retraining(alarmed, trigger="asset")
    assert (found.retrain, found.day) == (True, earlier.isoformat()), found.reason
    assert found.sensors == (("iris", "door-4"),)
    told = status(alarmed)
    assert told["retraining"]["due"]
    assert [one["answered"] for one in told["alarms"]] == ["version 2 rejected"]
    decide(alarmed, "promoted", earlier, sensors=[("iris", "door-4")])
    assert not plan_retraining(alarmed, trigger="asset").retrain


def test_an_answered_alarm_does_not_count_as_answered_for_a_sensor_beside_it(
    alarmed: Config,
) -> None:
    """Judged again with captures that came late, the day has another sensor that moved."""
    _verdict(alarmed, CHANGED)
    decide(alarmed, "rejected", CHANGED, sensors=[("fingerprint", "default")])
    found = plan_retraining(alarmed, trigger="asset")
    assert (found.retrain, found.sensors) == (True, (("iris", "default"),)), found.reason
    assert status(alarmed)["alarms"][0]["answered"] is None


def test_a_day_of_the_sensor_that_was_answered_is_answered_when_it_is_made_up_for(
    alarmed: Config,
) -> None:
    _verdict(alarmed, CHANGED)
    decide(alarmed, "rejected", CHANGED, sensors=[("iris", "default")])
    _verdict(alarmed, CHANGED - timedelta(days=1))
    found = plan_retraining(alarmed, trigger="asset")
    assert not found.retrain
    assert "was answered" in found.reason
