"""How fast usual files are decoded, in turns with an earlier commit: each in processes of its own.

Run as a module it prints the seconds of one turn; `PYTHONPATH` says of which checkout.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.rows import REPOSITORY, Row, at_least

FORMATS = ("bmp", "png", "jpg")
_FILES, _TURNS, _TARGET = 200, 5, 0.97


def rows(base: Path | None, scratch: Path) -> list[Row]:
    """Of each format the speed as a share of that of the checkout `base`."""
    _write(scratch)
    found = []
    for suffix in FORMATS:
        if base is None:
            details = {"why": "no BASE: a git worktree of the commit to compare with"}
            found.append(at_least(_name(suffix), None, _TARGET, "of it", **details))
            continue
        # Turns, so that both see the same noise; the fastest, because noise only ever slows.
        turns = [
            (_turn(REPOSITORY, suffix, scratch), _turn(base, suffix, scratch))
            for _ in range(_TURNS)
        ]
        ours, before = (min(seconds) for seconds in zip(*turns, strict=True))
        ratios = [theirs / mine for mine, theirs in turns]
        found.append(
            at_least(
                _name(suffix),
                before / ours,
                _TARGET,
                "of it",
                baseline=1.0,
                milliseconds=round(1000 * ours / _FILES, 4),
                baseline_milliseconds=round(1000 * before / _FILES, 4),
                median_of_turns=round(statistics.median(ratios), 3),
            )
        )
    return found


def _name(suffix: str) -> str:
    return f"decoding of {suffix.upper()}, of the speed before"


def _write(folder: Path) -> None:
    """Gray and colour captures of the usual sizes."""
    rng = np.random.default_rng(0)
    for number in range(20):
        shape = (240, 320) if number % 2 else (300, 300)
        noise = cv2.GaussianBlur(rng.integers(0, 256, shape, np.uint8), (0, 0), 3)
        gray = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
        image = gray if number % 4 < 2 else cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
        for suffix in FORMATS:
            cv2.imwrite(str(folder / f"{number}.{suffix}"), image)


def _turn(checkout: Path, suffix: str, folder: Path) -> float:
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    script = str(Path(__file__).resolve())
    command = [sys.executable, script, suffix, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def main(arguments: Sequence[str]) -> None:
    """Print the seconds that decoding takes, the best of some rounds."""
    from biometric_core.config import Ingest
    from biometric_core.imaging.decoding import decode

    suffix, folder = arguments
    files = [path.read_bytes() for path in sorted(Path(folder).glob(f"*.{suffix}"))]
    limits, seconds = Ingest(), []
    cv2.setNumThreads(1)
    for _ in range(4):
        start = time.process_time()
        for number in range(_FILES):
            decode(files[number % len(files)], limits)
        seconds.append(time.process_time() - start)
    print(json.dumps(min(seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
