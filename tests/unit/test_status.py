from datetime import date

import pyarrow as pa
from tiny_store import changed, fill, small

from biometric_core import decisions
from biometric_core.decisions import Decision
from biometric_core.schemas import KEYS, TABLES
from biometric_core.status import status
from biometric_core.store import Store
from biometric_core.tracking import registry, runs
from biometric_core.tracking.client import mlflow_client


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


def test_champion_verdicts_and_decisions_are_told(config):
    config = small(config)
    fill(config, subjects=2)
    with runs.run(config, name="r", tags={}) as run:
        pass
    with mlflow_client(config, "register") as client:
        registry._ensure_model(config, client)
        client.create_model_version(
            config.mlflow.model_name, "file:///x", run.run_id, tags={"fused_eer": "0.02"}
        )
    registry.set_champion(config, "1", expected=None)
    store = Store.of(config)
    for number in range(7):
        made = Decision("promoted" if number == 5 else "rejected", "why", None, "1")
        stamp = f"2026-01-02T00:00:0{number}+00:00"
        decisions.write(
            store, Decision(**{**vars(made), "decision_id": str(number), "decided_at": stamp})
        )
    rows = [
        drift_row(1, "iris", "alarm"),
        drift_row(2, "iris", "calm"),
        drift_row(2, "fingerprint", "alarm"),
        drift_row(2, "fingerprint", "calm", "genuine_shift"),
        drift_row(3, "fingerprint", "information", "quality"),
    ]
    store.append_new("drift", pa.Table.from_pylist(rows, schema=TABLES["drift"]))
    found = status(config)
    assert found["champion"]["version"] == "1"
    assert found["champion"]["fused_eer"] == 0.02
    assert found["champion"]["since"] == "2026-01-02T00:00:05+00:00"
    assert [d["decision_id"] for d in found["decisions"]] == ["6", "5", "4", "3", "2"]
    assert [(v["modality"], v["day"], v["verdict"]) for v in found["verdicts"]] == [
        ("fingerprint", "2026-01-02", "alarm"),
        ("iris", "2026-01-02", "calm"),
    ]
    assert "drift" in found["next"]
