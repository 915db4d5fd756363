"""Rows of a benchmark: shown as a table, kept as `var/bench/NAME.json`."""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "var" / "bench"


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: what was measured.
        measured: the figure; None where it could not be taken (`details` says why).
        baseline: what it is compared with, measured in the same run; None where there is none.
        target: what it must reach.
        unit: of all three.
        met: whether it does.
        details: seeds, sets, intervals, spreads.
    """

    name: str
    measured: float | None
    baseline: float | None
    target: float
    unit: str
    met: bool
    details: dict[str, Any] = field(default_factory=dict)


def at_most(name: str, measured: float | None, target: float, unit: str, **details: Any) -> Row:
    """A figure that must not exceed its target."""
    met = measured is not None and measured <= target
    return Row(name, measured, details.pop("baseline", None), target, unit, met, details)


def at_least(name: str, measured: float | None, target: float, unit: str, **details: Any) -> Row:
    """A figure that must reach its target."""
    met = measured is not None and measured >= target
    return Row(name, measured, details.pop("baseline", None), target, unit, met, details)


def write(name: str, rows: Sequence[Row]) -> Path:
    """Show the rows, and write them to `var/bench/<name>.json`."""
    table = Table(title=f"bench-{name}")
    for heading in ("what", "measured", "baseline", "target", "unit", ""):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in rows:
        figures = (row.measured, row.baseline, row.target)
        shown = ("-" if figure is None else f"{figure:.4g}" for figure in figures)
        table.add_row(row.name, *shown, row.unit, "met" if row.met else "NOT MET")
    Console().print(table)
    path = FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return path


def median_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median wall-clock seconds of `work`, after one call that warms up."""
    return medians(work, repeats=repeats)[0]


def medians(*works: Callable[[], object], repeats: int = 5, warm: bool = True) -> list[float]:
    """Median wall-clock seconds of each work; they take turns, so that all see the same noise.

    Args:
        works: what is compared.
        repeats: turns that count.
        warm: one more turn before them.
    """
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + warm):
        for taken, work in zip(seconds, works, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[warm:]) for taken in seconds]


def per_cent(rate: float | None) -> float | None:
    """A rate in per cent; None where it isn't defined."""
    return None if rate is None else 100 * float(rate)


def peak_mib() -> float:
    """Peak memory of this process; `ru_maxrss` would begin with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def run_apart(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module in a process of its own, so that its peak memory is its own.

    Returns:
        The last line of its output, which is JSON.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
