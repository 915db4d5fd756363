"""Captures whose claim was rejected are nobody's samples."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from biometric_core.config import Config
from biometric_core.data.capture_sets import load_captures
from biometric_core.errors import DataError
from biometric_core.history.changes import Change
from biometric_core.schemas import TABLES, Modality
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from biometric_core.training.training_data import load_training_data
from tests.support.tiny_store import HISTORY, fill, small


@pytest.fixture
def tiny(config: Config) -> Config:
    config = small(config)
    fill(config)
    return config


def _claims(config: Config, scores: dict[str, float]) -> None:
    """Probes of a day, as `score` leaves them."""
    empty: dict[str, Any] = dict.fromkeys(TABLES["probes"].names)
    empty |= {"model_version": "1", "window": "current", "modality": "iris"}
    rows = [
        empty | {"capture_id": name, "genuine_score": score, "threshold": 5.0}
        for name, score in scores.items()
    ]
    probes = pa.Table.from_pylist(rows, schema=TABLES["probes"])
    Store.of(config).append_new("probes", probes)


def test_what_the_champion_rejected_is_no_sample_of_whom_it_claimed_to_be(
    tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    before = load_training_data(tiny)
    trained, held = (sets[Modality.IRIS].capture_id for sets in (before.train, before.validation))
    reserved_row = next(
        name
        for name in load_captures(Store.of(tiny), tiny)[Modality.IRIS].capture_id
        if name[:3] == trained[0][:3] and name not in trained
    )
    other = str(trained[1])
    refused = {str(trained[0]): 4.9, str(held[0]): -7.0, str(reserved_row): 1.0}
    _claims(tiny, refused | {other: 5.0})
    change = Change(HISTORY.date())
    for after in (load_training_data(tiny), load_training_data(tiny, change=change)):
        left = {
            name: set(sets[Modality.IRIS].capture_id)
            for name, sets in (("train", after.train), ("validation", after.validation))
        }
        assert set(trained) - left["train"] == {trained[0]}
        assert left["train"] < set(trained), "what was reserved stays reserved"
        assert set(held) - left["validation"] == {held[0]}
        assert after.rejected == 2
    with caplog.at_level("WARNING"):
        result = train(tiny)
    assert result.rejected_claims == 2
    assert "2 captures left out: their claim was rejected" in caplog.text
    run = runs.get_run(tiny, result.run_id)
    assert run.metrics["rejected_claims"] == 2
    assert run.tags["probes_version"] == str(Store.of(tiny).version("probes"))
    # A later verdict doesn't change what the run was made from.
    _claims(tiny, {str(name): 0.0 for name in trained[2:6]})
    again = train(tiny, like=result.run_id, force=True)
    assert (again.captures, again.rejected_claims) == (result.captures, 2)


def test_too_few_people_are_left_where_all_claims_were_rejected(tiny: Config) -> None:
    data = load_training_data(tiny)
    names = {
        str(name): -1.0 for found in data.train.values() for name in np.unique(found.capture_id)
    }
    _claims(tiny, names)
    with pytest.raises(DataError, match=f"{len(names)} captures whose claim was"):
        train(tiny)
