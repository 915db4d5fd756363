"""Folders of the inbox that come late, come in two parts, or never come."""

import json
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from biometric_core.config import Config
from biometric_core.history.drift_table import JudgedDay, judged_days
from biometric_core.storage.store import Store
from tests.dags.conftest import Runner, World
from tests.dags.listeners import Heard, webhook
from tests.support.drift_rows import write_verdict

pytestmark = pytest.mark.slow
_KINDS = ("alarm", "decision", "failure", "deadline")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Everything is told to a webhook."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("BIOMETRIC__NOTIFICATIONS", json.dumps({k: ["webhook"] for k in _KINDS}))
    with webhook() as found:
        address = {"conn_type": "http", "host": f"http://127.0.0.1:{found.port}/"}
        monkeypatch.setenv("AIRFLOW_CONN_BIOMETRIC_WEBHOOK", json.dumps(address))
        yield found


@pytest.fixture
def inbox(world: World, copied: Config) -> Path:
    """With the second day of the story; of the first, nothing has come."""
    folder = Path(copied.storage.inbox)
    folder.mkdir()
    shutil.copytree(came(world) / world.days[1], folder / world.days[1])
    return folder


def came(world: World) -> Path:
    return world.home / "story" / "inbox"


def judged(config: Config) -> dict[str, JudgedDay]:
    return {one.day.isoformat(): one for one in judged_days(Store.of(config))}


def told(heard: Heard, kind: str) -> list[dict[str, Any]]:
    return [post for post in heard.posts if post["kind"] == kind]


def test_a_missing_folder_is_told_and_taken_in_when_it_comes(
    world: World, copied: Config, inbox: Path, run_dag: Runner, heard: Heard
) -> None:
    first, second = world.days[:2]
    states = run_dag("biometric_monitoring", day=first)
    assert (states["ingest"], states["monitor"], states[""]) == ("skipped", "skipped", "success")
    (notice,) = told(heard, "deadline")
    assert notice["title"] == f"no captures of {first} have come"
    assert notice["facts"]["folder"] == str(inbox / first)
    assert "within 7 days" in notice["text"]

    shutil.copytree(came(world) / first, inbox / first)
    assert run_dag("biometric_monitoring", day=second)["monitor"] == "success"
    found = judged(copied)
    assert set(found) == {first, second}
    assert found[first].run_day == date.fromisoformat(second)
    assert len(told(heard, "deadline")) == 1


def test_an_empty_folder_says_that_nobody_came(
    world: World, inbox: Path, run_dag: Runner, heard: Heard
) -> None:
    (inbox / world.days[0]).mkdir()
    assert run_dag("biometric_monitoring", day=world.days[0])["monitor"] == "skipped"
    assert heard.posts == []


def test_the_second_half_of_a_day_is_judged_with_the_first_by_the_next_run(
    world: World, copied: Config, inbox: Path, run_dag: Runner
) -> None:
    first, second = world.days[:2]
    shutil.copytree(came(world) / first / "iris", inbox / first / "iris")
    run_dag("biometric_monitoring", day=first)
    before = judged(copied)[first]
    shutil.copytree(came(world) / first / "fingerprint", inbox / first / "fingerprint")
    run_dag("biometric_monitoring", day=second)
    after = judged(copied)[first]
    assert (before.revision, after.revision) == (1, 2)
    assert {row["modality"] for row in before.rows} == {"iris"}
    assert {row["modality"] for row in after.rows} == {"iris", "fingerprint"}
    assert after.captures_digest != before.captures_digest


def test_a_run_without_captures_of_its_own_takes_in_what_came_late(
    world: World, copied: Config, inbox: Path, run_dag: Runner, heard: Heard
) -> None:
    later = date.fromisoformat(world.days[1]) + timedelta(days=3)
    states = run_dag("biometric_monitoring", day=later.isoformat())
    assert (states["monitor"], states["alert"]) == ("success", "skipped")
    assert set(judged(copied)) == {world.days[1]}
    assert len(told(heard, "deadline")) == 1


def test_a_late_folder_that_cannot_be_read_is_told_and_blinds_nobody(
    world: World, copied: Config, inbox: Path, run_dag: Runner, heard: Heard
) -> None:
    broken = inbox / world.days[0] / "iris" / "001_L_05.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half an image")
    assert run_dag("biometric_monitoring", day=world.days[1])["monitor"] == "success"
    assert set(judged(copied)) == {world.days[1]}
    (notice,) = told(heard, "failure")
    assert notice["title"] == f"the captures of {world.days[0]} can't be taken in"
    assert "refused" in notice["text"]


def test_another_verdict_on_an_earlier_day_is_told(
    world: World, copied: Config, inbox: Path, run_dag: Runner, heard: Heard
) -> None:
    first, second = (date.fromisoformat(day) for day in world.days[:2])
    shutil.copytree(came(world) / world.days[0], inbox / world.days[0])
    write_verdict(Store.of(copied), first, captures_digest="of other captures")
    run_dag("biometric_monitoring", day=second.isoformat())
    now = judged(copied)[first.isoformat()]
    assert (now.replaced, now.revision) == ("alarm", 2)
    assert now.verdict != "alarm"
    (notice,) = told(heard, "alarm")
    assert notice["title"] == f"the verdict on {first} is {now.verdict}, it was alarm"
    assert notice["facts"]["report"] == now.report


def test_an_alarm_of_an_earlier_day_is_told_and_wakes_the_retraining(
    world: World, copied: Config, inbox: Path, run_dag: Runner, heard: Heard
) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    first, second = (date.fromisoformat(day) for day in world.days[:2])
    write_verdict(Store.of(copied), first, "calm", run_day=first, revision=1)
    write_verdict(Store.of(copied), first, "alarm", run_day=second, revision=2)
    with create_session() as session:
        before = session.query(AssetEvent).count()
    states = run_dag("biometric_monitoring", day=second.isoformat())
    assert states["alert"] == "success"
    with create_session() as session:
        events = session.query(AssetEvent).order_by(AssetEvent.id).all()[before:]
        (extra,) = [event.extra for event in events]
    assert (extra["day"], extra["verdict"]) == (first.isoformat(), "alarm")
    (notice,) = told(heard, "alarm")
    assert notice["title"] == f"drift alarm of {first}"
    assert "it was calm" in notice["text"]
