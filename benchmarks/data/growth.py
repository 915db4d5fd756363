"""Ingest and preprocess from nothing to a hundred thousand captures: time, memory, and a rerun.

Each run is a process of its own (`python -m benchmarks.data.growth SOURCE ROOT`), so that its peak
memory is its own.
"""

import json
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.captures import Images, replicate
from benchmarks.rows import FOLDER, Row, at_most, peak_mib, run_apart
from biometric_core.config import Config, Storage
from biometric_core.stages.ingest import ingest
from biometric_core.stages.preprocess import preprocess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL, RERUN, LARGE = 10_000, 50_000, 100_000
Run = dict[str, Any]


def rows(
    images: Images, config: Config, scratch: Path, scales: Sequence[int], repeats: int
) -> list[Row]:
    """Run each scale from nothing; the small ones several times, and one of them again."""
    runs: dict[int, Run] = {}
    for count in sorted(scales):
        source = scratch / f"growth-{count}"
        replicate(images, source, count, config)
        tries = repeats if count <= SMALL else 1
        runs[count] = _median([_run(source, scratch / "root") for _ in range(tries)])
        if count >= SMALL:
            runs[count]["again"] = _again(source, scratch / "root")
        shutil.rmtree(scratch / "root")
        shutil.rmtree(source)
    _picture(runs).savefig(FOLDER / "data.png", dpi=120)
    return _rows(runs)


def _rows(runs: dict[int, Run]) -> list[Row]:
    found = []
    if SMALL in runs and LARGE in runs:
        small, large = runs[SMALL], runs[LARGE]
        growth = large["seconds"] / LARGE / (small["seconds"] / SMALL)
        found = [
            at_most(
                "ingest + preprocess, 10,000 to 100,000 captures: time a capture",
                growth,
                1.15,
                "ratio",
                baseline=1.0,
                runs={str(count): run for count, run in runs.items()},
            ),
            at_most(
                "peak memory of the driver at 100,000 captures against 10,000",
                large["peak_mb"] / small["peak_mb"],
                1.5,
                "ratio",
                baseline=1.0,
            ),
            at_most("peak memory of the driver at 100,000 captures", large["peak_mb"], 1024, "MiB"),
        ]
    for count in (RERUN, SMALL):
        if count in runs:
            share = runs[count]["again"] / runs[count]["seconds"]
            name = f"rerun with nothing new, {count:,} captures, of the first run"
            return [*found, at_most(name, 100 * share, 5, "%", baseline=100.0)]
    return found


def _run(source: Path, root: Path) -> Run:
    shutil.rmtree(root, ignore_errors=True)
    return _process(source, root)


def _again(source: Path, root: Path) -> float:
    return float(_process(source, root)["seconds"])


def _process(source: Path, root: Path) -> Run:
    return run_apart("benchmarks.data.growth", str(source), str(root))


def _median(runs: Sequence[Run]) -> Run:
    names = ("seconds", "ingest_seconds", "preprocess_seconds", "peak_mb")
    medians: Run = {name: statistics.median(run[name] for run in runs) for name in names}
    return medians | {"runs": len(runs), "executor": runs[0]["executor"]}


def _picture(runs: dict[int, Run]) -> "Figure":
    from matplotlib.figure import Figure  # not at the top: worker processes load this module

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    counts = sorted(runs)
    for stage in ("ingest", "preprocess"):
        each = [1000 * runs[count][f"{stage}_seconds"] / count for count in counts]
        time_axes.plot(counts, each, marker="o", label=stage)
    time_axes.set(title="time a capture", ylabel="ms")
    time_axes.legend()
    memory_axes.plot(counts, [runs[count]["peak_mb"] for count in counts], marker="o")
    memory_axes.set(title="peak memory of the driver", ylabel="MiB")
    for axes in (time_axes, memory_axes):
        axes.set(xlabel="captures", xscale="log", ylim=(0, None))
    return figure


def main(source: str, root: str) -> None:
    """One run; its figures as one line of JSON."""
    config = Config(storage=Storage(root=root))
    start = time.perf_counter()
    ingest(config, source=source)
    taken = time.perf_counter()
    result = preprocess(config)
    done = time.perf_counter()
    run = {
        "seconds": done - start,
        "ingest_seconds": taken - start,
        "preprocess_seconds": done - taken,
        "peak_mb": peak_mib(),
        "executor": result.executor,
    }
    print(json.dumps(run))


if __name__ == "__main__":
    main(*sys.argv[1:])
