import os
import subprocess
import sys

import pytest

from biometric_core.cli.commands import app
from biometric_core.cli.operations import operations

COMMANDS = [one.callback.__name__ for one in app.registered_commands]
COMMANDS += [one.callback.__name__ for one in operations.registered_commands]
HELP_OF_ALL = f"""
import os, sys
from biometric_core.cli import commands
for name in {["", *COMMANDS]}:
    if os.fork() == 0:
        sys.argv = ["biometric", *filter(None, [name]), "--help"]
        commands.run()
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0, name
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_of_every_command_is_readable_on_an_old_terminal(encoding):
    env = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    command = [sys.executable, "-c", HELP_OF_ALL]
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode(encoding)
    assert done.returncode == 0, said
    assert "generate -> ingest -> preprocess" in said
    assert said.count("Usage:") == len(COMMANDS) + 1


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", r"\xfcn\xef ->"), ("utf-8", "\u00fcn\u00ef \u2192")]
)
def test_results_and_errors_hold_any_text(tmp_path, encoding, shown):
    env = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "BIOMETRIC_PROFILE": "test"}
    env["BIOMETRIC__STORAGE__ROOT"] = str(tmp_path / "\u00fcn\u00ef \u2192")
    env["BIOMETRIC__MLFLOW__TRACKING_URI"] = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-m", "biometric_core"]
    told = subprocess.run([*command, "status"], env=env, capture_output=True, check=False)
    assert told.returncode == 0, told.stderr
    assert shown in " ".join(told.stdout.decode(encoding).split())
    wrong = [*command, "ingest", "--source", os.fsencode(tmp_path) + b"/J\xf6rg"]
    told = subprocess.run(wrong, env=env, capture_output=True, check=False)
    assert told.returncode == 1
    assert told.stderr.startswith(b"error: ")
    assert told.stderr.count(b"\n") == 1, told.stderr
