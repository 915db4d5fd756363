"""Small systems with a real registry and real networks, for tests that break them."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from biometric_core.config import Config, load_config
from biometric_core.history import decisions
from biometric_core.stages import promote
from biometric_core.storage.store import Store
from tests.support.tiny_store import HISTORY, database, fill, tiny
from tests.support.untrained import register_untrained

# Another one each time; set it to see a failure again.
SEED = int(os.environ.get("BIOMETRIC_FAULT_SEED") or random.SystemRandom().randrange(10**6))


def configured(folder: Path, tracking_uri: str | None = None) -> Config:
    """The test profile with tiny images, under `folder`, with MLflow's database there as well."""
    values = {
        "storage": {"root": str(folder / "data")},
        # What is tested is the switch: so few people prove that one is better, hardly by how much.
        "gate": {"min_improvement": 0, "min_improvement_share": 0},
        "mlflow": {
            "tracking_uri": tracking_uri or f"sqlite:///{folder}/mlflow.db",
            "artifact_root": str(folder / "artifacts"),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    if tracking_uri is None and not (folder / "mlflow.db").exists():
        database(folder)
    return tiny(load_config("test", values))


def people(
    config: Config, impressions: range = range(1, 5), day: datetime = HISTORY, **other: object
) -> None:
    """Captures of 32 people who can be told apart, but not without effort."""
    fill(config, subjects=32, impressions=impressions, day=day, noise=40.0, **other)


def made_champion(config: Config, **how: object) -> str:
    """An untrained recogniser that the gate has made champion; returns its version."""
    version = register_untrained(config, **how)
    assert promote.promote(config, version=version, trigger="training").decision == "promoted"
    return version


def decided(config: Config) -> list[tuple[str, str | None, str]]:
    """What is on record: decision, champion before it, challenger."""
    return [
        (one.decision, one.champion_version, one.challenger_version)
        for one in decisions.read(Store.of(config))
    ]


def asides(folder: Path) -> list[str]:
    """Files that are written aside and not yet in their place."""
    return [path.name for path in folder.rglob(".*") if path.is_file()]


@contextmanager
def once(happened: Callable[[], bool], then: Callable[[], object]) -> Iterator[None]:
    """Do something beside the body as soon as something has happened there."""
    over = threading.Event()
    done: list[object] = []

    def watch() -> None:
        while not over.wait(0.001):
            if happened():
                done.append(then())
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert done, "it never happened"
