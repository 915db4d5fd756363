"""Inputs as people have them: `make bench-inputs [BASE=a git worktree of an earlier commit]`."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.inputs import hostile, settings, speed
from benchmarks.inputs.matrix import Case, cases
from benchmarks.inputs.viewer import gray
from benchmarks.rows import FOLDER, Row, at_least, write
from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.decoding import read

_LEVELS = 2.0  # grey levels between two readers that round differently
_FEWEST = 400


def wrong_with(case: Case) -> str | None:
    """What is wrong with how a file is read; None where it is read or refused as it should be."""
    try:
        found = read(case.data, Ingest())
    except CaptureRefused as refusal:
        return None if refusal.reason == case.reason else f"refused: {refusal}"
    if case.reason:
        return f"read, not refused with {case.reason}"
    shown = gray(case.data) if case.shown is None else case.shown
    if shown.shape != found.gray.shape:
        return f"{found.gray.shape}, a viewer shows {shown.shape}"
    off = float(np.abs(shown - found.gray).max())
    if off > _LEVELS:
        return f"{off:.1f} grey levels off"
    return None if found.dpi == case.dpi else f"{found.dpi} dpi, states {case.dpi}"


def matrix() -> list[Row]:
    """How many files there are, and how many of them are read as a viewer shows them."""
    files = cases()
    wrong = {case.name: said for case in files if (said := wrong_with(case))}
    right = 100 * (1 - len(wrong) / len(files))
    refused = sum(case.reason is not None for case in files)
    return [
        at_least("files of all kinds", len(files), _FEWEST, "files", to_be_refused=refused),
        at_least("read as any viewer shows them, or refused", right, 100, "%", wrong=wrong),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show and write; 0 where every target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, help="a checkout of the commit to compare with")
    options = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".inputs-") as folder:
        rows: list[Row] = []
        parts = (
            matrix,
            hostile.rows,
            settings.rows,
            lambda: speed.rows(options.base, Path(folder)),
        )
        for part in parts:
            rows += part()
            path = write("inputs", rows)  # each time: the second part takes minutes
    print(f"written: {path}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
