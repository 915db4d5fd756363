"""Fixtures shared by all tests."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from biometric_core.config import Config, load_config
from tests.support.object_store import environment, new_bucket, object_store_server


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
