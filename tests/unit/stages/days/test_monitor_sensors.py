"""Several sensors in one inbox, one of which changes: it alone is named, by all that follows."""

from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc
import pytest

from biometric_core.config import Config
from biometric_core.history import drift_table
from biometric_core.history.drift_table import TESTED
from biometric_core.monitoring.loading import load_groups
from biometric_core.monitoring.report.facts import Facts, facts
from biometric_core.monitoring.scoring_model import scoring_model
from biometric_core.monitoring.windows import REFERENCE
from biometric_core.sources import sensor_change
from biometric_core.sources.sensor_change import apply
from biometric_core.stages.ingest import ingest
from biometric_core.stages.monitor import MonitorResult, monitor
from biometric_core.stages.plan_retraining import plan_retraining
from biometric_core.stages.preprocess import preprocess
from biometric_core.stages.score import score
from biometric_core.storage.store import Store
from biometric_core.training.training_data import load_training_data
from tests.support.drawn_source import drawn_config, drawn_source
from tests.support.drift_story import (
    CHANGED,
    PEOPLE,
    at,
    decide,
    made_champion,
    system,
    with_settings,
)
from tests.support.tiny_store import changed, database, fill


def outcomes(result: MonitorResult, sensor: str) -> set[str]:
    return {
        verdict["verdict"]
        for verdict in result.verdicts
        if verdict["sensor"] == sensor and verdict["statistic"] in TESTED
    }


def told(config: Config, day: date) -> Facts:
    rows = Store.of(config).read("drift").sort_by("day").to_pylist()
    return facts(
        [row for row in rows if row["day"] == day], [row for row in rows if row["day"] < day]
    )


@pytest.fixture
def doors(tmp_path) -> Config:
    """Everybody came through two doors on two days; on the second day one of them has changed."""
    config = system(tmp_path)
    before = CHANGED - timedelta(days=1)
    visits = ((before, "door-3"), (before, "door-4"), (CHANGED, "door-3"), (CHANGED, "door-4"))
    for impression, (day, door) in enumerate(visits, start=5):
        noise = 160.0 if (day, door) == (CHANGED, "door-3") else 25.0
        span = range(impression, impression + 1)
        fill(config, subjects=PEOPLE, impressions=span, day=at(day), sensor=door, noise=noise)
    return config


def test_the_changed_sensor_is_named_and_the_other_stays_calm(doors: Config) -> None:
    assert monitor(doors, day=CHANGED - timedelta(days=1)).verdict == "calm"
    result = monitor(doors, day=CHANGED)
    assert result.alarm
    assert "alarm" in outcomes(result, "door-3")
    assert outcomes(result, "door-4") == {"calm"}
    assert "iris, sensor door-3" in result.reason
    assert "door-4" not in result.reason

    found = told(doors, CHANGED)
    assert {(one.modality, one.sensor) for one in found.moved} == {
        ("iris", "door-3"),
        ("fingerprint", "door-3"),
    }
    assert {one.since for one in found.moved} == {CHANGED}
    assert sorted(found.calm) == ["fingerprint, sensor door-4", "iris, sensor door-4"]
    page = (Path(doors.storage.root) / str(result.report)).read_text()
    assert "sensor door-3, since 2026-01-07" in page
    assert "sensor door-4, since" not in page

    demanding = with_settings(doors, "retraining", min_new_captures=10)
    planned = plan_retraining(demanding, trigger="asset")
    assert not planned.retrain, "so noisy a sensor that the champion rejects nearly every claim"
    rejected = planned.numbers["rejected_claims"]
    assert rejected > 0
    assert f"({rejected} more are rejected claims)" in planned.reason
    planned = plan_retraining(
        with_settings(doors, "retraining", min_new_captures=1), trigger="asset"
    )
    assert planned.retrain
    assert planned.sensors == (("fingerprint", "door-3"), ("iris", "door-3"))
    fitted = load_training_data(doors).train.values()
    since = np.datetime64(CHANGED)
    changed_since = [(f.sensor == "door-3") & (f.captured_at >= since) for f in fitted]
    assert 0 < planned.numbers["new_captures"] == int(np.concatenate(changed_since).sum())
    assert planned.numbers["moved"] == ["fingerprint, sensor door-3", "iris, sensor door-3"]


