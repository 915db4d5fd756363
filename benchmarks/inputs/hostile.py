"""Damaged and malicious files, decoded in a process of its own: seconds, memory, half read ones.

Run as a module it prints what it found of the files that are named.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.rows import Row, at_least, at_most, peak_mib, run_apart
from biometric_core.config import Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.decoding import decode
from tests.faults.hostile_files import mutated, repeated

_MUTATED, _REPEATED = 2_000, 500
_SECONDS, _MEMORY = 5.0, 1024.0


def rows() -> list[Row]:
    """Of both kinds: the slowest, the peak of memory, and how many were judged right."""
    found = []
    for name, count in (("mutated", _MUTATED), ("repeated parts", _REPEATED)):
        told = run_apart("benchmarks.inputs.hostile", name)
        said = {"reasons": told["reasons"], "wrong": told["wrong"]}
        right = 100 * (1 - len(told["wrong"]) / count)
        found += [
            at_least(f"{count} files, {name}: whole or refused", right, 100, "%", **said),
            at_most(f"{count} files, {name}: the slowest", told["slowest"], _SECONDS, "s"),
            at_most(f"{count} files, {name}: peak memory", told["peak"], _MEMORY, "MiB"),
        ]
    return found


def _judged(make: Callable[[int], tuple[bytes, bool | None]], count: int) -> dict[str, Any]:
    slowest, wrong, reasons = 0.0, [], Counter[str]()
    for number in range(count):
        data, accepted = make(number)
        start = time.perf_counter()
        try:
            gray = decode(data, Ingest())
            reason = "" if gray.ndim == 2 and gray.size else "half read"
        except CaptureRefused as refusal:
            reason = refusal.reason
        slowest = max(slowest, time.perf_counter() - start)
        reasons[reason or "read"] += 1
        if reason == "half read" or accepted not in (None, not reason):
            wrong.append(number)
    return {"slowest": slowest, "wrong": wrong, "reasons": dict(reasons), "peak": peak_mib()}


def main(arguments: Sequence[str]) -> None:
    """Judge the files of one kind, and print it as JSON."""
    told = (
        _judged(mutated, _MUTATED)
        if arguments == ["mutated"]
        else _judged(lambda number: (repeated(number), None), _REPEATED)
    )
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
