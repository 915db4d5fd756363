"""A small monitored system: a champion trained on prepared captures, and days that follow."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from biometric_core.config import Config, load_config
from biometric_core.schemas import TABLES
from biometric_core.stages.register import register
from biometric_core.stages.train import train
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from tests.support.tiny_store import HISTORY, fill, small

CALM, CHANGED = date(2026, 1, 5), date(2026, 1, 7)
PEOPLE = 40
IMPRESSIONS = range(1, 5)


def monitored(config: Config) -> Config:
    """A champion trained on the history of `PEOPLE`; returns the configuration to use."""
    config = small(config)
    fill(config, subjects=PEOPLE, impressions=IMPRESSIONS)
    made_champion(config)
    return config


def made_champion(config: Config, as_of: datetime | None = None) -> str:
    """Train on what is there and make it champion; returns the version."""
    run = train(config, as_of=as_of or HISTORY + timedelta(days=1))
    version = register(config, run_id=run.run_id).version
    assert registry.set_champion(config, version, registry.champion_version(config))
    return version


def calm_day(config: Config, day: date = CALM, impression: int = 5, newcomers: int = 6) -> None:
    """Everybody comes once more, as before; newcomers have three impressions."""
    fill(config, subjects=PEOPLE, impressions=range(impression, impression + 1), day=at(day))
    if newcomers:
        fill(config, subjects=PEOPLE + newcomers, impressions=range(1, 4), day=at(day))


def changed_day(config: Config, day: date = CHANGED, impression: int = 6) -> None:
    """Everybody comes through a much noisier sensor."""
    span = range(impression, impression + 1)
    fill(config, subjects=PEOPLE, impressions=span, day=at(day), noise=160.0)


def failures(config: Config, day: date, count: int) -> None:
    """Captures of an eye that could not be acquired."""
    from biometric_core.imaging.preparation import preprocess_version

    store = Store.of(config)
    names = [f"failed{i}" for i in range(count)]
    common = {"capture_id": names, "modality": ["iris"] * count}
    people = [f"s{i % PEOPLE:03}" for i in range(count)]
    captures = common | {
        "subject_id": people,
        "position": ["left"] * count,
        "sensor": ["default"] * count,
        "captured_at": [at(day)] * count,
        "source": ["inbox"] * count,
    }
    features = common | {
        "preprocess_version": [preprocess_version(config)] * count,
        "failure": ["no_pupil"] * count,
    }
    for table, columns in (("captures", captures), ("features", features)):
        rows = {
            field.name: pa.array(columns.get(field.name, [None] * count), field.type)
            for field in TABLES[table]
        }
        store.append_new(table, pa.table(rows, schema=TABLES[table]))


def decide(
    config: Config,
    decision: str,
    drift_day: date | None,
    challenger: str = "2",
    until: date | None = None,
    sensors: Sequence[tuple[str, str]] = (),
) -> None:
    """A row as the gate writes it."""
    row = {
        "decision_id": f"{decision}-{drift_day}",
        "decided_at": datetime.now(UTC),
        "decision": decision,
        "reason": "for the test",
        "trigger": "drift",
        "drift_day": drift_day,
        "drift_until": until,
        "champion_version": "1",
        "challenger_version": challenger,
        "numbers": json.dumps({"sensors": sensors} if sensors else {}),
    }
    rows = pa.Table.from_pylist([row], schema=TABLES["decisions"])
    Store.of(config).append_new("decisions", rows)


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def column(table: pa.Table, name: str) -> np.ndarray:
    return np.array(table[name].to_pylist())


@functools.cache
def _base() -> tuple[Config, Path]:
    """Made once in a test process: training and registration take seconds."""
    folder = Path(tempfile.mkdtemp(prefix="drift-story-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    values = {
        # Hardly trained: what is tested holds for any network.
        "training": {"epochs": 1, "min_steps": 2, "width": 4},
        "storage": {"root": str(folder / "data")},
        "mlflow": {
            "tracking_uri": f"sqlite:///{folder}/mlflow.db",
            "artifact_root": str(folder / "artifacts"),
        },
    }
    return monitored(load_config("test", values)), folder


def system(tmp_path: Path) -> Config:
    """A copy of the monitored system that a test may change."""
    config, folder = _base()
    tmp_path.mkdir(exist_ok=True)
    shutil.copytree(folder / "data", tmp_path / "data")
    shutil.copy(folder / "mlflow.db", tmp_path / "mlflow.db")
    values = config.model_dump()
    values["storage"]["root"] = str(tmp_path / "data")
    values["mlflow"]["tracking_uri"] = f"sqlite:///{tmp_path}/mlflow.db"
    return Config.model_validate(values)


def with_settings(config: Config, section: str, **changes: object) -> Config:
    """The same system with other settings."""
    values = config.model_dump()
    values[section] |= changes
    return Config.model_validate(values)
