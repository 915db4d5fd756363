"""Run by test_killed.py: takes captures in and prepares them, over and over, killed or not.

A process of its own that forks its attempts: they start at once, with everything imported, and no
thread of Arrow's is alive yet when it forks.
"""

import hashlib
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from biometric_core.config import Config, Preprocess, Storage
from biometric_core.data import preparing
from biometric_core.schemas import KEYS
from biometric_core.stages import ingest as ingest_stage
from biometric_core.stages import preprocess as preprocess_stage
from biometric_core.storage.store import Store

# Small enough for many commits: each place between two of them is a place to die in.
preparing._ROWS_PER_COMMIT = 6
ingest_stage._FILES_PER_COMMIT = 7


def run(source: str, root: str) -> None:
    """Both stages."""
    config = Config(
        storage=Storage(root=root), preprocess=Preprocess(executor="sequential", chunk_size=3)
    )
    ingest_stage.ingest(config, source=source, captured_at=datetime(2026, 1, 5, tzinfo=UTC))
    preprocess_stage.preprocess(config)


def digest(root: str) -> str:
    """Of every row of the tables, and of every image."""
    found = hashlib.sha256()
    for name in ("captures", "quarantine", "features"):
        rows = Store(root).read(name).sort_by([(key, "ascending") for key in KEYS[name]])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows.combine_chunks())
        found.update(f"{name} {rows.num_rows} {rows.schema}".encode() + sink.getvalue())
    for path in sorted(Path(root, "images").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def begun(work: object, *arguments: str) -> int:
    """The pid of a child that does `work(*arguments)` and prints what comes of it."""
    child = os.fork()
    if child == 0:
        try:
            result = work(*arguments)
            sys.stdout.write(f"{result}\n" if result else "")
            sys.stdout.flush()
            os._exit(0)
        except BaseException as error:
            print(type(error), error, file=sys.stderr, flush=True)
            os._exit(1)
    return child


def died(child: int) -> bool:
    """Wait for a child; whether it was killed. It must not fail by itself."""
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status:
        sys.exit(f"an attempt that nobody killed failed: {status}")
    return os.WIFSIGNALED(status)


def forked(work: object, *arguments: str, kill_after: float | None = None) -> float:
    """Seconds a child took for `work(*arguments)`, which is killed after a while if told so."""
    start = time.monotonic()
    child = begun(work, *arguments)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    if died(child) and kill_after is None:
        sys.exit("an attempt was killed by somebody else")
    return time.monotonic() - start


def main(source: str, folder: str, times: int) -> None:
    """Print the digest of the undisturbed run, then one for each killed and repeated run."""
    whole = forked(run, source, f"{folder}/whole")
    forked(digest, f"{folder}/whole")
    moments = random.Random(7)
    for number in range(times):
        root = f"{folder}/{number}"
        forked(run, source, root, kill_after=moments.uniform(0, whole))
        forked(run, source, root)
        forked(digest, root)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
