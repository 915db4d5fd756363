import json
from datetime import datetime, timedelta

import pytest
from tiny_store import HISTORY, changed, fill, small

from biometric_core.config import Config
from biometric_core.errors import DataError, ServiceError
from biometric_core.recogniser import Recogniser
from biometric_core.store import Store
from biometric_core.tracking import runs
from biometric_core.training import load_training_data, train, training_digest


@pytest.fixture
def tiny(config: Config) -> Config:
    config = small(config)
    fill(config)
    return config


def test_a_run_holds_all_that_explains_the_model(tiny):
    result = train(tiny)
    info = runs.get_run(tiny, result.run_id)
    assert info.status == "FINISHED"
    assert info.params["training.epochs"] == "2"
    assert info.params["data.subjects"] == "8"
    assert info.tags["data_version"] == str(result.data_version) == "0"
    assert info.tags["as_of"] == (HISTORY + timedelta(microseconds=1)).isoformat()
    assert info.metrics["parameters"] == result.parameters > 0
    for name in ("config.yaml", "environment.json", "history.json", "curves.png"):
        path = runs.download_recogniser(tiny, result.run_id).parent / name
        assert path.stat().st_size > 0, name
    history = json.loads((path.parent / "history.json").read_text())
    assert len(history) == result.epochs == 2
    recogniser = Recogniser.load(runs.download_recogniser(tiny, result.run_id))
    assert len(recogniser.subjects) == 8
    assert not list(Store.of(tiny).path("checkpoints").glob("*")), "removed after success"


def test_the_same_data_and_settings_are_not_trained_twice(tiny):
    first = train(tiny)
    again = train(tiny)
    assert again.reused
    assert not first.reused
    assert again.run_id == first.run_id
    assert train(tiny, force=True).run_id != first.run_id


def test_the_digest_names_captures_and_settings_but_not_the_machine(tiny):
    data = load_training_data(tiny)
    digest = training_digest(data, tiny)
    assert training_digest(data, changed(tiny, "training", threads=2, workers=2)) == digest
    assert training_digest(data, changed(tiny, "training", seed=1)) != digest
    fill(tiny, subjects=17, impressions=range(1, 5))  # one more person, in training
    assert training_digest(load_training_data(tiny), tiny) != digest


def test_test_subjects_and_reserved_captures_never_come_near_a_model(tiny):
    data = load_training_data(tiny)
    seen = {s for found in data.train.values() for s in found.subject_id}
    checked = {s for found in data.validation.values() for s in found.subject_id}
    assert seen == {f"s{i:03}" for i in range(16) if i % 4 in (0, 1)}
    assert checked == {f"s{i:03}" for i in range(16) if i % 4 == 2}
    assert all(found.impression.max() == 3 for found in data.train.values()), "the 4th is reserved"


def test_captures_after_as_of_take_no_part(tiny):
    later = HISTORY + timedelta(days=3)
    fill(tiny, impressions=range(5, 7), day=later)
    old = load_training_data(tiny, as_of=later)
    new = load_training_data(tiny)
    assert all(found.captured_at.max() < datetime(2026, 1, 4) for found in old.train.values())
    assert new.captures > old.captures


def test_a_run_cut_off_is_taken_up_where_it_stopped(tiny, monkeypatch):
    whole = train(tiny, force=True)
    told = []

    def die(self, metrics, step=0):
        told.append(step)
        raise ServiceError("MLflow went away")

    with monkeypatch.context() as patched:
        patched.setattr(runs.Run, "log_metrics", die)
        with pytest.raises(ServiceError):
            train(tiny, force=True)
    assert told == [1], "cut off after the first epoch's checkpoint, before its log"
    resumed = train(tiny, force=True)
    info = runs.get_run(tiny, resumed.run_id)
    assert info.status == "FINISHED"
    assert runs.Run(tiny, resumed.run_id).steps("loss") == {1, 2}
    states = [
        Recogniser.load(runs.download_recogniser(tiny, result.run_id)).net.state_dict()
        for result in (whole, resumed)
    ]
    assert all(states[0][name].equal(states[1][name]) for name in states[0]), "bit for bit"


def test_too_few_subjects_is_said_before_a_run_is_made(config):
    tiny = small(config)
    with pytest.raises(DataError, match="preprocess"):
        train(tiny)
    fill(tiny, subjects=1)
    with pytest.raises(DataError, match="min_subjects"):
        train(tiny)
    assert runs.find_run(tiny, tag="kind", value="training", status=["FAILED"]) is None
