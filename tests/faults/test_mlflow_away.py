"""MLflow away at the start, in the middle, at registration: a line, a retry, the same champion."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from biometric_core.config import Config
from biometric_core.errors import ServiceError
from biometric_core.stages import promote
from biometric_core.stages.register import register
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs
from biometric_core.training import checkpoint
from biometric_core.training.checkpoint import FILE_NAME
from tests.containers.inside import roles, twice, weights
from tests.faults.mlflow_server import Server
from tests.faults.worlds import configured, decided, made_champion, once, people
from tests.support.tiny_store import changed

pytestmark = pytest.mark.long
_EPOCHS = 12
_TOO_LONG = 300.0  # seconds on a busy machine: nobody may wait that long for a server that is away


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow"))
    yield made
    made.kill()


@pytest.fixture(scope="module")
def config(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = configured(tmp_path_factory.mktemp("store"), server.url)
    people(made)
    return made


@pytest.fixture(scope="module")
def champion(config: Config, server: Server) -> str:
    """A champion that is easily beaten."""
    server.start()
    return made_champion(config, good=False)


@pytest.fixture(scope="module")
def run_id(config: Config, champion: str) -> str:
    """A training run that is not registered yet."""
    return train(config).run_id


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing is given up after seconds: what is tested is what comes then."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def failing(work: Callable[[], object]) -> str:
    """The message of the ServiceError that `work` ends with, which is one line."""
    with pytest.raises(ServiceError) as caught:
        in_time(work).result(_TOO_LONG)
    text = str(caught.value)
    assert "\n" not in text
    assert "MLflow (http://127.0.0.1:" in text
    assert "check mlflow.tracking_uri and that the service is up" in text
    return text


def in_time(work: Callable[[], object]) -> Future[object]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def test_away_from_the_start(config: Config, server: Server):
    server.kill()
    assert "can't look for runs" in failing(lambda: train(config))
    server.start()
    assert runs.get_run(config, train(config).run_id).status == "FINISHED"


def test_away_in_the_middle_of_training_which_goes_on_after_the_last_kept_epoch(
    config: Config, server: Server, champion: str, caplog: pytest.LogCaptureFixture
):
    long = changed(config, "training", epochs=_EPOCHS, patience=_EPOCHS)
    kept = Store.of(config).path("checkpoints", "any").parent
    with once(lambda: any(kept.glob(f"*/{FILE_NAME}")), server.kill):
        failing(lambda: train(long))
    (state,) = kept.glob(f"*/{FILE_NAME}")
    epochs = checkpoint.load(state).epochs_run
    assert 0 < epochs < _EPOCHS
    server.start()
    assert roles(config)["champion"] == champion
    caplog.clear()  # what the first try said: another test may have left its level at INFO
    caplog.set_level(logging.INFO)
    result = train(long)
    assert f"going on after epoch {epochs}" in caplog.messages
    assert not any(text.startswith(f"epoch {epochs}/") for text in caplog.messages)
    info = runs.get_run(config, result.run_id)
    assert (info.status, result.epochs) == ("FINISHED", _EPOCHS)
    assert runs.Run(config, result.run_id).steps("loss") == set(range(1, _EPOCHS + 1))
    digest = info.tags["training_digest"]
    assert len([run for run in all_runs(config) if run.tags["training_digest"] == digest]) == 1


def test_away_in_the_middle_of_registration(
    config: Config, server: Server, champion: str, run_id: str, impatient: None
):
    before = decided(config)
    bundle = server.folder / "artifacts"
    with ExitStack() as away:
        silent = partial(away.enter_context, server.held_up())
        with once(lambda: any(bundle.glob(f"*/{run_id}/artifacts/model/*")), silent):
            failing(lambda: register(config, run_id=run_id))
    assert (roles(config), len(registry.versions(config))) == ({"champion": champion}, 1)
    made = register(config, run_id=run_id)
    assert not made.reused
    assert roles(config) == {"champion": champion, "challenger": made.version}
    assert weights(config, made.version) != weights(config, champion)
    assert decided(config) == before


def test_away_at_the_switch_of_champions(
    config: Config, server: Server, champion: str, run_id: str, impatient: None
):
    version = register(config, run_id=run_id).version
    model = weights(config, champion)
    with server.held_up():
        failing(lambda: promote.promote(config, version=version, trigger="training"))
    assert roles(config)["champion"] == champion
    assert weights(config, champion) == model
    assert decided(config) == [("promoted", None, champion)]
    made = promote.promote(config, version=version, trigger="training")
    assert made.decision == "promoted", made.reason
    assert roles(config) == {"champion": version, "previous": champion}
    assert decided(config)[1:] == [("promoted", champion, version)]
    assert twice(config) == {}


def all_runs(config: Config) -> list[runs.RunInfo]:
    return runs.find_runs(config, tag=runs.KIND, value="training")
