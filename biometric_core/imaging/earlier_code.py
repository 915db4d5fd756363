"""Captures prepared by the code that travels in a model's bundle, in a process of its own.

What a model was trained on, another version of the algorithm can't make. The code is that of the
registry's own bundles, which run wherever MLflow serves them: who may write there runs code here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from biometric_core.config import Ingest, Preprocess
from biometric_core.errors import ModelError
from biometric_core.imaging.preparation import PreparedBatch
from biometric_core.schemas import Modality, UInt8Array

_RUNNER = Path(__file__).with_name("run_earlier_code.py")
# A process a chunk, several side by side; and a bundle is left as it was registered.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class EarlierCode:
    """The package of another release.

    Attributes:
        version: the preprocessing version that captures are to be prepared as.
        folder: holds the package `biometric_core`; left as it is.
    """

    version: str
    folder: Path

    def prepare_batch(
        self,
        files: Sequence[bytes | None],
        modality: Modality,
        settings: Preprocess,
        limits: Ingest,
        bits: Sequence[int | None] | None = None,
    ) -> PreparedBatch:
        """As `preparation.prepare_batch`; settings that the code doesn't know are left out.

        Raises:
            ModelError: the code doesn't run here, or makes another version.
        """
        facts = {
            "modality": modality.value,
            Preprocess.__name__: settings.model_dump(mode="json"),
            Ingest.__name__: limits.model_dump(mode="json"),
        }
        columns = {
            "data": pa.array(files, pa.large_binary()),
            "bits": pa.array(bits or [None] * len(files), pa.int32()),
        }
        rows = pa.table(columns).replace_schema_metadata({"facts": json.dumps(facts)})
        return self._batch(self._answer(rows))

    def _answer(self, request: pa.Table) -> pa.Table:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, request.schema) as writer:
            writer.write_table(request)
        paths = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = subprocess.run(
            [sys.executable, "-P", str(_RUNNER)],
            input=memoryview(sink.getvalue()),
            capture_output=True,
            env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise self.refused(said[-1] if said else f"exit status {done.returncode}")
        return pa.ipc.open_stream(done.stdout).read_all()

    def _batch(self, rows: pa.Table) -> PreparedBatch:
        facts = json.loads(rows.schema.metadata[b"facts"])
        if facts["version"] != self.version:
            raise self.refused(f"it makes {facts['version']}")
        shape = (-1, facts["height"], facts["width"])
        return PreparedBatch(
            images=_pixels(rows["image"]).reshape(shape),
            masks=_pixels(rows["mask"]).reshape(shape),
            quality=rows["quality"].to_numpy(),
            failures=tuple(rows["failure"].to_pylist()),
        )

    def refused(self, reason: str) -> ModelError:
        """The error that says why captures can't be prepared so, and what to do."""
        return ModelError(
            f"captures can't be prepared as {self.version}, as a model needs them: the code in its "
            f"bundle doesn't do it here ({reason}). Install what the bundle's requirements.txt "
            "names, or run `biometric preprocess` of the release that trained it on this store"
        )


def _pixels(column: pa.ChunkedArray) -> UInt8Array:
    return np.frombuffer(b"".join(column.drop_null().to_pylist()), np.uint8)
