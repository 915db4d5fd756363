"""Captures whose claim was rejected are nobody's samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from biometric_core.config import Config
from biometric_core.data.capture_sets import load_captures
from biometric_core.errors import DataError
from biometric_core.history.changes import Change
from biometric_core.history.rejections import rejected_claims
from biometric_core.schemas import TABLES, Modality
from biometric_core.stages.score import score
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from biometric_core.training.training_data import load_training_data
from tests.support.drift_story import CALM, PEOPLE, at, calm_day, system
from tests.support.tiny_store import HISTORY, fill, impostor, small


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


def test_an_impostor_at_the_door_is_told_by_the_champion_and_not_trained_on(tmp_path: Path) -> None:
    config = system(tmp_path)
    calm_day(config, newcomers=0)
    foreign = impostor(config, claims=0, is_really=31, impression=9, day=at(CALM))
    score(config, day=CALM)
    refused = rejected_claims(Store.of(config))
    assert foreign in refused
    assert len(refused) < 0.1 * 2 * PEOPLE, "even a model as weak as this one knows most people"
    iris = load_training_data(config).train[Modality.IRIS]
    assert foreign not in iris.capture_id
    assert "000i5" in iris.capture_id, "the true one of that day"


def test_probes_of_an_earlier_version_hold_no_decision(tiny: Config) -> None:
    trained = load_training_data(tiny).train[Modality.IRIS].capture_id
    _claims(tiny, {str(trained[0]): -9.0})
    store = Store.of(tiny)
    older = store.read("probes").drop_columns(["threshold"])
    table = DeltaTable(f"{store.root}/tables/probes")
    write_deltalake(table, older, mode="overwrite", schema_mode="overwrite")
    assert load_training_data(tiny).rejected == 0
    _claims(tiny, {str(trained[1]): -9.0})
    assert rejected_claims(store) == {trained[1]}
    assert load_training_data(tiny).rejected == 1
