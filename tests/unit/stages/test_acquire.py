from pathlib import Path

import pytest

from biometric_core.config import Config
from biometric_core.errors import ConfigError, SourceError
from biometric_core.sources.layouts import parse
from biometric_core.stages.acquire import AcquireResult, acquire
from tests.support.small_sources import flat_people, write_folder, write_zip


@pytest.fixture
def settings(tmp_path):
    return {
        "storage": {"root": str(tmp_path / "data")},
        "generator": {"subjects": 2, "impressions": 1, "fingers": 1},
    }


def test_paths_are_found_not_copied(tmp_path, settings):
    files = flat_people(1, 1)
    folder = write_folder(tmp_path / "folder", files)
    archive = write_zip(tmp_path / "a.zip", files)
    config = Config(**settings)
    assert acquire(config, source=str(folder)) == AcquireResult(str(folder), "folder")
    assert acquire(config, source=str(archive)) == AcquireResult(str(archive), "zip")
    configured = Config(**settings, source={"kind": "folder", "path": str(archive)})
    assert acquire(configured) == AcquireResult(str(archive), "zip")
    assert acquire(configured, source=str(folder)).path == str(folder)


def test_the_embedded_default_generates_once_per_setting(settings):
    result = acquire(Config(**settings))
    assert result.kind == "generator"
    images = {p: p.stat().st_mtime_ns for p in Path(result.path).rglob("*.*") if parse(p)}
    assert len({parse(path).subject for path in images}) == 2
    assert len(images) == 6
    assert acquire(Config(**settings), source="generator") == result
    assert {path: path.stat().st_mtime_ns for path in images} == images
    other = settings | {"generator": settings["generator"] | {"seed": 8}}
    assert acquire(Config(**other)).path != result.path


def test_sources_that_are_not_there(tmp_path, settings):
    with pytest.raises(SourceError, match="'generator' or 'kaggle'"):
        acquire(Config(**settings), source=str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"source\.path"):
        acquire(Config(**settings, source={"kind": "folder"}))


@pytest.mark.parametrize(
    ("url", "kind"), [("s3://bucket/people", "object_store"), ("s3://bucket/people.zip", "zip")]
)
def test_what_lies_on_an_object_store_stays_there(settings, url, kind):
    assert acquire(Config(**settings), source=url) == AcquireResult(url, kind)
