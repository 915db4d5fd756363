"""Fixtures shared by all tests."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from xdist.scheduler import LoadScopeScheduling

from biometric_core.config import Config, load_config
from tests.support.object_store import environment, new_bucket, object_store_server


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, so that no core is left alone with it in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    system = {item.path for item in items if item.get_closest_marker("system")}
    items.sort(key=lambda item: (item.path not in system, item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Tests of a module share its world in one process; one Airflow as a whole runs at a time."""
    return OneSystemAtOnce(config, log)


class OneSystemAtOnce(LoadScopeScheduling):
    """All modules of `tests/system` go to one worker, one after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return (
            "tests/system" if nodeid.startswith("tests/system/") else super()._split_scope(nodeid)
        )


@pytest.fixture(autouse=True)
def quiet_log() -> None:
    """Each test begins with Python's own level: an import of Airflow lowers it for good."""
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The small test profile, with everything it writes under `tmp_path`."""
    return load_config(
        "test",
        {
            "storage": {"root": str(tmp_path / "data"), "inbox": str(tmp_path / "inbox")},
            "mlflow": {
                "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db",
                "artifact_root": str(tmp_path / "artifacts"),
            },
        },
    )


def png(pixels: np.ndarray) -> bytes:
    """An image file's bytes."""
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generated people, in the flat layout."""
    from biometric_core.sources.generator.people import generate

    folder = tmp_path_factory.mktemp("people")
    generate(load_config("test"), out=str(folder), subjects=3, impressions=2, workers=1)
    return folder


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """Endpoint of an S3-compatible server."""
    with object_store_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(object_store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://...` of an empty bucket, and the environment that leads to it."""
    for name, value in environment(object_store).items():
        monkeypatch.setenv(name, value)
    return new_bucket()
