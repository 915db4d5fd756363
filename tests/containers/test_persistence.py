"""What outlives the containers: stopped and started, and backed up, wiped and restored."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.airflow_api import DagRun
from deploy.local.places import REPOSITORY
from deploy.local.stack import DAGS
from tests.containers.stack import CommandFailed, ContainerStack, within
from tests.system.live import TRAINING_ENDS, ended, follow, runs_of

pytestmark = pytest.mark.containers
_DAY = "2026-02-02"


@pytest.fixture(scope="module")
def lived_in(small: ContainerStack, champion: DagRun, history: str) -> ContainerStack:
    """The small stack, with a watched day and its report."""
    small.run_in("worker", "cp", "-r", history, f"/var/lib/biometric/inbox/{_DAY}")
    follow(small, "biometric_monitoring", {"day": _DAY})
    return small


def remembered(stack: ContainerStack) -> dict[str, Any]:
    """History, tables, models, champion and reports."""
    runs = {dag_id: [(r.run_id, r.state) for r in runs_of(stack, dag_id)] for dag_id in DAGS}
    found = {**stack.inside("state"), "runs": runs, "weights": stack.inside("champion_weights")}
    assert found["reports"]
    assert found["champion"]
    assert runs["biometric_training"]
    return found


def last_log(stack: ContainerStack, run: DagRun) -> str:
    (task,) = (task for task in stack.api.tasks(run) if task.task_id == "train")
    return stack.api.log(run, task, lines=400)


def test_stopped_and_started_again_it_knows_everything(
    lived_in: ContainerStack, champion: DagRun
) -> None:
    before, log = remembered(lived_in), last_log(lived_in, champion)
    lived_in.make("down")
    assert lived_in.containers() == []
    lived_in.make("up")
    assert remembered(lived_in) == before
    assert last_log(lived_in, champion) == log


@pytest.fixture(scope="module")
def backup(
    lived_in: ContainerStack, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A backup, and what the stack knew when it was made."""
    known = remembered(lived_in)
    to = tmp_path_factory.mktemp("backup") / "first"
    said = lived_in.make("backup", f"TO={to}")
    assert "standing still while the copy is made" in said
    assert "are not in it: keep a copy" in said
    within(120, lived_in.healthy)
    assert not [path for path in to.iterdir() if "secret" in path.name]
    values = lived_in.secrets().values()
    told = (to / "MANIFEST").read_text()
    assert not [value for value in values if value in told]
    return to, known


def test_a_backup_names_what_it_was_made_with(backup: tuple[Path, dict[str, Any]]) -> None:
    to, _ = backup
    told = dict(line.split("=", 1) for line in (to / "MANIFEST").read_text().splitlines())
    assert told["postgres"] == "15"
    assert {"format", "created", "product", "apache-airflow", "mlflow"} <= set(told)
    assert to.stat().st_mode & 0o077 == 0


def test_a_backup_that_is_broken_off_wakes_everything(
    lived_in: ContainerStack, tmp_path: Path
) -> None:
    to = tmp_path / "broken"
    command = ["make", "backup", f"TO={to}"]
    asked = subprocess.Popen(command, env=lived_in.env, cwd=REPOSITORY, start_new_session=True)
    within(120, lambda: lived_in.container("scheduler").status == "paused")
    os.killpg(asked.pid, signal.SIGINT)
    assert asked.wait(120) != 0
    assert not to.exists()
    within(120, lived_in.healthy)


def refusal(stack: ContainerStack, *variables: str) -> str:
    """The line with which a restore is refused."""
    with pytest.raises(CommandFailed) as refused:
        stack.make("restore", *variables)
    (line,) = (one for one in str(refused.value).splitlines() if one.startswith("error:"))
    return line


def test_a_restore_never_overwrites_unasked(
    lived_in: ContainerStack, backup: tuple[Path, dict[str, Any]]
) -> None:
    assert "has data" in refusal(lived_in, f"FROM={backup[0]}")
    assert "name the backup" in refusal(lived_in)
    assert lived_in.healthy()


@pytest.fixture
def copy(backup: tuple[Path, dict[str, Any]], tmp_path: Path) -> Iterator[Path]:
    """The backup again, to spoil it."""
    made = Path(shutil.copytree(backup[0], tmp_path / "copy"))
    yield made
    shutil.rmtree(made)


def test_a_damaged_or_foreign_backup_is_refused(lived_in: ContainerStack, copy: Path) -> None:
    with (copy / "data.tar").open("r+b") as file:
        file.seek(4096)
        file.write(b"?")
    assert "is damaged" in refusal(lived_in, f"FROM={copy}")
    (copy / "SHA256SUMS").unlink()
    assert "no finished backup" in refusal(lived_in, f"FROM={copy}")


def test_a_backup_of_other_secrets_or_versions_is_refused(
    lived_in: ContainerStack, copy: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    lived_in.make("secrets", f"SECRETS_DIR={others}")
    said = refusal(lived_in, f"FROM={copy}", f"SECRETS_DIR={others}")
    assert "is not the one that" in said
    assert "fernet_key" in said
    manifest = (copy / "MANIFEST").read_text()
    for name, found in (("format=1", "format=2"), ("postgres=15", "postgres=16")):
        (copy / "MANIFEST").write_text(manifest.replace(name, found))
        sums = subprocess.check_output(
            "sha256sum -- MANIFEST *.dump *.tar > SHA256SUMS; cat SHA256SUMS",
            shell=True,
            cwd=copy,
        )
        assert b"MANIFEST" in sums
        assert found.split("=")[1] in refusal(lived_in, f"FROM={copy}", "FORCE=yes")
    assert lived_in.healthy()


def test_backed_up_wiped_and_restored_it_knows_the_same(
    lived_in: ContainerStack,
    backup: tuple[Path, dict[str, Any]],
    champion: DagRun,
    history: str,
) -> None:
    to, known = backup
    log = last_log(lived_in, champion)
    lived_in.compose("down", "--volumes")
    label = {"label": f"com.docker.compose.project={lived_in.project}"}
    assert lived_in.engine.volumes.list(filters=label) == []
    lived_in.make("restore", f"FROM={to}")
    assert remembered(lived_in) == known
    assert last_log(lived_in, champion) == log
    again = lived_in.api.trigger("biometric_training", {"source": history, "as_of": TRAINING_ENDS})
    assert lived_in.api.result(ended(lived_in, again), "promote")["reused"]  # type: ignore[index]
