import re
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from biometric_core.cli.terminal import show_status
from biometric_core.history import decisions
from biometric_core.history.decisions import Decision
from biometric_core.schemas import KEYS, TABLES
from biometric_core.stages.status import status
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs
from biometric_core.tracking.client import mlflow_client
from biometric_core.tracking.registry import _ensure_model
from tests.support.drift_rows import write_verdict
from tests.support.tiny_store import changed, fill, small


def drift_row(day: int, modality: str, verdict: str, statistic: str = "residual_t2") -> dict:
    return {
        "day": date(2026, 1, day),
        "model_version": "1",
        "modality": modality,
        "sensor": "default",
        "statistic": statistic,
        "value": 1.0,
        "p_value": 0.001,
        "threshold": 0.01,
        "subjects": 9,
        "verdict": verdict,
        "report": f"reports/2026-01-0{day}",
    }


def test_it_says_which_store_and_registry_it_shows_without_a_password(config, capsys):
    address = "http://me:hunter2@127.0.0.1:9/db?token=hunter2"
    told = status(changed(config, "mlflow", tracking_uri=address))
    assert told["store"] == config.storage.root
    assert told["registry"] == "http://127.0.0.1:9/db?token=***"
    show_status(told)
    shown = "".join(capsys.readouterr().out.split())
    assert config.storage.root in shown
    assert "http://127.0.0.1:9/db" in shown
    assert "hunter2" not in f"{shown}{told}"


@pytest.fixture
def served(config):
    """A champion, version 1, and a few prepared captures."""
    config = small(config)
    fill(config, subjects=2)
    with runs.run(config, name="r", tags={}) as run:
        pass
    with mlflow_client(config, "register") as client:
        _ensure_model(config, client)
        client.create_model_version(
            config.mlflow.model_name, "file:///x", run.run_id, tags={"fused_eer": "0.02"}
        )
    registry.set_champion(config, "1", expected=None)
    return config


def test_an_empty_installation_says_what_to_do_and_makes_no_database(config, tmp_path):
    found = status(config)
    assert found["champion"] is found["challenger"] is found["previous"] is None
    assert found["tables"] == dict.fromkeys(KEYS, 0)
    assert "make run" in found["next"]
    assert not (tmp_path / "mlflow.db").exists()


def test_mlflow_away_is_told_and_the_rest_still_answers(config, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = small(config)
    fill(config, subjects=2)
    found = status(changed(config, "mlflow", tracking_uri="http://127.0.0.1:9"))
    assert "127.0.0.1" in found["problem"]
    assert found["tables"]["captures"] == 16


def decided(store, number: int, decision: str = "rejected", drift_day: str | None = None) -> None:
    made = Decision(decision, "why", None, "1", drift_day=drift_day, decision_id=str(number))
    decisions.write(store, replace(made, decided_at=f"2026-01-02T00:00:0{number}+00:00"))


def test_champion_and_decisions_are_told(served):
    store = Store.of(served)
    for number in range(7):
        decided(store, number, "promoted" if number == 5 else "rejected")
    found = status(served)
    assert found["champion"]["version"] == "1"
    assert found["champion"]["fused_eer"] == 0.02
    assert found["champion"]["since"] == "2026-01-02T00:00:05+00:00"
    assert [d["decision_id"] for d in found["decisions"]] == ["6", "5", "4", "3", "2"]
    assert (found["day"], found["alarms"]) == (None, [])
    assert found["retraining"] == {"due": False, "reason": "no drift alarm", "day": None}


def test_the_last_day_is_told_with_the_days_that_were_like_it(served):
    store = Store.of(served)
    for day, verdict in enumerate(("alarm", "calm", "suspect", "alarm", "standing"), start=1):
        write_verdict(store, date(2026, 1, day), verdict, report=f"reports/{day}")
    found = status(served)
    assert found["day"] == {
        "day": "2026-01-05",
        "verdict": "standing",
        "since": "2026-01-03",
        "p_value": 0.001,
        "model_version": "1",
        "report": "reports/5",
    }
    assert found["alarms"] == [
        {"modality": "iris", "sensor": "default", "since": "2026-01-03", "answered": None}
    ]
    assert "reports/5" in found["next"]
    decided(store, 1, drift_day="2026-01-05")
    found = status(served)
    assert found["alarms"][0]["answered"] == "version 1 rejected"
    assert "was answered" in found["retraining"]["reason"]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("calm", "nothing:"), ("suspect", "suspect"), ("not_enough_subjects", "too few")],
)
def test_a_day_without_an_alarm_leaves_none_standing(served, verdict, said):
    store = Store.of(served)
    for day in (1, 2):
        write_verdict(store, date(2026, 1, day), verdict)
    write_verdict(store, date(2025, 12, 31), "alarm")
    found = status(served)
    assert (found["day"]["verdict"], found["alarms"]) == (verdict, [])
    assert found["day"]["since"] == ("2025-12-31" if verdict == "suspect" else "2026-01-01")
    assert said in found["next"]


