"""After a rollback days are judged as if the promotion had never been."""

from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest

from biometric_core.config import Config
from biometric_core.stages.monitor import monitor
from biometric_core.stages.rollback import rollback
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from tests.support.drift_story import CALM, CHANGED, calm_day, changed_day, made_champion, system
from tests.support.tiny_store import HISTORY

pytestmark = pytest.mark.slow


def watched(folder: Path) -> Config:
    """A champion, version 1, that has looked at an ordinary day."""
    folder.mkdir()
    config = system(folder)
    calm_day(config)
    assert monitor(config, day=CALM).model_version == "1"
    return config


def test_the_next_day_is_compared_with_the_reference_of_the_model_that_returned(tmp_path):
    undisturbed, config = watched(tmp_path / "a"), watched(tmp_path / "b")
    made_champion(config, as_of=HISTORY + timedelta(days=30))
    assert registry.champion_version(config) == "2"
    monitor(config, day=CALM + timedelta(days=1))  # version 2 may have written a reference
    rollback(config, reason="worse on the night shift")
    for one in (undisturbed, config):
        changed_day(one)
    expected, found = (monitor(one, day=CHANGED) for one in (undisturbed, config))
    assert found.model_version == "1"
    assert found.alarm
    assert found.verdicts == expected.verdicts
    of_first = pc.field("model_version") == "1"
    reference = Store.of(config).read("probes", ["window"], of_first)["window"].to_pylist()
    assert "reference" in reference
