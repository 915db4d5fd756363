"""Each DAG run from end to end on generated people, on one database."""

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from biometric_core.config import Config
from biometric_core.history import decisions
from biometric_core.schemas import TABLES
from biometric_core.storage.store import Store
from biometric_core.tracking import registry
from biometric_core.tracking.client import mlflow_client
from tests.dags.conftest import FIRST_DAY, Runner, World
from tests.dags.listeners import webhook
from tests.support.drift_rows import write_verdict

pytestmark = pytest.mark.slow


def rows(world: World) -> dict[str, int]:
    store = Store.of(world.config)
    return {name: store.read(name).num_rows for name in TABLES}


def test_training_makes_the_first_champion(world: World, trained: dict[str, str]) -> None:
    assert set(trained.values()) == {"success"}
    store = Store.of(world.config)
    made = decisions.last_change(decisions.read(store))
    assert made is not None
    assert (made.decision, made.trigger, made.challenger_version) == ("promoted", "training", "1")
    taken = store.read("captures")["captured_at"].to_pylist()
    assert max(taken) < datetime(2026, 1, 5, tzinfo=UTC)


def test_training_again_changes_nothing(
    world: World, trained: dict[str, str], run_dag: Runner
) -> None:
    before = rows(world)
    states = run_dag(
        "biometric_training", source=world.history, as_of=f"{FIRST_DAY}T00:00:00+00:00"
    )
    assert set(states.values()) == {"success"}
    assert rows(world) == before


def test_monitoring_judges_its_day_once(
    world: World, trained: dict[str, str], run_dag: Runner
) -> None:
    day = world.days[0]
    states = run_dag("biometric_monitoring", day=day)
    verdicts = Store.of(world.config).read("drift").to_pylist()
    judged = [row for row in verdicts if row["day"].isoformat() == day]
    assert judged
    alarm = any(row["verdict"] == "alarm" for row in judged if row["statistic"] == "day")
    assert states["alert"] == ("success" if alarm else "skipped")
    assert states["monitor"] == "success"
    captures = Store.of(world.config).read("captures", ["captured_at"])["captured_at"].to_pylist()
    assert {taken.date() for taken in captures} >= {date.fromisoformat(day)}
    before = rows(world)
    assert run_dag("biometric_monitoring", day=day) == states
    assert rows(world) == before


def test_a_run_of_an_interval_watches_the_day_it_starts_on_and_each_sensor_of_it(
    world: World, copied: Config, run_dag: Runner
) -> None:
    came = world.home / "story" / "inbox" / world.days[0]
    for modality, door in (("iris", "door-3"), ("fingerprint", "door-4")):
        folder = Path(copied.storage.inbox, "2026-02-08", f"sensor={door}", modality)
        shutil.copytree(came / modality, folder)
    assert run_dag.of_day("biometric_monitoring", date(2026, 2, 8))["monitor"] == "success"
    rows = Store.of(copied).read("drift", ["day", "modality", "sensor"]).to_pylist()
    assert {row["day"] for row in rows} == {date(2026, 2, 8)}
    assert {(row["modality"], row["sensor"]) for row in rows} == {
        ("iris", "door-3"),
        ("fingerprint", "door-4"),
        ("all", "all"),
    }


def test_monitoring_skips_a_day_without_captures(trained: dict[str, str], run_dag: Runner) -> None:
    states = run_dag("biometric_monitoring", day="2026-02-01")
    assert (states.pop(""), states.pop("earlier_days")) == ("success", "success")
    assert set(states.values()) == {"skipped"}


@pytest.mark.parametrize("left", ["", ".DS_Store", "sensor=door-3/iris/Thumbs.db"])
def test_monitoring_skips_a_day_whose_folder_holds_no_capture(
    copied: Config, run_dag: Runner, left: str
) -> None:
    folder = Path(copied.storage.inbox, "2026-02-01")
    (folder / left).parent.mkdir(parents=True, exist_ok=True)
    if left:
        (folder / left).write_bytes(b"x")
    folder.mkdir(exist_ok=True)
    states = run_dag("biometric_monitoring", day="2026-02-01")
    assert (states.pop(""), states.pop("earlier_days")) == ("success", "success")
    assert set(states.values()) == {"skipped"}


def test_monitoring_fails_a_day_of_which_nothing_can_be_read(
    copied: Config, run_dag: Runner
) -> None:
    folder = Path(copied.storage.inbox, "2026-02-01", "iris")
    folder.mkdir(parents=True)
    (folder / "001_L_01.bmp").write_bytes(b"no image")
    assert run_dag("biometric_monitoring", day="2026-02-01")["ingest"] == "failed"


