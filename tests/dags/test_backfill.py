"""Days judged later, in their order, are judged as on those days."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from biometric_core.cli.commands import app
from biometric_core.config import Config
from biometric_core.history.drift_table import read_rows
from biometric_core.storage.store import Store
from tests.dags.conftest import Runner, World

pytestmark = pytest.mark.slow


@pytest.fixture
def inbox(world: World, copied: Config) -> Path:
    """Empty: what comes on a day is copied from the story on that day."""
    folder = Path(copied.storage.inbox)
    folder.mkdir()
    return folder


def verdicts(config: Config) -> list[dict[str, Any]]:
    """All that was found, but where the report is and when it was judged."""
    other = ("report", "judged_at", "revision", "run_day")
    rows = read_rows(Store.of(config))
    kept = [{name: row[name] for name in row if name not in other} for row in rows]
    return sorted(kept, key=str)


def forget(config: Config) -> None:
    for table in ("drift", "probes"):
        Store.of(config).delete(table, "true")


def forget_captures(config: Config, day: date) -> None:
    """As if they had never been taken in: else the next run would judge their day."""
    store = Store.of(config)
    rows = store.read("captures", ["capture_id", "captured_at"]).to_pylist()
    ids = [f"'{row['capture_id']}'" for row in rows if row["captured_at"].date() == day]
    assert ids
    store.delete("captures", f"capture_id IN ({', '.join(ids)})")


def test_a_backfill_gives_the_verdicts_of_the_days(
    world: World, copied: Config, inbox: Path, run_dag: Runner
) -> None:
    story = world.home / "story" / "inbox"
    for day in world.days:
        shutil.copytree(story / day, inbox / day)
        assert run_dag("biometric_monitoring", day=day)["monitor"] == "success"
    on_the_days = verdicts(copied)
    assert {row["day"].isoformat() for row in on_the_days} == set(world.days)
    forget(copied)
    for day in world.days:
        states = run_dag.of_day("biometric_monitoring", date.fromisoformat(day))
        assert states["monitor"] == "success"
    assert verdicts(copied) == on_the_days


def test_a_day_that_failed_is_made_up_for(
    world: World, copied: Config, inbox: Path, run_dag: Runner
) -> None:
    first, failing, last = (date.fromisoformat(day) for day in world.days)
    shutil.copytree(world.home / "story" / "inbox", inbox, dirs_exist_ok=True)
    for day in world.days:
        run_dag.of_day("biometric_monitoring", date.fromisoformat(day))
    undisturbed = verdicts(copied)
    forget(copied)
    forget_captures(copied, failing)
    captures = inbox / failing.isoformat()
    captures.rename(inbox / "kept")
    broken = captures / "iris" / "001_L_05.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half an image")

    run_dag.of_day("biometric_monitoring", first)
    states = run_dag.of_day("biometric_monitoring", failing)
    assert (states["ingest"], states[""]) == ("failed", "failed")
    states = run_dag.of_day("biometric_monitoring", last)  # the next morning goes on without it
    assert states["monitor"] == "success"
    assert {row["day"] for row in verdicts(copied)} == {first, last}

    shutil.rmtree(captures)
    (inbox / "kept").rename(captures)
    assert run_dag.of_day("biometric_monitoring", failing)["monitor"] == "success"
    days = ("--day", failing.isoformat(), "--until", last.isoformat())
    again = CliRunner().invoke(app, ["monitor", *days, "--force"])
    assert again.exit_code == 0, again.output
    assert last.isoformat() in again.output
    assert verdicts(copied) == undisturbed
