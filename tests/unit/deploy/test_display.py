from io import StringIO

from rich.console import Console

from deploy.local import display
from deploy.local.display import Display


def lines(said: StringIO) -> list[str]:
    return said.getvalue().splitlines()


def test_what_lasts_is_told_once_and_then_now_and_then(monkeypatch) -> None:
    said = StringIO()
    shown = Display({"start": "Airflow"}, Console(file=said))
    for _ in range(20):
        shown.start("start", "waiting for the database")
    assert len(lines(said)) == 1, "a poll a second must not flood a log"
    monkeypatch.setattr(display, "_REPEAT_SECONDS", 0.0)
    shown.start("start", "waiting for the database")
    assert len(lines(said)) == 2
    shown.start("start", "waiting for Ray")
    shown.done("start", "up")
    assert [line.split("] ")[1] for line in lines(said)] == [
        *["Airflow running: waiting for the database"] * 2,
        "Airflow running: waiting for Ray",
        "Airflow done: up",
    ]
