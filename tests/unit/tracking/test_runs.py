import pytest

from biometric_core.config import Config
from biometric_core.errors import ModelError, ServiceError
from biometric_core.tracking import runs
from biometric_core.tracking.client import mlflow_client
from tests.support.tiny_store import changed, small


@pytest.fixture
def ready(config: Config) -> Config:
    return small(config)


def test_preparing_twice_gives_the_same_experiment_with_absolute_artifacts(
    config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    relative = changed(config, "mlflow", artifact_root="my artifacts")
    first = runs.prepare(relative)
    assert runs.prepare(relative) == first
    with mlflow_client(relative, "look") as client:
        location = client.get_experiment(first).artifact_location
    assert location == (tmp_path / "my artifacts").as_uri()


def test_what_is_logged_comes_back(ready, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("one")
    with runs.run(ready, name="r", tags={"digest": "x"}) as run:
        run.log_params({"a.b": 1, **{f"p{i}": i for i in range(250)}})
        run.log_metrics({"loss": 2.0, "text": "no", "nothing": None, "nan": float("nan")}, step=3)
        run.log_metrics({"loss": 1.0, "flag": True}, step=4)
        run.log_artifacts(tmp_path / "out", "files")
    info = runs.get_run(ready, run.run_id)
    assert info.status == "FINISHED"
    assert info.metrics == {"loss": 1.0}
    assert info.params["a.b"] == "1"
    assert len(info.params) == 251
    assert info.tags == {"digest": "x"}
    assert run.steps("loss") == {3, 4}
    assert (runs.download(ready, run.run_id, "files") / "a.txt").read_text() == "one"


def test_parameters_of_a_run_that_goes_on_keep_their_values(ready):
    with runs.run(ready, name="r", tags={}) as run:
        run.log_params({"a": 1})
    with runs.run(ready, name="r", tags={}, run_id=run.run_id) as again:
        again.log_params({"a": 2, "b": 3})
    assert again.run_id == run.run_id
    assert runs.get_run(ready, run.run_id).params == {"a": "1", "b": "3"}


def test_a_run_that_fails_says_so_and_the_error_gets_out(ready):
    def fail():
        with runs.run(ready, name="r", tags={"digest": "f"}):
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert runs.find_run(ready, tag="digest", value="f", status=["FINISHED"]) is None
    assert runs.find_run(ready, tag="digest", value="f", status=["FAILED"]) is not None


def test_missing_runs_and_artifacts_are_named(ready):
    with runs.run(ready, name="r", tags={}) as run:
        pass
    with pytest.raises(ModelError, match="recogniser"):
        runs.download_recogniser(ready, run.run_id)
    with pytest.raises(ModelError, match="no such entry"):
        runs.get_run(ready, "f" * 32)


def test_a_deleted_experiment_is_a_clear_error(ready):
    experiment = runs.prepare(ready)
    with mlflow_client(ready, "delete") as client:
        client.delete_experiment(experiment)
    with pytest.raises(ServiceError, match="deleted"):
        runs.prepare(ready)


def test_a_report_of_the_same_name_is_updated(ready, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("<html>")
    first, second = (
        runs.log_report(
            ready,
            name="drift 2026-01-03",
            directory=tmp_path / "report",
            metrics=m,
            tags={"d": "1"},
        )
        for m in ({"p_value": 0.5}, {"p_value": 0.01})
    )
    assert first == second
    info = runs.get_run(ready, first)
    assert info.metrics == {"p_value": 0.01}
    assert info.tags["kind"] == "report"


def test_parameters_hold_no_addresses_or_paths(ready):
    names = runs.flattened(changed(ready, "source", path="/home/someone/eyes"))
    assert names["training.epochs"] == "2"
    assert not [n for n in names if n.startswith(("mlflow.", "storage.")) or n == "source.path"]
