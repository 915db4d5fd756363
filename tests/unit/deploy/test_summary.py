import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deploy.story.summary import Summary

CLOSED = Summary(
    training={"run_id": "manual__1", "model_version": "1", "eer": {"iris": 0.05, "fused": None}},
    monitoring=[
        {"day": "2026-01-05", "alarm": False, "p_value": 0.4, "report": "reports/5.html"},
        {"day": "2026-01-07", "alarm": True, "p_value": 0.001, "report": "reports/7.html"},
    ],
    retraining={
        "run_id": "asset__1",
        "triggered_by": "asset",
        "decision": "rejected",
        "reason": "no better",
    },
    champion={"name": "biometric-recogniser", "version": "1"},
    seconds=12.5,
)


def test_a_rejected_challenger_closes_the_loop() -> None:
    assert CLOSED.open_ends() == []


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (replace(CLOSED, retraining=None), "started no retraining"),
        (replace(CLOSED, monitoring=CLOSED.monitoring[:1]), "no alarm"),
        (replace(CLOSED, champion={"name": "m", "version": None}), "no champion"),
        (
            replace(CLOSED, retraining={**(CLOSED.retraining or {}), "triggered_by": "rest_api"}),
            "asset event",
        ),
        (
            replace(CLOSED, retraining={**(CLOSED.retraining or {}), "decision": "not retrained"}),
            "no challenger",
        ),
    ],
)
def test_what_leaves_the_loop_open_is_said(broken: Summary, reason: str) -> None:
    assert any(reason in told for told in broken.open_ends())


def test_the_file_has_the_agreed_keys(tmp_path: Path) -> None:
    CLOSED.write(tmp_path / "summary.json")
    told = json.loads((tmp_path / "summary.json").read_text())
    assert list(told) == ["training", "monitoring", "retraining", "champion", "seconds"]
    assert set(told["monitoring"][0]) == {"day", "alarm", "p_value", "report"}


def test_it_is_readable() -> None:
    out = StringIO()
    CLOSED.show(Console(file=out, width=120))
    text = out.getvalue()
    assert "ALARM, p = 0.0010" in text
    assert "iris 5.0 %, fused not measurable" in text
