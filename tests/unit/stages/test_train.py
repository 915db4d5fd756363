import json
from datetime import datetime, timedelta

import numpy as np
import pytest

from biometric_core.config import Config
from biometric_core.errors import DataError, ModelError, ServiceError
from biometric_core.history.changes import Change
from biometric_core.recogniser import Recogniser
from biometric_core.stages.train import past_of, train
from biometric_core.storage.store import Store
from biometric_core.tracking import runs
from biometric_core.training.training_data import load_training_data, training_digest
from tests.support.tiny_store import HISTORY, changed, fill, small


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
    assert info.tags["data_version"] == str(result.data_version)
    assert result.data_version == Store.of(tiny).version("features")
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


def test_a_run_names_nobody_who_is_told(tiny):
    told = {"to": ("somebody@example.org",), "alarm": ("email",), "smtp_connection": "secret_mail"}
    config = changed(tiny, "notifications", **told)
    result = train(config)
    info = runs.get_run(config, result.run_id)
    folder = runs.download_recogniser(config, result.run_id).parent
    kept = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    text = f"{info.params} {info.tags}".encode() + b"".join(kept)
    assert b"training" in (folder / "config.yaml").read_bytes()
    for word in (b"somebody", b"notifications", b"secret_mail"):
        assert word not in text, word
    assert config.digest() == tiny.digest()
    assert train(config, like=result.run_id).reused


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
    for found in data.train.values():
        _, counts = np.unique(found.identity, return_counts=True)
        assert set(counts) == {3}, "of four impressions one is reserved"


def test_new_captures_are_weighted_in_training_and_nowhere_else(tiny):
    later = HISTORY + timedelta(days=3)
    fill(tiny, impressions=range(5, 7), day=later)
    plain = load_training_data(tiny)
    heavy = changed(tiny, "retraining", new_weight=3.0)
    weighted = load_training_data(heavy, change=Change(later.date()))
    for modality, found in weighted.train.items():
        ids, counts = np.unique(found.capture_id, return_counts=True)
        before = plain.train[modality]
        assert ids.tolist() == sorted(before.capture_id)
        new = before.captured_at[np.argsort(before.capture_id)] >= np.datetime64(later.date())
        assert set(counts[new]) == {3}
        assert set(counts[~new]) == {1}
        rows = [before.capture_id.tolist().index(name) for name in found.capture_id]
        assert np.array_equal(found.images[:], before.images[:][rows])
        assert len(weighted.validation[modality]) == len(plain.validation[modality])
    assert weighted.captures == plain.captures
    assert training_digest(weighted, heavy) != training_digest(plain, heavy)
    assert training_digest(weighted, heavy) == training_digest(
        load_training_data(heavy, change=Change(later.date())), heavy
    )


def test_a_run_on_weighted_captures_can_be_done_again_from_its_tags(tiny):
    later = HISTORY + timedelta(days=3)
    fill(tiny, impressions=range(5, 7), day=later)
    heavy = changed(tiny, "retraining", new_weight=2.5)
    first = train(heavy, change=Change(later.date()))
    again = load_training_data(
        changed(tiny, "retraining", new_weight=1.0), past=past_of(tiny, first.run_id)
    )
    rows = {m: found.capture_id.tolist() for m, found in again.train.items()}
    weighted = load_training_data(heavy, change=Change(later.date()))
    assert rows == {m: found.capture_id.tolist() for m, found in weighted.train.items()}
    assert train(heavy, like=first.run_id).reused


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


def test_an_earlier_run_is_trained_again_bit_for_bit_whatever_has_come_since(tiny):
    first = train(tiny)
    fill(tiny, subjects=24, impressions=range(1, 7))
    fill(tiny, subjects=30, day=HISTORY - timedelta(days=9))
    other = train(tiny)
    assert other.captures > first.captures
    again = train(tiny, like=first.run_id, force=True)
    assert again.run_id != first.run_id
    assert (again.data_version, again.as_of) == (first.data_version, first.as_of)
    assert (again.captures, again.subjects) == (first.captures, first.subjects)
    states = [
        Recogniser.load(runs.download_recogniser(tiny, run.run_id)).net.state_dict()
        for run in (first, again, other)
    ]
    assert all(states[0][name].equal(states[1][name]) for name in states[0]), "bit for bit"
    assert not states[0]["branches.iris.project.weight"].equal(
        states[2]["branches.iris.project.weight"]
    )


def test_what_is_no_training_run_names_no_data(tiny):
    with pytest.raises(ModelError, match="no such entry"):
        train(tiny, like="0" * 32)
    with runs.run(tiny, name="other", tags={"kind": "report"}) as run:
        pass
    with pytest.raises(DataError, match="no training run"):
        train(tiny, like=run.run_id)
    first = train(tiny)
    changed_shapes = changed(tiny, "preprocess", iris_shape=(16, 48), fingerprint_shape=(16, 16))
    with pytest.raises(DataError, match="set `preprocess` back"):
        train(changed_shapes, like=first.run_id)
