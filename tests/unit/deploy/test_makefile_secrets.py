"""Where `make` takes the secrets from: the same place as Compose."""

import os
import subprocess
from pathlib import Path

import pytest

from deploy.local.places import REPOSITORY


def folder_for_secrets(where: Path, env_file: str | None, **given: str) -> str:
    """The folder that `make secrets` would fill."""
    if env_file is not None:
        (where / ".env").write_text(env_file)
    environment = {k: v for k, v in os.environ.items() if k not in ("SECRETS_DIR", "MAKEFLAGS")}
    command = [
        "make",
        "--dry-run",
        "--directory",
        where,
        "--file",
        REPOSITORY / "Makefile",
        "secrets",
    ]
    said = subprocess.check_output(command, env=environment | given, text=True)
    (line,) = (line for line in said.splitlines() if "make_secrets.py" in line)
    return line.split('"')[-2]


@pytest.mark.parametrize(
    ("env_file", "folder"),
    [
        (None, "./secrets"),
        ("IMAGE_TAG=new\n", "./secrets"),
        ("IMAGE_TAG=new\nSECRETS_DIR=/safe/keys\n", "/safe/keys"),
        ("SECRETS_DIR=/old\nSECRETS_DIR='/safe/our keys'\n", "/safe/our keys"),
    ],
)
def test_make_finds_the_secrets_where_compose_does(
    tmp_path: Path, env_file: str | None, folder: str
) -> None:
    assert folder_for_secrets(tmp_path, env_file) == folder


def test_a_folder_that_is_given_comes_before_the_file(tmp_path: Path) -> None:
    assert folder_for_secrets(tmp_path, "SECRETS_DIR=/file\n", SECRETS_DIR="/given") == "/given"
