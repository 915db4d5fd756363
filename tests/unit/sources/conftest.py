"""Fixtures of the tests of sources."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from biometric_core.config import Ingest
from tests.support.small_sources import write_zip


@pytest.fixture
def limits() -> Ingest:
    return Ingest()


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[[Mapping[str, bytes]], Path]:
    return lambda files: write_zip(tmp_path / "source.zip", files)
