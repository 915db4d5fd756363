from datetime import UTC, datetime

import pytest

from biometric_core.history import decisions
from biometric_core.history.drift_table import FAILURE_RATE, Outcome
from biometric_core.monitoring.report.trend import trend_picture
from biometric_core.reporting.over_days import Line, Panel, trend
from biometric_core.storage.store import Store
from tests.support.drift_days import SETTINGS, TODAY, before, day_row, row, stored
from tests.support.drift_story import system

PNG = b"\x89PNG"
DAYS = {
    before(number): [
        row(Outcome.CALM, p_value=0.3),
        row(Outcome.CALM, "trend_residual_t2", p_value=0.6),
        row(Outcome.INFORMATION, FAILURE_RATE, p_value=None, value=0.01 * number),
        day_row(Outcome.CALM),
    ]
    for number in range(1, 6)
}


@pytest.fixture
def config(tmp_path):
    return system(tmp_path)


CALM = row(Outcome.CALM)


def picture(config, today=(CALM,), days=DAYS) -> bytes | None:
    rows = stored({TODAY: [*today, day_row(Outcome.CALM)]})
    return trend_picture(Store.of(config), rows, stored(days), SETTINGS)


def promoted(day, drift_day=None, decision=decisions.PROMOTED) -> decisions.Decision:
    return decisions.Decision(
        decision=decision,
        reason="for the test",
        champion_version="2",
        challenger_version="3",
        decision_id=f"{day}{drift_day}{decision}",
        drift_day=drift_day,
        decided_at=datetime(day.year, day.month, day.day, 3, tzinfo=UTC).isoformat(),
    )


def test_the_same_days_give_the_same_picture(config) -> None:
    found = picture(config)
    assert found is not None
    assert found.startswith(PNG)
    assert found == picture(config)


def test_alarms_are_marked(config) -> None:
    alarmed = DAYS | {before(2): [*DAYS[before(2)][:3], day_row(Outcome.ALARM)]}
    assert picture(config) != picture(config, days=alarmed)


def test_a_promotion_is_shown_on_its_day_and_else_on_the_day_of_its_drift(config) -> None:
    store, without = Store.of(config), picture(config)
    later = TODAY.replace(year=TODAY.year + 1)
    for hidden in (promoted(later), promoted(before(3), decision=decisions.REJECTED)):
        decisions.write(store, hidden)
    assert picture(config) == without
    decisions.write(store, promoted(later, drift_day=before(3).isoformat()))
    by_drift = picture(config)
    assert by_drift != without
    decisions.write(store, promoted(before(3)))
    assert picture(config) == by_drift  # the same day, the same model


def test_days_long_ago_are_left_out(config) -> None:
    long_ago = TODAY.replace(year=TODAY.year - 1)
    assert picture(config) == picture(config, days={long_ago: DAYS[before(1)]} | DAYS)


def test_of_many_sensors_those_with_the_smallest_p_values_are_drawn(config) -> None:
    calm = [row(Outcome.CALM, of=("iris", f"gate {n}"), p_value=0.9) for n in range(20)]
    few = picture(config, [*calm[:5], row(Outcome.ALARM, p_value=0.001)], {})
    assert picture(config, [*calm, row(Outcome.ALARM, p_value=0.001)], {}) == few
    assert picture(config, [*calm[:5], row(Outcome.ALARM, p_value=0.002)], {}) != few


def test_there_may_be_nothing_to_draw() -> None:
    assert trend([Panel("empty", [Line("iris", [])])], [], {}) is None


def test_a_single_day_is_drawn_without_a_complaint(config, recwarn) -> None:
    assert picture(config, days={}) is not None
    assert not recwarn.list
