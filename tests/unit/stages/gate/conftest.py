"""A small store for the gate."""

import pytest

from biometric_core.config import Config
from tests.support.tiny_store import fill, small


@pytest.fixture
def ready(config: Config) -> Config:
    config = small(config)
    fill(config, subjects=32, noise=40.0)
    return config
