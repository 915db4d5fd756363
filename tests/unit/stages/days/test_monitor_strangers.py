"""A door of people nobody has enrolled, through the stages: watched, and never called calm."""

from datetime import timedelta

import pytest

from biometric_core.history.drift_table import ENROLLED_TODAY, UNIDENTIFIED, Outcome
from biometric_core.monitoring.loading import load_groups
from biometric_core.monitoring.scoring_model import scoring_model
from biometric_core.stages.monitor import MonitorResult, monitor
from biometric_core.storage.store import Store
from tests.support.drift_story import CALM, PEOPLE, at, system
from tests.support.tiny_store import fill


@pytest.fixture
def config(tmp_path):
    return system(tmp_path)


def found(result: MonitorResult, statistic: str) -> set[str]:
    return {v["verdict"] for v in result.verdicts if v["statistic"] == statistic}


def strangers(config, impressions: range, noise: float = 25.0) -> None:
    """People whom nobody knows come on the day."""
    people = {"first": PEOPLE, "subjects": PEOPLE + 24}
    fill(config, **people, impressions=impressions, day=at(CALM), noise=noise)


def test_strangers_with_one_capture_each_are_tested_by_what_their_captures_look_like(config):
    strangers(config, range(6, 7))
    result = monitor(config, day=CALM)
    assert result.verdict == Outcome.PARTLY
    assert "NOT tested, with too few comparable people: " in result.reason
    assert "residual_t2, genuine_shift" in result.reason
    assert found(result, "residual_t2") == {Outcome.NOT_ENOUGH}
    assert found(result, "quality_t2") == {Outcome.CALM}


def test_strangers_at_a_changed_sensor_are_an_alarm(config):
    strangers(config, range(6, 7), noise=90.0)
    result = monitor(config, day=CALM)
    assert result.verdict == Outcome.ALARM
    assert found(result, "quality_t2") == {Outcome.ALARM}


def test_who_is_enrolled_on_the_day_is_compared_from_the_next_day_on(config):
    strangers(config, range(6, 10))
    result = monitor(config, day=CALM)
    assert found(result, "residual_t2") == {Outcome.NOT_ENOUGH}
    counted = {v["statistic"]: v["value"] for v in result.verdicts}
    assert counted[ENROLLED_TODAY] > 0
    assert counted[UNIDENTIFIED] == 0
    tomorrow = CALM + timedelta(days=1)
    fill(config, subjects=PEOPLE + 24, impressions=range(10, 11), day=at(tomorrow))
    later = monitor(config, day=tomorrow)
    assert found(later, "residual_t2") == {Outcome.CALM}
    model = scoring_model(config, Store.of(config), tomorrow)
    for group in load_groups(Store.of(config), config, tomorrow, model):
        assert group.enrolled_today == 0
        assert len(group.today.probes) > 24
