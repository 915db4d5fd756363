"""A person's Reject: on record like any decision, and the drift counts as answered."""

from datetime import date, timedelta

import pytest

from biometric_core.errors import ModelError
from biometric_core.history import decisions
from biometric_core.stages import plan_retraining
from biometric_core.stages.register import register
from biometric_core.stages.reject import reject
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from tests.support.drift_rows import write_verdict
from tests.support.drift_story import CHANGED, changed_day, system
from tests.support.tiny_store import HISTORY


@pytest.fixture
def waiting(tmp_path):
    """A champion, version 1, and a challenger that was trained after a changed day."""
    config = system(tmp_path)
    changed_day(config)
    run = train(config, as_of=HISTORY + timedelta(days=30))
    return config, register(config, run_id=run.run_id).version


def test_a_reject_is_a_decision_and_the_champion_stays(waiting):
    config, version = waiting
    made = reject(
        config, version="challenger", reason="rejected by ada", trigger="drift", drift_day=CHANGED
    )
    (row,) = decisions.read(Store.of(config))
    assert (row.decision, row.reason) == ("rejected", "rejected by ada")
    assert (row.champion_version, row.challenger_version) == ("1", version)
    assert (row.trigger, row.drift_day) == ("drift", CHANGED.isoformat())
    assert row.decision_id == made.decision_id
    assert registry.champion_version(config) == "1"
    assert registry.get(config, registry.CHALLENGER) is None
    assert registry.require(config, version).tags["gate.reason"] == "rejected by ada"


def test_a_reject_told_twice_is_one_decision(waiting):
    config, version = waiting
    answers = [
        reject(config, version=version, reason=why, trigger="drift", drift_day=CHANGED)
        for why in ("rejected by ada", "nobody answered within 48 hours")
    ]
    assert [one.reused for one in answers] == [False, True]
    assert answers[1].reason == "rejected by ada"
    assert len(decisions.read(Store.of(config))) == 1


def test_a_rejected_drift_is_not_trained_for_again(waiting):
    config, version = waiting
    write_verdict(Store.of(config), CHANGED)
    assert plan_retraining.plan_retraining(config, trigger="asset").day == CHANGED.isoformat()
    reject(config, version=version, reason="no", trigger="drift", drift_day=CHANGED)
    plan = plan_retraining.plan_retraining(config, trigger="asset")
    assert not plan.retrain
    assert "was answered" in plan.reason


def test_a_version_that_is_not_there_can_not_be_rejected(waiting):
    config, _ = waiting
    with pytest.raises(ModelError, match="99"):
        reject(config, version="99", reason="no", drift_day=date(2026, 1, 1))
