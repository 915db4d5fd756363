"""When a drift is confirmed, when its alarm is told again, and since when it is so."""

from datetime import date, timedelta
from typing import Any

import pytest

from biometric_core.config import Monitoring
from biometric_core.history import drift_table
from biometric_core.history.drift_table import ALL, DAY, Outcome
from biometric_core.monitoring.alarms import day_alarm
from biometric_core.monitoring.verdicts import Verdict, outcome_of

FIRST = date(2026, 1, 1)
SETTINGS = Monitoring(cooldown_days=5, suspect_alpha=0.05)


def _row(
    p_value: float | None, statistic: str = drift_table.RESIDUAL_T2, sensor: str = "a"
) -> Verdict:
    outcome = Outcome.NOT_ENOUGH if p_value is None else outcome_of(p_value, SETTINGS)
    return Verdict("iris", sensor, statistic, 1.0, p_value, 0.01, 20, outcome.value, p_value)


def _days(
    days: list[list[Verdict]], settings: Monitoring = SETTINGS, first: date = FIRST
) -> list[Any]:
    """Verdicts of days in a row, each with those before it as its history."""
    history: list[dict[str, Any]] = []
    found = []
    for offset, verdicts in enumerate(days):
        day = first + timedelta(days=offset)
        made = day_alarm(verdicts, history, settings, day)
        found.append(made)
        history += [{**vars(row), "day": day} for row in (*verdicts, made.row(settings))]
    return found


def _outcomes(*p_values: float | None, settings: Monitoring = SETTINGS, **row: str) -> list[str]:
    return [made.verdict.value for made in _days([[_row(p, **row)] for p in p_values], settings)]


def test_a_strong_day_alarms_at_once() -> None:
    assert _outcomes(0.5, 0.005) == ["calm", "alarm"]


def test_one_suspect_day_waits_for_another_within_three() -> None:
    assert _outcomes(0.03) == ["suspect"]
    assert _outcomes(0.03, 0.03) == ["suspect", "alarm"]
    assert _outcomes(0.03, 0.5, 0.03) == ["suspect", "calm", "alarm"]
    assert _outcomes(0.03, 0.5, 0.5, 0.03) == ["suspect", "calm", "calm", "suspect"]


def test_days_that_are_suspect_at_different_sensors_confirm_nothing() -> None:
    days = [[_row(0.03, sensor="a")], [_row(0.03, sensor="b")]]
    assert [made.verdict for made in _days(days)] == [Outcome.SUSPECT, Outcome.SUSPECT]


def test_recent_days_that_repeat_themselves_confirm_nothing() -> None:
    trend = f"trend_{drift_table.RESIDUAL_T2}"
    assert _outcomes(0.03, 0.03, statistic=trend) == ["suspect", "suspect"]
    assert _outcomes(0.005, statistic=trend) == ["alarm"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("at_once", ["suspect", "suspect", "alarm"]),
        ("two_of_three", ["suspect", "alarm", "standing"]),
        ("either", ["suspect", "alarm", "standing"]),
    ],
)
def test_the_rule_of_confirmation_is_a_setting(rule: str, expected: list[str]) -> None:
    settings = SETTINGS.model_copy(update={"confirmation": rule})
    assert _outcomes(0.03, 0.03, 0.005, settings=settings) == expected


def test_two_of_three_waits_for_the_second_day_however_strong_the_first() -> None:
    settings = SETTINGS.model_copy(update={"confirmation": "two_of_three"})
    assert _outcomes(0.001, 0.001, settings=settings) == ["suspect", "alarm"]


def test_an_alarm_stands_for_the_cooldown_and_is_told_again_after_it() -> None:
    assert _outcomes(*[0.001] * 7) == ["alarm", *["standing"] * 4, "alarm", "standing"]


def test_another_sensor_that_drifts_while_an_alarm_stands_is_told() -> None:
    days = [[_row(0.001)], [_row(0.001), _row(0.001, sensor="b")], [_row(0.001, sensor="b")]]
    assert [made.verdict.value for made in _days(days)] == ["alarm", "alarm", "standing"]


def test_a_sensor_that_was_suspect_while_an_alarm_stood_is_told_once_it_is_confirmed() -> None:
    days = [
        [_row(0.001), _row(0.5, sensor="b")],
        [_row(0.001), _row(0.03, sensor="b")],
        [_row(0.5), _row(0.001, sensor="b")],
        [_row(0.5), _row(0.001, sensor="b")],
    ]
    assert [made.verdict.value for made in _days(days)] == [
        "alarm",
        "standing",
        "alarm",
        "standing",
    ]


def test_a_suspicion_of_long_ago_confirms_nothing() -> None:
    row = _row(0.03)
    history = [{**vars(row), "day": FIRST}]
    assert day_alarm([row], history, SETTINGS, FIRST + timedelta(days=6)).verdict == "alarm"
    assert day_alarm([row], history, SETTINGS, FIRST + timedelta(days=7)).verdict == "suspect"


def test_the_sentence_says_what_moved_and_since_when() -> None:
    days = _days([[_row(0.5)], [_row(0.03)], [_row(0.001)], [_row(0.02)]])
    assert days[2].reason == "iris, sensor a: residual_t2 (p = 0.001), since 2026-01-02"
    assert days[3].reason == (
        "alarm of 2026-01-03 stands: iris, sensor a: residual_t2 (p = 0.02), since 2026-01-02"
    )


def test_a_day_without_enough_people_is_no_calm_day() -> None:
    made = _days([[_row(None)]])[0]
    assert (made.verdict, made.p_value) == (Outcome.NOT_ENOUGH, None)


def test_the_row_of_a_day_holds_its_smallest_p_value() -> None:
    made = _days([[_row(0.5), _row(0.2, statistic=drift_table.GENUINE_SHIFT)]])[0].row(SETTINGS)
    assert (made.modality, made.sensor, made.statistic) == (ALL, ALL, DAY)
    assert (made.p_value, made.verdict) == (0.2, "calm")
