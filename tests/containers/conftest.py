"""One stack at a time: the small one for most tests, another for the whole story."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.rows import FOLDER, Row, write
from biometric_core.config import load_config
from deploy.local.airflow_api import DagRun
from tests.containers.room import Room
from tests.containers.stack import ContainerStack
from tests.system.live import TRAINING_ENDS, follow

_ROWS: list[Row] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The smoke first: what comes later changes the small stack."""
    ours = [item for item in items if item.get_closest_marker("containers")]
    order = iter(sorted(ours, key=lambda item: item.get_closest_marker("smoke") is None))
    items[:] = [next(order) if item in ours else item for item in items]


def pytest_terminal_summary() -> None:
    """The figures of this session, and those of earlier ones that it has not taken again."""
    if not _ROWS:
        return
    path = FOLDER / "containers.json"
    known = [Row(**row) for row in json.loads(path.read_text())] if path.is_file() else []
    taken = {row.name for row in _ROWS}
    write("containers", [*(row for row in known if row.name not in taken), *_ROWS])


@pytest.fixture(scope="session")
def measured() -> Callable[[Row], None]:
    """Takes a figure for var/bench/containers.json."""
    return _ROWS.append


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("stack"))
    try:
        yield made
    finally:
        made.clear()


@pytest.fixture(scope="session")
def images(room: Room) -> ContainerStack:
    """The images, built from the working tree."""
    return room.build()


@pytest.fixture(scope="session")
def small(images: ContainerStack, room: Room) -> ContainerStack:
    """A stack with small settings; tests share it, and leave it whole."""
    room.seconds = images.up()
    return images


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Path]:
    """A folder of generated people, others for each seed."""
    from biometric_core.sources.generator.people import generate

    def make(seed: int, subjects: int) -> Path:
        folder = tmp_path_factory.mktemp("people") / str(seed)
        config = load_config("test")
        generate(config, out=str(folder), subjects=subjects, impressions=3, seed=seed, workers=2)
        return folder

    return make


@pytest.fixture(scope="session")
def history(small: ContainerStack, generated: Callable[[int, int], Path]) -> str:
    """Where the captures to train on lie, for the worker."""
    folder = generated(1, 14)
    try:
        return small.put(folder, "history")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def champion(small: ContainerStack, history: str) -> DagRun:
    """The run that trained the first model of the small stack."""
    return follow(small, "biometric_training", {"source": history, "as_of": TRAINING_ENDS})
