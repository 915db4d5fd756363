"""The whole story of `make run` through the REST API, and the same by `make run` itself."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rows import Row, at_most
from deploy.local.display import Display
from deploy.local.places import REPOSITORY, Layout
from deploy.local.stack import stop
from deploy.story.run import Story
from deploy.story.seed import STORY_FILE
from deploy.story.summary import Summary
from tests.containers.room import Room
from tests.containers.stack import ContainerStack
from tests.system.live import clean_environment

pytestmark = pytest.mark.containers
_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def local(images: ContainerStack, room: Room, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """What `make run` leaves, on generated people, with the pseudonyms of the stack."""
    room.clear()
    layout = Layout(tmp_path_factory.mktemp("local") / "var")
    env = clean_environment() | {
        "BIOMETRIC_VAR": str(layout.var),
        "BIOMETRIC_PSEUDONYM_KEY": images.secret("pseudonym_key"),
    }
    program = [sys.executable, "-m", "deploy.story.run"]
    try:
        done = subprocess.run(program, env=env, cwd=REPOSITORY, capture_output=True, text=True)
    finally:
        stop(layout)  # where it was interrupted
    assert done.returncode == 0, done.stdout + done.stderr
    return layout


@pytest.fixture(scope="module")
def data(local: Layout) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((local.source / STORY_FILE).read_text())
    return told


@pytest.fixture(scope="module")
def stack(local: Layout, room: Room) -> ContainerStack:
    """A stack with the settings of `make run` and its captures."""
    made = room.bring_up(BIOMETRIC_PROFILE="local")
    made.put(local.source / "inbox", "inbox")
    return made


@pytest.fixture(scope="module")
def summary(stack: ContainerStack, local: Layout, data: dict[str, Any]) -> Summary:
    """What came of the story in containers."""
    history = stack.put(local.source / "history", "history")
    days = [str(day["day"]) for day in data["days"]]
    steps = {"training": "train", **{day: f"watch {day}" for day in days}, "retraining": "retrain"}
    began = time.monotonic()
    story = Story(stack, Display(steps), timeout=1800)
    training = story.train(history)
    watched = [story.watch(day) for day in days]
    verdict, last = watched[-1]
    return Summary(
        training=training,
        monitoring=[told for told, _ in watched],
        retraining=story.retrain(last) if verdict["alarm"] else None,
        champion=story.champion(),
        seconds=time.monotonic() - began,
    )


def test_the_loop_closes(summary: Summary, measured: Callable[[Row], None]) -> None:
    open_ends = summary.open_ends()
    name = "the story of make run through the REST API: ends left open"
    measured(at_most(name, len(open_ends), 0, "ends", seconds=summary.seconds))
    assert open_ends == []
    assert [day["alarm"] for day in summary.monitoring] == [False, False, True]


def figures(local: Layout, version: str) -> dict[str, float]:
    """The figures of a version that `make run` has made."""
    mlflow = f"sqlite:///{local.var / 'mlflow' / 'mlflow.db'}"
    env = clean_environment() | {
        "BIOMETRIC__STORAGE__ROOT": str(local.var / "data"),
        "BIOMETRIC__MLFLOW__TRACKING_URI": mlflow,
    }
    program = [sys.executable, str(Path(__file__).with_name("inside.py")), "metrics", version]
    told = subprocess.check_output(program, env=env, cwd=REPOSITORY)
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def is_time(name: str) -> bool:
    """Whether a figure tells how long something took."""
    return any(word in name for word in ("latency", "second", "data_share"))


def test_the_same_captures_make_the_same_champions(
    stack: ContainerStack, summary: Summary, local: Layout, measured: Callable[[Row], None]
) -> None:
    there = json.loads((local.run / "summary.json").read_text())
    assert there["champion"] == summary.champion
    apart: dict[str, float] = {}
    for version in ("1", "champion"):
        ours, theirs = stack.inside("metrics", version), figures(local, version)
        assert set(ours) == set(theirs)
        found = {name: abs(ours[name] - theirs[name]) for name in ours if not is_time(name)}
        assert len(found) > 10
        apart |= {f"{version} {name}": value for name, value in found.items()}
    worst = max(apart, key=lambda name: apart[name])
    name = "champion metrics, make run against the stack: largest difference"
    measured(at_most(name, apart[worst], _TOLERANCE, "", of=worst, figures=len(apart)))
    assert apart[worst] <= _TOLERANCE, worst
