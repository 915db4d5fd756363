"""`make ui` where it is hard: a checkout in a folder of an odd name, a Ray that doesn't start."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.display import Display
from deploy.local.places import REPOSITORY, Layout
from deploy.local.stack import PAGES, Stack, stop
from deploy.local.ui import up
from tests.system.live import clean_environment, settings

pytestmark = pytest.mark.system


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """The code of this checkout in a folder that shells and URLs read otherwise than people."""
    folder = tmp_path / "my proj (1) a#b ünï"
    parts = ("biometric_core", "config", "dags", "deploy", "plugins")
    for part in parts:
        shutil.copytree(REPOSITORY / part, folder / part)
    (folder / ".venv").symlink_to(sys.prefix)
    yield folder
    stop(Layout(folder / "var"))


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
def test_the_pages_come_up_in_a_folder_of_any_name(checkout: Path) -> None:
    python = checkout / ".venv" / "bin" / Path(sys.executable).name
    env = clean_environment() | {"PYTHONPATH": str(checkout), "BIOMETRIC_PROFILE": "test"}
    command = [python, "-m", "deploy.local.ui", "up"]
    done = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, "Ray runs as well"
    assert "waiting for Airflow" in done.stdout
    stack = Stack.running(Layout(checkout / "var"))
    assert stack is not None
    (ray,) = (process for process in stack.processes if process.name == "ray")
    assert "Ray runtime started" in ray.tail(200)


@contextmanager
def no_place_for_sockets(tmp_path: Path) -> Iterator[None]:
    """A folder for temporary files whose path is too long for Ray's sockets."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path / ("long" * 25)
        folder.mkdir()
        patch.setattr(tempfile, "tempdir", str(folder))
        yield


def test_without_ray_the_pages_come_up_and_one_line_says_why(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "var")
    said = StringIO()
    with settings(layout.var), no_place_for_sockets(tmp_path):
        try:
            stack, without_ray = up(layout, Display({"start": "all"}, Console(file=said)))
            assert stack.healthy()
            assert all(stack.answers(page) for page in PAGES)
            assert Stack.running(layout) is None, "the next `make ui` starts all of it again"
        finally:
            stop(layout)
    assert without_ray.startswith("Ray doesn't start: ")
    assert without_ray.endswith("its log: " + str(layout.logs / "ray.log"))
    assert "\n" not in without_ray
    assert "once more" in said.getvalue()