def test_who_was_enrolled_by_training_is_the_same_at_the_door(
    world: World, copied: Config, run_dag: Runner
) -> None:
    enrolled = set(Store.of(copied).read("captures")["subject_id"].to_pylist())
    came = world.home / "story" / "inbox" / world.days[2]  # all who are enrolled come on that day
    shutil.copytree(came, Path(copied.storage.inbox, "2026-02-01"))
    Path(copied.storage.inbox, "2026-02-01", ".generator.json").unlink()  # as real days come
    assert run_dag("biometric_monitoring", day="2026-02-01")["preprocess"] == "success"
    rows = Store.of(copied).read("captures").to_pylist()
    assert {row["namespace"] for row in rows} == {"generated"}
    assert {row["subject_id"] for row in rows if row["source"] == "inbox"} >= enrolled


def test_an_alarm_sends_the_asset_event(
    world: World, trained: dict[str, str], run_dag: Runner
) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    day = world.days[1]
    write_verdict(Store.of(world.config), date.fromisoformat(day))
    assert run_dag("biometric_monitoring", day=day)["alert"] == "success"
    with create_session() as session:
        events = [event.extra for event in session.query(AssetEvent).all()]
    (extra,) = [one for one in events if one["day"] == day]
    assert "iris, sensor default" in extra.pop("reason")
    assert extra == {
        "day": day,
        "verdict": "alarm",
        "p_value": 0.001,
        "report": "reports/none.html",
        "model_version": "1",
    }


@pytest.mark.parametrize("verdict", ["suspect", "standing", "calm"])
def test_what_is_not_confirmed_or_was_told_sends_nothing(
    copied: Config, run_dag: Runner, world: World, verdict: str
) -> None:
    came = world.home / "story" / "inbox" / world.days[0]
    shutil.copytree(came, Path(copied.storage.inbox, world.days[0]))
    write_verdict(Store.of(copied), date.fromisoformat(world.days[0]), verdict)
    states = run_dag("biometric_monitoring", day=world.days[0])
    assert (states["monitor"], states["alert"]) == ("success", "skipped")


def test_retraining_without_an_alarm_is_skipped(
    world: World, trained: dict[str, str], run_dag: Runner
) -> None:
    Store.of(world.config).replace("drift", TABLES["drift"].empty_table(), "true")
    states = run_dag("biometric_retraining")
    assert states.pop("") == "success"
    assert set(states.values()) == {"skipped"}


def test_forced_retraining_ends_in_a_decision(
    world: World, trained: dict[str, str], run_dag: Runner
) -> None:
    run_dag("biometric_monitoring", day=world.days[2])
    states = run_dag("biometric_retraining", force=True, day=world.days[2])
    assert set(states.values()) == {"success"}
    made = decisions.read(Store.of(world.config))[-1]
    assert made.trigger == "drift"
    assert made.drift_day == world.days[2]
    assert made.challenger_version == "2"
    assert made.decision in ("promoted", "rejected")


def test_rollback_needs_a_reason(run_dag: Runner) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        run_dag("biometric_rollback", reason="")


def test_a_rollback_is_told_and_days_are_watched_by_the_model_that_returned(
    copied: Config, run_dag: Runner, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    crown_a_copy(copied)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("BIOMETRIC__NOTIFICATIONS__DECISION", '["webhook"]')
    shutil.copytree(Path(world.home, "story", "inbox"), copied.storage.inbox)
    with webhook() as heard:
        address = {"conn_type": "http", "host": f"http://127.0.0.1:{heard.port}/"}
        monkeypatch.setenv("AIRFLOW_CONN_BIOMETRIC_WEBHOOK", json.dumps(address))
        states = run_dag("biometric_rollback", reason="worse on the night shift")
    assert set(states.values()) == {"success"}
    (told,) = heard.posts
    assert told["title"] == "rolled back to 1"
    assert "worse on the night shift" in told["text"]
    assert run_dag("biometric_monitoring", day=world.days[0])["monitor"] == "success"
    store = Store.of(copied)
    assert set(store.read("drift")["model_version"].to_pylist()) == {"1"}
    seen = store.read("probes", ["model_version", "window"])
    assert set(seen["model_version"].to_pylist()) == {"1"}
    assert {"reference", "current"} <= set(seen["window"].to_pylist())


def crown_a_copy(config: Config) -> None:
    """The champion's bundle once more as version 2, and that as champion."""
    first = registry.require(config, "1")
    with mlflow_client(config, "copy a version") as client:
        name = config.mlflow.model_name
        source = client.get_model_version(name, "1").source
        client.create_model_version(name, source, first.run_id, tags=first.tags)
    assert registry.set_champion(config, "2", expected="1")


def test_maintenance_leaves_what_models_were_trained_on(
    world: World, trained: dict[str, str], run_dag: Runner
) -> None:
    store = Store.of(world.config)
    before = store.read("features", ["capture_id"]).sort_by("capture_id")
    assert set(run_dag("biometric_maintenance").values()) == {"success"}
    assert store.read("features", ["capture_id"]).sort_by("capture_id") == before
