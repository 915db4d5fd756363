"""What becomes of a person's answer."""

from datetime import UTC, datetime
from typing import Any

import pytest


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


def test_nobody_is_asked_unless_the_run_says_so(airflow_environment: object) -> None:
    from biometric_airflow.approval import OptionalApproval

    asked = OptionalApproval(hours=1, subject="May it?")
    assert asked.execute({"params": {"approval": False}}) is None
