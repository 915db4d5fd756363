"""Sensors of one source told apart by folders, and what is not accepted as one's name."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from biometric_core.cli.commands import app
from biometric_core.config import Config
from biometric_core.data.inventory import data_figures
from biometric_core.errors import SourceError
from biometric_core.schemas import Modality
from biometric_core.stages.ingest import ingest
from biometric_core.storage.files import Files
from biometric_core.storage.store import Store
from tests.conftest import png

DAY = datetime(2026, 1, 5, tzinfo=UTC)


def picture(seed: int) -> bytes:
    return png(np.random.default_rng(seed).integers(0, 256, (60, 80), dtype=np.uint8))


INBOX = {
    "sensor=door-3/iris/001_L_01.png": picture(1),
    "sensor=door-3/fingerprint/001_L_thumb_01.png": picture(2),
    "sensor=door-4/iris/001_L_01.png": picture(3),  # the same eye at another door
    "iris/sensor=door-4/002_L_01.png": picture(4),
    "iris/003_L_01.png": picture(5),
}
SENSORS = {1: "door-3", 2: "door-3", 3: "door-4", 4: "door-4"}


def folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = tmp_path / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "inbox"


def packed(tmp_path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(tmp_path / "inbox.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return tmp_path / "inbox.zip"


def sensors(config: Config) -> dict[bytes, str]:
    """Sensor by the content of the capture."""
    store = Store.of(config)
    rows = store.read("captures", ["uri", "sensor"]).to_pylist()
    return {store.files.read(row["uri"]): row["sensor"] for row in rows}


@pytest.mark.parametrize("make", [folder, packed])
def test_each_capture_has_the_sensor_of_its_folder_or_the_configured_one(config, tmp_path, make):
    source = str(make(tmp_path, INBOX))
    result = ingest(config, source=source, captured_at=DAY)
    assert (result.added, result.refused, result.subjects) == (5, 0, 3)
    expected = {picture(seed): sensor for seed, sensor in SENSORS.items()}
    assert sensors(config) == expected | {picture(5): "default"}
    figures = data_figures(Store.of(config), config)
    assert figures.modalities[Modality.IRIS].sensors == {"door-4": 2, "default": 1, "door-3": 1}
    again = ingest(config, source=source, captured_at=DAY)
    assert (again.added, again.known, again.refused) == (0, 5, 0)


def test_a_prefix_of_an_object_store_has_sensors_as_well(bucket, config):
    for name, data in INBOX.items():
        Files(f"{bucket}/2026-01-05").write(name, data)
    ingest(config, source=f"{bucket}/2026-01-05", captured_at=DAY)
    assert {sensors(config)[picture(seed)] for seed in (3, 4)} == {"door-4"}
    assert sensors(config)[picture(5)] == "default"


def test_the_option_names_the_sensor_of_what_lies_in_no_folder_of_one(
    config, tmp_path, monkeypatch
):
    monkeypatch.setenv("BIOMETRIC__STORAGE__ROOT", config.storage.root)
    source = str(folder(tmp_path, INBOX))
    done = CliRunner().invoke(app, ["ingest", "--source", source, "--sensor", "gate"])
    assert done.exit_code == 0, done.output
    expected = {picture(seed): sensor for seed, sensor in SENSORS.items()}
    assert sensors(config) == expected | {picture(5): "gate"}


@pytest.mark.parametrize("make", [folder, packed])
def test_a_bad_name_loses_nothing_and_is_told_with_its_reason(config, tmp_path, make):
    bad = {
        "sensor=door 3/iris/001_L_02.png": picture(10),
        "sensor=door 3/iris/001_L_03.png": picture(11),
        "sensor=/iris/001_L_04.png": picture(12),
        f"sensor={'x' * 65}/iris/001_L_05.png": picture(13),
        "sensor=Ada Lovelace/sensor=b/iris/001_L_06.png": picture(14),
    }
    result = ingest(config, source=str(make(tmp_path, INBOX | bad)), captured_at=DAY)
    assert (result.added, result.quarantined) == (5, 5)
    assert result.reasons == {"bad_sensor_name": 4, "several_sensors": 1}
    rows = Store.of(config).read("quarantine").to_pylist()
    assert {row["modality"] for row in rows} == {"iris"}
    assert all("sensor=NAME" in row["detail"] for row in rows)
    assert "Ada" not in str(rows)
    named = {name.replace("door 3", "door-3"): data for name, data in bad.items()}
    assert ingest(config, source=str(make(tmp_path, INBOX | named)), captured_at=DAY).added == 2


def test_hostile_names_of_members_write_nothing_and_name_no_sensor(config, tmp_path):
    hostile = {
        "sensor=../iris/001_L_02.png": "bad_sensor_name",
        "sensor=a/../../iris/001_L_03.png": "path_leaves_archive",
        "/sensor=a/iris/001_L_04.png": "path_leaves_archive",
        "sensor=\u202ea/iris/001_L_06.png": "bad_sensor_name",
        "sensor=a\n/iris/001_L_07.png": "bad_sensor_name",
        "sensor=$(reboot)/iris/001_L_08.png": "bad_sensor_name",
    }
    files = INBOX | {"sensor=door-5\\iris\\004_L_01.png": picture(6)}
    files |= {name: picture(20 + n) for n, name in enumerate(hostile)}
    before = sorted(tmp_path.rglob("*"))
    source = packed(tmp_path, files)
    config = config.model_copy(
        update={"ingest": config.ingest.model_copy(update={"max_refused_share": 1.0})}
    )
    result = ingest(config, source=str(source), captured_at=DAY)
    assert result.added == 6
    assert sensors(config)[picture(6)] == "door-5"
    rows = Store.of(config).read("quarantine", ["reason"])["reason"].to_pylist()
    assert sorted(rows) == sorted(hostile.values())
    root = Path(config.storage.root)
    new = [path for path in tmp_path.rglob("*") if root not in (path, *path.parents)]
    assert sorted(new) == sorted({*before, source} - {root})


def test_of_one_image_from_two_sensors_the_first_counts(config, tmp_path):
    files = {
        "sensor=door-4/iris/001_L_01.png": picture(1),
        "sensor=door-3/iris/001_L_07.png": picture(1),
        "sensor=door-3/iris/002_L_01.png": picture(2),
    }
    source = str(folder(tmp_path, files))
    first = ingest(config, source=source, captured_at=DAY)
    assert (first.added, first.known, first.refused) == (2, 1, 0)
    assert sensors(config) == {picture(1): "door-3", picture(2): "door-3"}
    other = {"sensor=door-9/iris/001_L_01.png": picture(1)}
    later = ingest(config, source=str(packed(tmp_path, other)), captured_at=DAY)
    assert (later.added, later.known) == (0, 1)
    assert sensors(config)[picture(1)] == "door-3"


def test_the_folder_of_a_sensor_as_the_source_names_it(config: Config, tmp_path: Path) -> None:
    source = folder(tmp_path, INBOX) / "sensor=door-3"
    ingest(config, source=str(source), captured_at=DAY)
    assert set(sensors(config).values()) == {"door-3"}


def test_the_folder_of_a_sensor_as_the_source_yields_to_who_asks(
    config: Config, tmp_path: Path
) -> None:
    source = folder(tmp_path, INBOX) / "sensor=door-3"
    ingest(config, source=str(source), captured_at=DAY, sensor="door-9")
    assert set(sensors(config).values()) == {"door-9"}


def test_a_source_that_is_a_folder_of_no_fit_name_is_refused(
    config: Config, tmp_path: Path
) -> None:
    source = folder(tmp_path, {"sensor=a b/iris/001_L_01.png": picture(1)}) / "sensor=a b"
    with pytest.raises(SourceError, match="the source can't tell its sensor"):
        ingest(config, source=str(source), captured_at=DAY)
