"""A release whose preprocessing is another: this package, copied, that prepares captures worse.

It runs in a process of its own, as a release before does; what it leaves are its store, its runs
and a bundle that carries its code.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import biometric_core
from biometric_core.config import Config

_NOW = 'ALGORITHM = "2"\n'
_COARSE = """ALGORITHM = "1"


def _coarse(prepare):
    def prepared(*args):
        sample = prepare(*args)
        height, width = sample.image.shape
        few = sample.image.reshape(height, 4, width // 4).mean(axis=(0, 2), keepdims=True)
        image = np.broadcast_to(few, (height, 4, width // 4)).reshape(height, width)
        return Sample(image.astype(np.uint8), sample.mask, sample.quality)

    return prepared


prepare_eye, prepare_finger = _coarse(prepare_eye), _coarse(prepare_finger)
"""
_HEAD = """
import json, sys
from datetime import datetime
from biometric_core.config import Config
config, arguments = Config.model_validate(json.loads(sys.argv[1])), sys.argv[2:]
"""


def earlier_release(folder: Path) -> Path:
    """A folder for `PYTHONPATH` with the package of that release; prepares four gray levels."""
    package = folder / "biometric_core"
    shutil.copytree(
        Path(biometric_core.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    module = package / "imaging" / "preparation.py"
    text = module.read_text("utf-8")
    assert text.count(_NOW) == 1
    module.write_text(text.replace(_NOW, _COARSE), "utf-8")
    return folder


def run_release(folder: Path, config: Config, script: str, *arguments: str) -> str:
    """Run a script by that release, with `config` and `arguments`; returns what it prints last."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _HEAD + script,
            json.dumps(config.model_dump(mode="json")),
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]
