"""What becomes of a person's answer."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.dags.conftest import REPOSITORY


def event(option: str, user: dict[str, str] | None) -> dict[str, Any]:
    """As Airflow resumes a task that waited; nobody's answer is the default's."""
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime.now(UTC),
        "responded_by_user": user,
        "timedout": user is None,
    }


@pytest.mark.parametrize(
    ("option", "user", "answer"),
    [
        ("Approve", {"id": "1", "name": "ada"}, (True, "approved by ada")),
        ("Reject", {"id": "1", "name": "ada"}, (False, "rejected by ada")),
        ("Reject", None, (False, "nobody answered within 0.5 hours")),
    ],
)
def test_the_answer_names_who_gave_it(
    airflow_environment: object,
    option: str,
    user: dict[str, str] | None,
    answer: tuple[bool, str],
) -> None:
    from biometric_airflow.approval import OptionalApproval

    asked = OptionalApproval(hours=0.5, subject="May it?")
    assert asked.defaults == ["Reject"]
    told = asked.execute_complete({}, event(option, user))
    assert (told["approved"], told["reason"]) == answer


@pytest.mark.parametrize(
    ("given", "setting", "asked"),
    [
        (None, "never", set()),
        (None, "drift", {"biometric_retraining"}),
        (None, "always", {"biometric_training", "biometric_retraining"}),
        (True, "never", {"biometric_training", "biometric_retraining"}),
        (False, "always", set()),
    ],
)
def test_who_is_asked_is_said_by_the_run_and_else_by_the_configuration(
    database: None,
    monkeypatch: pytest.MonkeyPatch,
    given: bool | None,
    setting: str,
    asked: set[str],
) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    monkeypatch.setenv("BIOMETRIC__GATE__APPROVAL", setting)
    # What comes next waits for a person by way of a running Airflow.
    monkeypatch.setattr(ApprovalOperator, "execute", lambda self, context: "asked")
    found = set()
    for dag_id in ("biometric_training", "biometric_retraining"):
        dag = DagBag(REPOSITORY / "dags" / f"{dag_id}.py").dags[dag_id]
        assert dag.params["approval"] is None
        if dag.get_task("approve").execute({"params": {"approval": given}}) == "asked":
            found.add(dag_id)
    assert found == asked


@pytest.mark.parametrize(("setting", "waits"), [("drift", True), ("never", False)])
def test_a_late_run_that_an_alarm_started_may_be_waiting_for_a_person(
    airflow_environment: object, monkeypatch: pytest.MonkeyPatch, setting: str, waits: bool
) -> None:
    from biometric_airflow.notices import _may_wait

    monkeypatch.setenv("BIOMETRIC__GATE__APPROVAL", setting)
    assert _may_wait("biometric_retraining", None) is waits
    assert not _may_wait("biometric_training", None)
