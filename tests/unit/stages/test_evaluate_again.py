"""An evaluation that is made later measures what the run was made from."""

from datetime import timedelta

import pytest

from biometric_core.config import Config
from biometric_core.errors import DataError
from biometric_core.stages.evaluate import evaluate
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking.registry import require
from tests.support.tiny_store import HISTORY, fill, small
from tests.support.untrained import register_untrained


def test_a_later_evaluation_is_of_the_captures_of_the_run(config: Config) -> None:
    tiny = small(config)
    fill(tiny)
    run_id = train(tiny).run_id
    first = evaluate(tiny, run_id=run_id).metrics
    # Everybody comes again, and new people: now other captures of the training subjects are held
    # out, and those that the model has not seen are among the trained ones.
    fill(tiny, subjects=24, impressions=range(5, 9), day=HISTORY + timedelta(days=7))
    again = evaluate(tiny, run_id=run_id).metrics
    assert first["closed_set"]["samples"] == 8  # of each training subject an eye with a finger
    for name in ("closed_set", "iris", "fused", "fta", "reasons"):
        assert again[name] == first[name], name


def test_versions_that_were_vacuumed_are_named_with_the_way_out(config: Config) -> None:
    tiny = small(config)
    fill(tiny)
    run_id = train(tiny).run_id
    fill(tiny, subjects=24)
    store = Store.of(tiny)
    store.compact("captures")
    store.vacuum("captures", (), 0)
    with pytest.raises(DataError, match=f"run {run_id}.*captures.*vacuumed.*train again"):
        evaluate(tiny, run_id=run_id)


def test_a_run_that_names_no_data_is_not_evaluated(config: Config) -> None:
    tiny = small(config)
    fill(tiny)
    register_untrained(tiny, good=True)
    run_id = require(tiny, "challenger").run_id
    with pytest.raises(DataError, match="no training run"):
        evaluate(tiny, run_id=run_id)
