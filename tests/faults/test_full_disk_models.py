"""A disk that is full while a model is trained, logged, registered or a day is reported on."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from biometric_core.config import Config
from biometric_core.errors import StorageError
from biometric_core.stages.monitor import monitor
from biometric_core.stages.register import register
from biometric_core.stages.score import score
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs
from biometric_core.training import checkpoint
from tests.containers.inside import roles, training_runs, weights
from tests.faults.small_disks import fill_up, mounted
from tests.faults.worlds import asides, configured, decided, made_champion, once, people
from tests.support.tiny_store import HISTORY, changed

pytestmark = pytest.mark.long
_EPOCHS = 12


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", megabytes=32) as folder:
        yield folder


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """People, and a champion; each test works on a copy."""
    config = configured(tmp_path_factory.mktemp("system"))
    people(config)
    made_champion(config, good=False)
    return config


def with_parts_on(disk: Path, system: Config, *parts: str) -> Config:
    """A copy of the system with some of data, artifacts and mlflow.db on the small disk."""
    old = Path(system.storage.root).parent
    elsewhere = disk.parent / "elsewhere"
    places = {name: disk / name if name in parts else elsewhere / name for name in _PARTS}
    for name, place in places.items():
        if (old / name).is_dir():
            shutil.copytree(old / name, place)
        else:
            place.parent.mkdir(exist_ok=True)
            shutil.copy(old / name, place)
    config = changed(system, "storage", root=str(places["data"]))
    config = changed(config, "mlflow", tracking_uri=f"sqlite:///{places['mlflow.db']}")
    with runs.mlflow_client(config, "move the artifacts") as client:
        client.create_experiment("here", artifact_location=places["artifacts"].as_uri())
    return changed(config, "mlflow", experiment="here")


_PARTS = ("data", "artifacts", "mlflow.db")


def refused(work: Callable[[], object]) -> str:
    """The one line that `work` ends with."""
    with pytest.raises(StorageError, match="no space left on device") as caught:
        work()
    text = str(caught.value)
    assert "\n" not in text
    assert "free some space" in text
    assert "intact" in text
    return text


def test_the_kept_state_of_a_training_stays_and_it_goes_on_from_there(system: Config, disk: Path):
    config = with_parts_on(disk, system, "data")
    config = changed(config, "training", epochs=_EPOCHS, patience=_EPOCHS)
    kept = Store.of(config).path("checkpoints", "any").parent
    with once(lambda: any(kept.glob(f"*/{checkpoint.FILE_NAME}")), partial(fill_up, disk)):
        refused(lambda: train(config))
    (state,) = kept.glob(f"*/{checkpoint.FILE_NAME}")
    epochs = checkpoint.load(state).epochs_run
    assert 0 < epochs < _EPOCHS
    assert [path.name for path in state.parent.iterdir()] == [state.name], "nothing half-written"
    (disk / "ballast").unlink()
    result = train(config)
    assert runs.Run(config, result.run_id).steps("loss") == set(range(1, _EPOCHS + 1))
    assert training_runs(config) == ["FINISHED"]


@pytest.mark.parametrize("part", ["artifacts", "mlflow.db"])
def test_mlflow_without_space_fails_the_training_and_leaves_the_champion(
    system: Config, disk: Path, part: str
):
    config = with_parts_on(disk, system, part)
    model = weights(config, "1")
    ballast = fill_up(disk)
    assert "MLflow (sqlite:///" in refused(lambda: train(config))
    assert (roles(config), weights(config, "1")) == ({"champion": "1"}, model)
    ballast.unlink()
    made = register(config, run_id=train(config).run_id)
    assert roles(config) == {"champion": "1", "challenger": made.version}
    assert weights(config, made.version) != model


@pytest.mark.parametrize("where", ["artifacts", "scratch"])
def test_a_bundle_without_space_is_no_version(
    system: Config, disk: Path, where: str, monkeypatch: pytest.MonkeyPatch
):
    config = with_parts_on(disk, system, where)
    run_id = train(config).run_id
    if where == "scratch":
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
    ballast = fill_up(disk, leave=200 << 10)
    refused(lambda: register(config, run_id=run_id))
    assert (roles(config), len(registry.versions(config))) == ({"champion": "1"}, 1)
    ballast.unlink()
    assert not list(disk.glob("biometric-*")), "what was begun is gone"
    made = register(config, run_id=run_id)
    assert roles(config) == {"champion": "1", "challenger": made.version}
    assert weights(config, made.version) != weights(config, "1")


def test_a_day_without_space_for_its_report_has_no_verdict_and_gets_one_later(
    system: Config, disk: Path
):
    config = with_parts_on(disk, system, "data")
    day = HISTORY + timedelta(days=4)
    trained = register(config, run_id=train(config, as_of=day).run_id).version
    assert registry.set_champion(config, trained, expected="1")  # one that says what it knew
    people(config, impressions=range(5, 6), day=day)
    score(config, day=day.date())  # what is left to write is the report
    ballast = fill_up(disk, leave=64 << 10)
    before = decided(config)
    refused(lambda: monitor(config, day=day.date()))
    store = Store.of(config)
    assert store.read("drift").num_rows == 0
    reports = store.path("reports", "any").parent
    assert (list(reports.rglob("*.html")), asides(reports)) == ([], [])
    ballast.unlink()
    found = monitor(config, day=day.date())
    assert not found.reused
    assert store.read("drift").num_rows == len(found.verdicts)
    assert store.files.exists(found.report or "")
    assert decided(config) == before
