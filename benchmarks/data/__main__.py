"""The data path: `make bench-data [DATA=folder] [SCALE=900,10000,50000,100000]`.

Captures are those of the Kaggle subset in the folder, multiplied; without it, generated people.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.rows import FOLDER, Row, write

_SCALE = "900,10000,50000,100000"
_PARTS = ("decoding", "preparing", "loading", "scoring", "growth")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show and write; 0 where every target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(), help="folder with the Kaggle subset")
    parser.add_argument("--scale", default=_SCALE, help="numbers of captures, for the growth")
    parser.add_argument("--captures", type=int, default=10_000, help="for the executors")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=_PARTS, action="append", help="a part of it")
    options = parser.parse_args(arguments)
    parts, repeats = options.only or _PARTS, options.repeats
    # Not at the top: each worker process of what is measured loads this module.
    from benchmarks.captures import base_images
    from benchmarks.data import engines, growth, loading, scoring
    from biometric_core.config import Config

    config = Config()
    rows: list[Row] = []
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".data-") as folder:
        scratch = Path(folder)
        what, images = base_images(options.data, config, scratch)
        print(f"captures: {what}", flush=True)
        scales = [int(count) for count in options.scale.split(",")]
        work: dict[str, Callable[[], list[Row]]] = {
            "decoding": lambda: engines.decoding(images, config, scratch, repeats),
            "preparing": lambda: engines.preparing(
                images, config, scratch, repeats, options.captures
            ),
            "loading": lambda: loading.rows(config),
            "scoring": lambda: scoring.rows(images, scratch / "scoring", repeats),
            "growth": lambda: growth.rows(images, config, scratch, scales, repeats),
        }
        for part in parts:
            rows += work[part]()
            path = write("data", rows)  # each time: the last part takes half an hour
    print(f"written: {path}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
