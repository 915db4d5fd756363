"""Each DAG run from end to end on generated people, on one database."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from biometric_core import decisions
from biometric_core.drift import GENUINE_SHIFT
from biometric_core.schemas import TABLES
from biometric_core.store import Store
from biometric_core.verdicts import Outcome
from tests.dags.conftest import FIRST_DAY, Runner, World

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
    alarm = any(row["verdict"] == "alarm" for row in judged)
    assert states["alert"] == ("success" if alarm else "skipped")
    assert states["monitor"] == "success"
    captures = Store.of(world.config).read("captures", ["captured_at"])["captured_at"].to_pylist()
    assert {taken.date() for taken in captures} >= {date.fromisoformat(day)}
    before = rows(world)
    assert run_dag("biometric_monitoring", day=day) == states
    assert rows(world) == before


def test_a_run_of_an_interval_watches_the_day_it_starts_on(
    world: World, trained: dict[str, str], run_dag: Runner
) -> None:
    known = next(path for path in Path(world.history).rglob("*_L_01.*"))
    copy = Path(world.config.storage.inbox, "2026-02-08", known.parent.name, known.name)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(known.read_bytes())
    run = run_dag.dags["biometric_monitoring"].test(logical_date=datetime(2026, 2, 9, tzinfo=UTC))
    assert run.data_interval_end - run.data_interval_start == timedelta(days=1)
    states = {task.task_id: str(task.state) for task in run.get_task_instances()}
    assert states["ingest"] == "success"  # it found the folder of the day
    assert states["alert"] == "skipped"


def test_monitoring_skips_a_day_without_captures(trained: dict[str, str], run_dag: Runner) -> None:
    states = run_dag("biometric_monitoring", day="2026-02-01")
    assert states.pop("") == "success"
    assert set(states.values()) == {"skipped"}


def test_an_alarm_sends_the_asset_event(
    world: World, trained: dict[str, str], run_dag: Runner
) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    day = world.days[1]
    assume_alarm(world, day)
    assert run_dag("biometric_monitoring", day=day)["alert"] == "success"
    with create_session() as session:
        extras = [event.extra for event in session.query(AssetEvent).all()]
    assert {"day": day, "p_value": 0.001, "report": "reports/none.html"} in extras


def assume_alarm(world: World, day: str) -> None:
    """A stored verdict, as `monitor` leaves it behind after drift."""
    row: dict[str, Any] = {
        "day": date.fromisoformat(day),
        "model_version": "1",
        "modality": "iris",
        "sensor": "default",
        "statistic": GENUINE_SHIFT,
        "value": -2.0,
        "p_value": 0.001,
        "threshold": 0.01,
        "subjects": 12,
        "verdict": Outcome.ALARM.value,
        "report": "reports/none.html",
    }
    table = pa.Table.from_pylist([row], schema=TABLES["drift"])
    assert Store.of(world.config).append_new("drift", table) == 1


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