DAY = date(2026, 1, 5)


@pytest.mark.slow
def test_folders_of_an_inbox_tell_drawn_eyes_of_two_sensors_apart(config, tmp_path) -> None:
    config = changed(drawn_config(config), "training", minutiae=False)
    database(Path(config.mlflow.tracking_uri.removeprefix("sqlite:///")).parent)
    history = drawn_source(tmp_path / "history", subjects=24, impressions=6, fingers=False)
    inbox = tmp_path / "inbox" / DAY.isoformat()
    for impression, door in ((5, "door-3"), (6, "door-4")):
        folder = inbox / f"sensor={door}" / "iris"
        folder.mkdir(parents=True)
        for path in sorted(history.glob(f"iris/*_{impression:02d}.png")):
            path.rename(folder / path.name)
            if door == "door-3":
                image = cv2.imread(str(folder / path.name), cv2.IMREAD_GRAYSCALE)
                rng = np.random.default_rng(int(path.name[:3]))
                cv2.imwrite(str(folder / path.name), apply(image, sensor_change.CHANGED, rng))
    for source, day in ((history, date(2026, 1, 1)), (inbox, DAY)):
        taken = datetime(day.year, day.month, day.day, tzinfo=UTC)
        ingest(config, source=str(source), captured_at=taken)
        preprocess(config)
        if source == history:
            made_champion(config, as_of=taken + timedelta(days=1))
    result = monitor(config, day=DAY)
    assert result.alarm
    assert {v["sensor"] for v in result.verdicts} == {"door-3", "door-4", "all"}
    assert "alarm" in outcomes(result, "door-3")
    assert outcomes(result, "door-4") == {"calm"}
    assert [(one.modality, one.sensor) for one in told(config, DAY).moved] == [("iris", "door-3")]
    moved = [v["statistic"] for v in result.verdicts if v["verdict"] == "alarm"]
    assert drift_table.QUALITY_T2 in moved


def test_after_an_answered_drift_only_what_moved_has_a_new_reference(tmp_path) -> None:
    config = system(tmp_path)
    store = Store.of(config)
    before, later = CHANGED - timedelta(days=1), CHANGED + timedelta(days=1)
    visits = product(((before, PEOPLE), (CHANGED, PEOPLE // 2), (later, PEOPLE)), (3, 4))
    for impression, ((day, people), door) in enumerate(visits, start=5):
        span = range(impression, impression + 1)
        fill(config, subjects=people, impressions=span, day=at(day), sensor=f"door-{door}")
    version = made_champion(config, as_of=at(CHANGED) + timedelta(hours=1))
    decide(config, "promoted", CHANGED, challenger=version, sensors=[("iris", "door-3")])
    model = scoring_model(config, store, later)
    assert (model.version, len(model.answered)) == (version, 1)
    score(config, day=later, model=model)
    assert set(reference_days(store, "iris", "door-3")) == {CHANGED}
    for other in (("iris", "door-4"), ("fingerprint", "door-3"), ("fingerprint", "door-4")):
        assert set(reference_days(store, *other)) == {before, CHANGED}
    groups = load_groups(store, config, later, model)
    known = {(one.modality, one.sensor): len(one.reference.attempts) for one in groups}
    assert known.pop(("iris", "door-3")) == PEOPLE // 2
    assert list(known.values()) == [PEOPLE + PEOPLE // 2] * 3


def reference_days(store: Store, modality: str, sensor: str) -> list[date]:
    of = (pc.field("modality") == modality) & (pc.field("sensor") == sensor)
    of &= pc.field("window") == REFERENCE
    return store.read("probes", ["day"], of)["day"].to_pylist()
