"""Installs packages by uv and says how far it is: for the Makefile, before any package is there.

`python deploy/local/install.py -r requirements.lock`: the arguments are those of `uv pip install`.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

_REPEAT_SECONDS = 30.0  # silence that is long enough to be told
_ONE_PACKAGE = (" + ", " - ", " ~ ")  # uv's list of what it has done: 300 lines


def install(arguments: Sequence[str]) -> int:
    """Run uv for the environment of this interpreter; returns its exit status."""
    began = time.monotonic()
    command = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable]
    said: SimpleQueue[str | None] = SimpleQueue()
    last = "starting"
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as uv:
        threading.Thread(target=_listen, args=(uv, said), daemon=True).start()
        while True:
            try:
                line = said.get(timeout=_REPEAT_SECONDS)
            except Empty:
                line = f"still at it, last: {last}"
            else:
                last = (line or "").strip()
            if line is None:
                return uv.wait()
            if not line.startswith(_ONE_PACKAGE):
                print(f"[{time.monotonic() - began:5.0f} s] {line.strip()}", flush=True)


def _listen(uv: "subprocess.Popen[str]", said: "SimpleQueue[str | None]") -> None:
    assert uv.stdout is not None  # noqa: S101 - it is a pipe
    for line in uv.stdout:
        said.put(line)
    said.put(None)


if __name__ == "__main__":
    sys.exit(install(sys.argv[1:]))
