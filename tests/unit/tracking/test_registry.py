import threading
from dataclasses import replace

import pytest

from biometric_core.config import Config
from biometric_core.errors import ModelError
from biometric_core.history import decisions
from biometric_core.history.decisions import Decision
from biometric_core.stages import register as register_stage
from biometric_core.stages.register import register
from biometric_core.stages.reject import reject
from biometric_core.stages.status import status
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs
from biometric_core.tracking.client import mlflow_client
from biometric_core.tracking.registry import _ensure_model
from tests.support.tiny_store import changed, fill, small


@pytest.fixture
def ready(config: Config) -> Config:
    return small(config)


def versions(config: Config, count: int) -> list[str]:
    """Registered versions without files: aliases don't look inside."""
    made = []
    for number in range(count):
        with runs.run(config, name=f"r{number}", tags={}) as run:
            pass
        with mlflow_client(config, "register") as client:
            _ensure_model(config, client)
            name = config.mlflow.model_name
            made.append(client.create_model_version(name, "file:///x", run.run_id).version)
    return [str(version) for version in made]


def test_an_empty_registry_answers(ready):
    assert registry.champion_version(ready) is None
    assert registry.get(ready, "7") is None
    with pytest.raises(ModelError, match="champion, challenger, previous"):
        registry.require(ready, "champion")
    with pytest.raises(ModelError, match="no challenger"):
        registry.challenger_version(ready)


def test_the_first_champion_has_no_previous(ready):
    (first,) = versions(ready, 1)
    assert registry.set_champion(ready, first, expected=None)
    assert registry.champion_version(ready) == first
    assert registry.get(ready, "previous") is None


def test_a_new_champion_keeps_the_old_one_as_previous(ready):
    first, second = versions(ready, 2)
    registry.set_champion(ready, first, expected=None)
    assert registry.set_champion(ready, second, expected=first)
    assert registry.champion_version(ready) == second
    assert registry.require(ready, "previous").version == first


@pytest.mark.parametrize("expected", [None, "2"])
def test_a_decision_against_another_champion_changes_nothing(ready, expected):
    first, _, third = versions(ready, 3)
    registry.set_champion(ready, first, expected=None)
    assert not registry.set_champion(ready, third, expected=expected)
    assert registry.champion_version(ready) == first
    assert registry.get(ready, "previous") is None


def test_a_switch_that_was_cut_off_between_the_aliases_can_be_repeated(ready):
    first, second = versions(ready, 2)
    registry.set_champion(ready, first, expected=None)
    registry.set_alias(ready, "champion", second)
    assert registry.set_champion(ready, second, expected=first)
    assert registry.require(ready, "previous").version == first


def test_an_alias_is_dropped_only_from_the_version_it_names(ready):
    first, second = versions(ready, 2)
    registry.set_alias(ready, "challenger", second)
    registry.drop_alias(ready, "challenger", first)
    assert registry.challenger_version(ready) == second
    registry.drop_alias(ready, "challenger", second)
    assert registry.get(ready, "challenger") is None


def test_a_run_is_registered_once_with_its_figures_and_loads_again(ready):
    fill(ready, subjects=8)
    run_id = train(ready).run_id
    runs.log_evaluation(ready, run_id, {"iris_eer": 0.125, "fused_eer": 0.05, "note": "x"}, [])
    result = register(ready, run_id=run_id)
    again = register(ready, run_id=run_id)
    assert (result.version, result.reused) == ("1", False)
    assert (again.version, again.reused) == ("1", True)
    found = registry.require(ready, "challenger")
    assert found.run_id == run_id
    assert found.tags["iris_eer"] == "0.125"
    assert found.tags["data_version"] == "1"
    assert found.tags["as_of"]
    recogniser, version = registry.load_recogniser(ready, "challenger")
    assert version == "1"
    assert len(recogniser.subjects) == 4


def test_registration_cut_off_before_the_alias_is_completed(ready):
    fill(ready, subjects=8)
    run_id = train(ready).run_id
    register(ready, run_id=run_id)
    with mlflow_client(ready, "cut off") as client:
        client.delete_registered_model_alias(ready.mlflow.model_name, "challenger")
    register(ready, run_id=run_id)
    assert registry.challenger_version(ready) == "1"


def test_a_version_that_was_decided_is_no_challenger_when_its_run_is_found_again(ready):
    fill(ready, subjects=8)
    run_id = train(ready).run_id
    version = register(ready, run_id=run_id).version
    reject(ready, version=version, reason="no")
    again = register(ready, run_id=run_id)
    assert (again.version, again.reused) == (version, True)
    assert registry.get(ready, "challenger") is None
    registry.set_alias(ready, "challenger", version)  # an earlier release gave it back each week
    told = status(ready)
    assert (told["challenger"], "biometric promote" in told["next"]) == (None, False)
    register(ready, run_id=run_id)
    assert registry.get(ready, "challenger") is None


def test_a_decision_on_a_version_of_that_number_in_another_registry_does_not_count(ready):
    old = Decision("rejected", "no", None, "1", decision_id="a")
    decisions.write(Store.of(ready), replace(old, decided_at="2026-01-01T00:00:00+00:00"))
    fill(ready, subjects=8)
    assert register(ready, run_id=train(ready).run_id).version == "1"
    assert registry.challenger_version(ready) == "1"


def test_a_run_that_is_registered_twice_at_once_has_one_version(ready, monkeypatch):
    fill(ready, subjects=8)
    run_id = train(ready).run_id
    barrier, real, results = threading.Barrier(2), registry.create_version, []

    def together(*arguments):
        barrier.wait(60)
        return real(*arguments)

    def work(config):
        results.append(register_stage.register(config, run_id=run_id).version)

    monkeypatch.setattr(register_stage, "create_version", together)
    # Machines share the registry, and no folder for a lock.
    machines = [ready, changed(ready, "storage", root=f"{ready.storage.root}-2")]
    threads = [threading.Thread(target=work, args=(config,)) for config in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["1", "1"]
    assert [one.version for one in registry.versions(ready)] == ["1"]
    assert registry.challenger_version(ready) == "1"


def test_a_run_without_a_recogniser_can_not_be_registered(ready):
    with runs.run(ready, name="r", tags={}) as run:
        pass
    with pytest.raises(ModelError, match="recogniser"):
        register(ready, run_id=run.run_id)
    assert registry.get(ready, "1") is None


def test_a_damaged_bundle_is_named(ready):
    fill(ready, subjects=8)
    run_id = train(ready).run_id
    register(ready, run_id=run_id)
    weights = runs.download(ready, run_id, "model/artifacts/recogniser") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelError, match="damaged"):
        registry.load_recogniser(ready, "challenger")
