import subprocess
import sys
from pathlib import Path

from deploy.local.places import REPOSITORY

PROGRAM = REPOSITORY / "deploy" / "local" / "install.py"


def test_what_uv_says_is_passed_on_with_the_time_and_its_status(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "-r", str(tmp_path / "missing.txt")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "missing.txt" in done.stdout
    assert all(line.startswith("[") and " s] " in line for line in done.stdout.splitlines())