def test_what_an_alarm_waits_for_is_told(served):
    write_verdict(Store.of(served), date(2026, 1, 2))
    found = status(served)
    assert not found["retraining"]["due"]
    assert "only 0 captures" in found["retraining"]["reason"]
    assert found["retraining"]["reason"] in found["next"]
    fill(served, subjects=20, impressions=range(5, 6), day=datetime(2026, 1, 2, 9, tzinfo=UTC))
    found = status(served)
    assert found["retraining"]["due"]
    assert "biometric_retraining" in found["next"]


def test_days_that_were_judged_before_days_had_a_verdict_are_told_as_well(served):
    rows = [
        drift_row(1, "iris", "alarm"),
        drift_row(2, "iris", "calm"),
        drift_row(2, "fingerprint", "alarm"),
        drift_row(2, "fingerprint", "calm", "genuine_shift"),
        drift_row(3, "fingerprint", "information", "quality"),
    ]
    Store.of(served).append_new("drift", pa.Table.from_pylist(rows, schema=TABLES["drift"]))
    found = status(served)
    assert [(v["modality"], v["day"], v["verdict"]) for v in found["verdicts"]] == [
        ("fingerprint", "2026-01-02", "alarm"),
        ("iris", "2026-01-02", "calm"),
    ]
    assert (found["day"]["verdict"], found["day"]["since"]) == ("alarm", "2026-01-01")
    assert [(one["modality"], one["since"]) for one in found["alarms"]] == [
        ("fingerprint", "2026-01-02")
    ]


def test_of_a_day_that_two_models_judged_the_newer_ones_verdict_counts(served):
    store = Store.of(served)
    write_verdict(store, date(2026, 1, 1), "alarm", version="9")
    write_verdict(store, date(2026, 1, 1), "calm", version="10")
    found = status(served)
    assert (found["day"]["verdict"], found["day"]["model_version"]) == ("calm", "10")


def test_of_a_day_that_was_judged_again_the_newest_verdict_counts(served, capsys):
    store = Store.of(served)
    write_verdict(store, date(2026, 1, 1), "calm")  # as older versions wrote it: no revision
    write_verdict(store, date(2026, 1, 2), "alarm")
    write_verdict(store, date(2026, 1, 2), "calm", revision=2)
    found = status(served)
    assert (found["day"]["verdict"], found["day"]["since"]) == ("calm", "2026-01-01")
    assert found["alarms"] == []
    assert found["retraining"]["reason"] == "no drift alarm"
    (replaced,) = found["replaced"]
    assert (replaced["day"], replaced["before"]) == ("2026-01-02", "alarm")
    show_status(found)
    assert "2026-01-02: calm, it was alarm" in capsys.readouterr().out
    write_verdict(store, date(2026, 1, 2), "alarm", revision=3)
    found = status(served)
    assert found["alarms"] != []
    assert found["replaced"][0]["before"] == "calm"


def test_a_table_from_before_days_had_several_verdicts_takes_new_ones(served):
    store, day = Store.of(served), date(2026, 1, 2)
    write_verdict(store, day, "alarm")
    rows, added = store.read("drift"), ["captures_digest", "judged_at", "revision", "run_day"]
    shutil.rmtree(Path(store.root, "tables", "drift"))
    write_deltalake(Path(store.root, "tables", "drift"), rows.drop_columns(added))
    assert status(served)["day"]["verdict"] == "alarm"
    write_verdict(store, day, "calm", revision=2)
    assert status(served)["day"]["verdict"] == "calm"
    assert store.read("drift").num_rows == 2 * rows.num_rows


def test_people_read_it_line_by_line(served, capsys):
    store = Store.of(served)
    write_verdict(store, date(2026, 1, 2))
    decided(store, 1)
    show_status(status(served))
    shown = capsys.readouterr().out
    for text in ("fused_eer 2.00 %", "2026-01-02: alarm", "not answered yet", "1 rejected: why"):
        assert text in shown
    assert not re.search(r"[{}]", shown)


def test_a_champion_that_is_not_the_one_on_record_is_told(served):
    store = Store.of(served)
    decided(store, 1, "promoted")
    assert status(served)["by_hand"] is None
    with mlflow_client(served, "a second version") as client:
        client.create_model_version(served.mlflow.model_name, "file:///x")
    registry.set_alias(served, registry.CHAMPION, "2")
    assert "somebody moved the alias by hand" in status(served)["next"]
    registry.drop_alias(served, registry.CHAMPION, "2")
    assert "the registry names no champion" in status(served)["next"]
    # What a promoter leaves that was killed between its row and the alias.
    registry.tag(served, "1", {"gate.pending.1": "promoted"})
    assert "switch to version 1 is only half done" in status(served)["next"]
