"""After every stage a whole store holds no bit for group and others."""

import os
import stat
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from biometric_core import stages
from biometric_core.config import Config, load_config
from biometric_core.stages.check import check
from biometric_core.stages.crossval import crossval
from biometric_core.stages.evaluate import evaluate
from biometric_core.stages.ingest import ingest
from biometric_core.stages.maintain import maintain
from biometric_core.stages.monitor import monitor
from biometric_core.stages.predict import predict
from biometric_core.stages.preprocess import preprocess
from biometric_core.stages.promote import promote
from biometric_core.stages.register import register
from biometric_core.stages.train import train
from tests.support.drawn_source import drawn_config, drawn_source
from tests.support.tiny_store import small

DAY = date(2026, 1, 5)


def settings(folder: Path) -> Config:
    places = {
        "storage": {"root": str(folder / "data")},
        "mlflow": {
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
            "artifact_root": str(folder / "artifacts"),
        },
    }
    return drawn_config(small(load_config("test", places)))


def open_ones(*folders: Path) -> list[str]:
    found = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return [f"{stat.filemode(p.lstat().st_mode)} {p}" for p in found if p.stat().st_mode & 0o077]


@pytest.fixture(params=[0o022, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.slow
def test_a_whole_store_is_the_owners_alone(tmp_path, umask):
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o2775)
    config = settings(tmp_path)
    source = drawn_source(tmp_path / "source", subjects=8, impressions=3)
    before = datetime(2026, 1, 1, tzinfo=UTC)
    ingest(config, source=str(source), captured_at=before)
    preprocess(config, executor="multiprocessing")
    check(config)
    run_id = train(config).run_id
    evaluate(config, run_id=run_id)
    register(config, run_id=run_id)
    promote(config, version=None)
    new = drawn_source(tmp_path / "new", subjects=8, impressions=4, fingers=False)
    taken = datetime(2026, 1, 5, tzinfo=UTC)
    ingest(config, source=str(new), captured_at=taken, kind="inbox")
    preprocess(config)
    assert monitor(config, day=DAY).report
    predict(config, source=str(source), out=str(tmp_path / "told" / "out.delta"))
    crossval(config, sources=[str(source)], folds=2, report=str(tmp_path / "card"))
    maintain(config)
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names >= {"tables", "images", "cache", "secrets", "reports", "evaluation", "locks"}
    assert list((tmp_path / "data").glob("cache/minutiae-*/*.npy"))
    places = ("data", "artifacts", "told", "card")
    assert open_ones(*(tmp_path / name for name in places)) == []
    assert os.umask(umask) == umask, "a stage leaves the process as it was"


@pytest.mark.slow
def test_workers_of_a_cluster_that_knows_nothing_of_it_write_so_too(tmp_path, umask, monkeypatch):
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = settings(tmp_path)
    source = drawn_source(tmp_path / "source", subjects=3, impressions=2)
    ingest(config, source=str(source))
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        assert preprocess(config, executor="ray").prepared
    finally:
        ray.shutdown()
    assert open_ones(tmp_path / "data") == []


def test_every_stage_works_so():
    for module in iter_modules(stages.__path__):
        stage = getattr(import_module(f"biometric_core.stages.{module.name}"), module.name)
        assert hasattr(stage, "__wrapped__"), f"{module.name} lacks @owner_only()"
