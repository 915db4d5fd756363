"""What is told, where it goes, and that nothing breaks when it can't be told."""

import base64
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.dags.listeners import Heard, mail_server, webhook

FACTS = {
    "day": "2026-01-07",
    "verdict": "alarm",
    "p_value": 0.0012,
    "reason": "iris, sensor default: quality moved, since 2026-01-06",
    "report": "reports/2026-01-07/drift.html",
    "model_version": "3",
}
DECIDED = {
    "decision": "rejected",
    "reason": "not better <b>",
    "champion_version": "3",
    "challenger_version": "4",
    "numbers": {},
    "decision_id": "abc",
    "trigger": "drift",
    "drift_day": "2026-01-07",
    "decided_at": "2026-01-08T00:00:00+00:00",
    "reused": False,
}


class Log(logging.Handler):
    """Lines of the channels; Airflow's own set-up of logging leaves nothing to `caplog`."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def text(self) -> str:
        return "\n".join(record.getMessage() for record in self.records)


@pytest.fixture
def log() -> Iterator[Log]:
    from biometric_airflow import channels

    handler, logger = Log(), logging.getLogger(channels.__name__)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    with mail_server() as heard:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "biometric@example.org"}
        connection = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": heard.port,
            "extra": extra | {"retry_limit": 0, "timeout": 5},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
        monkeypatch.setenv("BIOMETRIC__NOTIFICATIONS__TO", '["team@example.org"]')
        yield heard


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    with webhook() as heard:
        monkeypatch.setenv("no_proxy", "*")
        connect(monkeypatch, port=heard.port, extra={"path": "/hooks/secret"})
        yield heard


def connect(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    known = {"conn_type": "http", "host": "127.0.0.1", "schema": "http", **values}
    monkeypatch.setenv("AIRFLOW_CONN_BIOMETRIC_WEBHOOK", json.dumps(known))


def channels(monkeypatch: pytest.MonkeyPatch, kind: str, *names: str) -> None:
    monkeypatch.setenv(f"BIOMETRIC__NOTIFICATIONS__{kind.upper()}", json.dumps(names))


def failure() -> dict[str, Any]:
    return {
        "dag_run": SimpleNamespace(dag_id="biometric_training", run_id="manual__1"),
        "ti": SimpleNamespace(task_id="train"),
        "exception": ValueError("captures\nare missing"),
    }


def test_an_alarm_goes_everywhere_it_should(
    monkeypatch: pytest.MonkeyPatch, mails: Heard, posts: Heard, log: Log
) -> None:
    from biometric_airflow.channels import tell
    from biometric_airflow.notices import drift_notice

    channels(monkeypatch, "alarm", "log", "email", "webhook")
    tell(drift_notice(FACTS), {})
    (mail,) = mails.mails
    assert mail["To"] == "team@example.org"
    assert mail["Subject"] == "[biometric] drift alarm of 2026-01-07"
    html = mail.get_payload()[0].get_payload(decode=True).decode()
    assert FACTS["reason"] in html
    assert all(name in html for name in FACTS)
    (post,) = posts.posts
    assert post["facts"] == FACTS
    assert FACTS["reason"] in post["text"]
    assert "p = 0.0012" in post["text"]
    assert FACTS["report"] in post["text"]
    assert "biometric_retraining" in post["text"]
    assert posts.paths == ["/hooks/secret"]
    (line,) = [record for record in log.records if "drift alarm" in record.getMessage()]
    assert line.levelno == logging.WARNING


def test_each_kind_of_notice_has_its_own_channels(
    monkeypatch: pytest.MonkeyPatch, posts: Heard
) -> None:
    from biometric_airflow.channels import tell
    from biometric_airflow.notices import FailureNotice, decision_notice, drift_notice

    channels(monkeypatch, "decision", "webhook")
    channels(monkeypatch, "alarm")
    FailureNotice()(failure())
    tell(drift_notice(FACTS), {})
    assert posts.posts == []
    tell(decision_notice(DECIDED), {})
    (post,) = posts.posts
    assert post["title"] == "version 4 rejected"
    assert "Version 3 stays champion. Reason: not better <b>" in post["text"]
    assert post["facts"]["drift_day"] == "2026-01-07"


def test_a_failure_says_what_why_and_where(monkeypatch: pytest.MonkeyPatch, posts: Heard) -> None:
    from biometric_airflow.notices import FailureNotice

    channels(monkeypatch, "failure", "webhook")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example.org/")
    FailureNotice()(failure())
    (post,) = posts.posts
    assert post["title"] == "task train of biometric_training failed"
    assert "captures are missing" in post["text"]
    link = "http://airflow.example.org/dags/biometric_training/runs/manual__1"
    assert post["facts"]["link"] == link


def test_the_text_of_a_mail_is_no_markup_and_no_template(
    monkeypatch: pytest.MonkeyPatch, mails: Heard
) -> None:
    from biometric_airflow.channels import tell
    from biometric_airflow.notices import decision_notice

    channels(monkeypatch, "decision", "email")
    tell(decision_notice({**DECIDED, "reason": "{{ 6 * 7 }} <script>"}), {})
    html = mails.mails[0].get_payload()[0].get_payload(decode=True).decode()
    assert "{{ 6 * 7 }} &lt;script&gt;" in html


def test_login_and_headers_of_the_connection_are_sent(
    monkeypatch: pytest.MonkeyPatch, posts: Heard
) -> None:
    from biometric_airflow.channels import tell
    from biometric_airflow.notices import drift_notice

    channels(monkeypatch, "alarm", "webhook")
    whole = f"http://127.0.0.1:{posts.port}/all/in/the/host"
    headers = {"X-Team": "bio"}
    connect(
        monkeypatch,
        host=whole,
        schema="",
        login="user",
        password="secret",
        extra={"headers": headers},
    )
    tell(drift_notice(FACTS), {})
    assert posts.paths == ["/all/in/the/host"]
    assert posts.headers[0]["X-Team"] == "bio"
    token = base64.b64encode(b"user:secret").decode()
    assert posts.headers[0]["Authorization"] == f"Basic {token}"


@pytest.mark.parametrize("broken", ["refused", "nobody", "no connection", "redirected"])
def test_what_a_webhook_does_not_take_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, posts: Heard, log: Log, broken: str
) -> None:
    from biometric_airflow.channels import tell
    from biometric_airflow.notices import drift_notice

    channels(monkeypatch, "alarm", "webhook")
    posts.status = {"refused": 403, "redirected": 302}.get(broken, 200)
    if broken == "nobody":
        connect(monkeypatch, port=1, extra={"path": "/hooks/secret"})
    if broken == "no connection":
        monkeypatch.delenv("AIRFLOW_CONN_BIOMETRIC_WEBHOOK")
    tell(drift_notice(FACTS), {})
    assert "can't be told by webhook" in log.text
    assert FACTS["reason"] in log.text
    assert "hooks/secret" not in log.text


def test_a_mail_server_that_is_away_does_not_hide_the_failure(
    monkeypatch: pytest.MonkeyPatch, mails: Heard, log: Log
) -> None:
    from biometric_airflow.notices import FailureNotice

    channels(monkeypatch, "failure", "email", "log")
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {}}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    FailureNotice()(failure())
    assert "can't be told by email" in log.text
    assert log.text.count("captures are missing") == 1


def test_a_configuration_that_is_broken_is_told_to_the_log(
    monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    from biometric_airflow.notices import FailureNotice

    monkeypatch.setenv("BIOMETRIC__TRAINING__EPOCHS", "none")
    FailureNotice()(failure())
    assert "training.epochs" in log.text
    assert "captures are missing" in log.text


def test_a_rollback_and_a_late_run_are_told(monkeypatch: pytest.MonkeyPatch, posts: Heard) -> None:
    from biometric_airflow.channels import tell
    from biometric_airflow.notices import DeadlineNotice, decision_notice

    channels(monkeypatch, "decision", "webhook")
    channels(monkeypatch, "deadline", "webhook")
    tell(decision_notice({**DECIDED, "decision": "rolled_back"}), {})
    context: dict[str, Any] = {
        "dag_run": {
            "dag_id": "biometric_retraining",
            "dag_run_id": "asset__1",
            "state": "running",
            "conf": {"approval": True},
        },
        "deadline": {"id": "1", "deadline_time": "2026-01-08T06:00:00+00:00"},
    }
    DeadlineNotice()(context)
    back, late = posts.posts
    assert back["title"] == "rolled back to 4"
    assert "Version 4 is champion again" in back["text"]
    assert late["title"] == "biometric_retraining is late"
    assert "approval" in late["text"]
    assert late["facts"]["due"] == "2026-01-08T06:00:00+00:00"
