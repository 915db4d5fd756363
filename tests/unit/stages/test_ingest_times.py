from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from biometric_core.errors import ConfigError
from biometric_core.stages.ingest import ingest
from biometric_core.storage.store import Store
from tests.conftest import png


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source" / "iris"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(1).integers(0, 256, (60, 80), dtype=np.uint8)
    (folder / "001_L_01.png").write_bytes(png(noise))
    return str(tmp_path / "source")


def _taken(config):
    return Store.of(config).read("captures")["captured_at"].to_pylist()


def test_an_offset_is_converted(config, source):
    zone = timezone(timedelta(hours=5, minutes=30))
    ingest(config, source=source, captured_at=datetime(2026, 1, 6, 2, tzinfo=zone))
    assert _taken(config) == [datetime(2026, 1, 5, 20, 30, tzinfo=UTC)]


@pytest.mark.parametrize("year", [1, 1969, 2101, 9999])
def test_a_time_that_no_capture_has_is_refused(config, source, year):
    with pytest.raises(ConfigError, match="1970 to 2100"):
        ingest(config, source=source, captured_at=datetime(year, 6, 1, tzinfo=UTC))
    assert _taken(config) == []


@pytest.mark.parametrize(("days", "warned"), [(3, True), (0, False)])
def test_the_future_is_taken_with_a_warning(config, source, caplog, days, warned):
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    ingest(config, source=source, captured_at=at)
    assert _taken(config) == [at]
    assert ("lies in the future" in caplog.text) is warned
