import json
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy.local.places import Layout, Ports, environment, keep_secrets
from deploy.story.world import switch_world


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "var")


def use(layout: Layout, source: Path | None, mark: str) -> str | None:
    said = switch_world(layout, source)
    (layout.var / "data" / "captures").mkdir(parents=True, exist_ok=True)
    (layout.var / "data" / mark).touch()
    return said


def test_each_source_has_its_own_tables(layout: Layout, tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.mkdir()
    assert use(layout, None, "generated") is None
    assert "another source" in (use(layout, people, "people") or "")
    assert not (layout.var / "data" / "generated").exists()
    use(layout, None, "generated again")
    assert (layout.var / "data" / "generated").exists()
    assert not (layout.var / "data" / "people").exists()


def test_the_same_source_again_moves_nothing(layout: Layout) -> None:
    use(layout, None, "generated")
    assert use(layout, None, "again") is None
    assert (layout.var / "data" / "generated").exists()
    assert not (layout.var / "other").exists()


def test_a_move_that_was_cut_off_is_finished(layout: Layout, tmp_path: Path) -> None:
    use(layout, None, "generated")
    (layout.var / "mlflow").mkdir()
    key = (layout.source / "world").read_text()
    aside = layout.var / "other" / key
    aside.mkdir(parents=True)
    (layout.var / "data").rename(aside / "data")  # killed after the first part
    switch_world(layout, tmp_path)
    assert sorted(path.name for path in aside.iterdir()) == ["data", "mlflow", "source"]


def test_tables_made_by_hand_are_not_mixed_in(layout: Layout) -> None:
    (layout.var / "data" / "tables" / "captures").mkdir(parents=True)
    assert "other/unnamed" in (switch_world(layout, None) or "")


def test_secrets_are_kept_and_private(layout: Layout) -> None:
    first = keep_secrets(layout)
    assert keep_secrets(layout) == first
    for name in ("secrets.json", "ray_token", "simple_auth_manager_passwords.json.generated"):
        assert stat.S_IMODE((layout.airflow / name).stat().st_mode) == 0o600
    told = json.loads((layout.airflow / "simple_auth_manager_passwords.json.generated").read_text())
    assert told == {"admin": first["password"]}


def test_the_caller_may_set_what_is_ours(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOMETRIC__SCHEDULES__RETRIES", "4")
    monkeypatch.setenv("AIRFLOW_HOME", "/elsewhere")
    env = environment(layout, Ports.choose(usual=False), watch_files=False)
    assert env["BIOMETRIC__SCHEDULES__RETRIES"] == "4"
    assert env["AIRFLOW_HOME"] == str(layout.airflow)


def test_ports_differ() -> None:
    ports = Ports.choose(usual=True)
    assert len(set(asdict(ports).values())) == 5
