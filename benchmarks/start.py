"""What a task pays before it works: `make bench-start`.

Each figure is a share of what it takes without the measure, both taken in turns in the same run.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.rows import FOLDER, Row, at_most, medians, write
from deploy import preloaded

_REPEATS = 5
_PEOPLE, _IMPRESSIONS = 20, 5
_MODULES = [name for name in preloaded.MODULES if not name.startswith("airflow")]
_IMPORTS = f"import {', '.join(_MODULES)}"


def forked() -> Row:
    """A process that finds everything imported, as Airflow's tasks do, and one that imports it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.start", "--in-forks"],
        capture_output=True,
        text=True,
        check=True,
    )
    ours, fresh = json.loads(done.stdout.splitlines()[-1])
    return _share("a forked task's imports, of a fresh process's", ours, fresh, 0.1)


def in_forks() -> None:
    """Print the median seconds of a fork and of a fresh process; itself in one without threads."""
    for name in _MODULES:
        importlib.import_module(name)
    print(json.dumps(medians(_fork, lambda: _fresh({}), repeats=_REPEATS)))


def _fork() -> None:
    child = os.fork()
    if not child:
        for name in _MODULES:
            importlib.import_module(name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the forked process has failed")


def _fresh(environment: dict[str, str]) -> None:
    kept = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-W", "ignore", "-c", _IMPORTS]
    subprocess.run(command, env=kept | environment, check=True, capture_output=True)


def compiled(scratch: Path) -> Row:
    """Imports with compiled modules on disk, and where nothing may be written."""
    there, none = (
        {"PYTHONPYCACHEPREFIX": str(scratch / "compiled")},
        {"PYTHONPYCACHEPREFIX": str(scratch / "none"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    ours, bare = medians(lambda: _fresh(there), lambda: _fresh(none), repeats=_REPEATS)
    return _share("imports from compiled modules, of from source", ours, bare, 0.6)


def minutiae_kept(scratch: Path) -> Row:
    """A store's fingerprints encoded once more, and without what was kept."""
    from biometric_core.config import load_config
    from biometric_core.data.capture_sets import load_captures
    from biometric_core.imaging.fingerprint import minutiae
    from biometric_core.recogniser import kept_minutiae
    from biometric_core.schemas import Modality
    from biometric_core.sources.generator.people import generate
    from biometric_core.stages.ingest import ingest
    from biometric_core.stages.preprocess import preprocess
    from biometric_core.storage.store import Store

    config = load_config("test", {"storage": {"root": str(scratch / "data")}})
    people = scratch / "people"
    generate(config, out=str(people), subjects=_PEOPLE, impressions=_IMPRESSIONS)
    ingest(config, source=str(people))
    preprocess(config)
    captures = load_captures(Store.of(config), config)[Modality.FINGERPRINT]
    images, masks = np.asarray(captures.images[:]), np.asarray(captures.masks[:])
    ours, anew = medians(
        lambda: kept_minutiae.encode(captures),
        lambda: minutiae.encode(images, masks),
        repeats=_REPEATS,
    )
    return _share(f"{len(captures)} fingerprints encoded again, of anew", ours, anew, 0.6)


def _share(name: str, ours: float, baseline: float, target: float) -> Row:
    seconds = {"seconds": round(ours, 3), "baseline_seconds": round(baseline, 3)}
    return at_most(name, ours / baseline, target, "of it", baseline=1.0, **seconds)


def main(arguments: Sequence[str]) -> int:
    """Measure, show and write; 0 where every target is met."""
    if "--in-forks" in arguments:
        in_forks()
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".start-") as folder:
        rows = [forked(), compiled(Path(folder)), minutiae_kept(Path(folder))]
    path = write("start", rows)
    print(f"written after {time.monotonic() - began:.0f} s: {path}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
