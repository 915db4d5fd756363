"""Captures prepared as a model needs them, in a store whose settings say otherwise."""

import logging

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from biometric_core.config import Config
from biometric_core.data.capture_sets import load_captures
from biometric_core.errors import ModelError
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.network import BiometricNet, ModelSpec
from biometric_core.schemas import Modality
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from biometric_core.tracking.own_preparation import prepare_for
from tests.support.tiny_store import changed, database


def model(config: Config, version: str | None = None) -> Recogniser:
    """Random weights for captures as `config` prepares them."""
    shapes = {m: getattr(config.preprocess, f"{m}_shape") for m in Modality}
    counts = dict.fromkeys(Modality, 2)
    spec = ModelSpec(shapes=shapes, identities=counts, subjects=2, width=4, embedding_dim=8)
    torch.manual_seed(0)
    return Recogniser(
        spec=spec,
        net=BiometricNet(spec).eval(),
        calibration={},
        thresholds={},
        subjects=("a", "b"),
        settings=config.preprocess,
        preprocess_version=version or preprocess_version(config),
    )


def test_other_shapes_are_prepared_here_and_only_what_is_missing(config, people, caplog):
    ingest(config, source=str(people))
    now = changed(config, "preprocess", iris_shape=(32, 256))
    preprocess(now)
    store, older = Store.of(config), model(config)
    captures = store.read("captures").num_rows
    assert prepare_for(now, store, model(now), "no run") == 0, "`preprocess` does that"
    with caplog.at_level(logging.WARNING):
        assert prepare_for(now, store, older, "no run") == captures
    assert f"{captures} captures were prepared as {older.preprocess_version}" in caplog.text
    assert prepare_for(now, store, older, "no run") == 0
    own = load_captures(store, now, prepared_by=older.preprocess_version)
    assert own[Modality.IRIS].images.shape[1:] == config.preprocess.iris_shape
    assert np.isfinite(older.embed_set(own[Modality.IRIS])).all()
    assert load_captures(store, now)[Modality.IRIS].images.shape[1:] == (32, 256)


def test_a_run_without_the_code_that_alone_can_is_refused_where_captures_are_missing(
    config, people, tmp_path
):
    database(tmp_path)
    ingest(config, source=str(people))
    preprocess(config)
    with runs.run(config, name="without a bundle", tags={}) as run:
        run.log_text("x", "any.txt")
    store, foreign = Store.of(config), model(config, "1-64x512-224x224")
    with pytest.raises(ModelError) as error:
        prepare_for(config, store, foreign, run.run_id)
    assert "can't be prepared as 1-64x512-224x224" in str(error.value)
    assert run.run_id in str(error.value)
    assert "has no model/code" in str(error.value)
    assert "Run `biometric preprocess` of the release" in str(error.value)
    rows = store.read("features")
    column = rows.schema.get_field_index("preprocess_version")
    names = pc.replace_substring_regex(rows["preprocess_version"], "^.*$", "1-64x512-224x224")
    store.append_new("features", rows.set_column(column, rows.schema.field(column), names))
    assert prepare_for(config, store, foreign, run.run_id) == 0, "what is there needs no code"
