"""A worker's part of batch inference: some files in, their rows out.

A worker reads the files itself and keeps the model it has loaded. Embeddings are computed in
float32 like those of the store, so that they can be compared with each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from biometric_core.config import Config, Ingest
from biometric_core.errors import CaptureRefused
from biometric_core.imaging.preparation import PreparedBatch, prepare_batch
from biometric_core.parallel.thread_limits import one_thread
from biometric_core.recogniser import Recogniser
from biometric_core.recogniser.recogniser import with_own_shapes
from biometric_core.schemas import Modality
from biometric_core.sources.layouts import parse
from biometric_core.sources.reader import SourceFile, iter_files
from biometric_core.sources.sensor_folders import bits_of
from biometric_core.storage.private import owner_only
from biometric_core.tracking import registry
from biometric_core.tracking.own_preparation import earlier_code

UNKNOWN_MODALITY = "unknown_modality"
NOT_IN_MODEL = "modality_not_in_model"
COLUMNS = pa.schema(
    [
        pa.field("path", pa.string()),  # relative to the source, as the user has it
        pa.field("modality", pa.string()),
        pa.field("position", pa.string()),
        pa.field("quality", pa.float32()),
        pa.field("failure", pa.string()),
        pa.field("subject_id", pa.string()),  # the training subject that fits best
        pa.field("probability", pa.float32()),
    ]
)
EMBEDDING = pa.field("embedding", pa.list_(pa.float32()))
# Measured on one core: 16 at a time fit its cache; one takes 1.7 times as long, 128 1.5 times.
_BATCH = 16
Row = dict[str, Any]
Prepare = Callable[..., PreparedBatch]


@dataclass(frozen=True)
class Chunk:
    """One task.

    Attributes:
        files: what to recognise; `read` works in any process.
        config: registry, limits, shapes.
        model: version in the registry, never an alias: all workers must use the same one.
        folder: where the driver found it.
        embeddings: add them to the rows.
        parallel: other workers use the other cores.
    """

    files: tuple[SourceFile, ...]
    config: Config
    model: str
    folder: Path
    embeddings: bool
    parallel: bool

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""
        return COLUMNS.append(EMBEDDING) if self.embeddings else COLUMNS


def readable_anywhere(file: SourceFile, source: str | Path, limits: Ingest, run: str) -> SourceFile:
    """A member of an archive as a worker can read it: found again by its path.

    Args:
        file: of the archive; a refused one stays as it is.
        source: the archive.
        limits: bounds on what is read.
        run: another one for each run: the archive may have been replaced since the last.
    """
    if file.refusal is not None:
        return file
    return replace(file, read=partial(_read_member, source, limits, run, file.path))


def _read_member(source: str | Path, limits: Ingest, run: str, path: PurePosixPath) -> bytes:
    return _members(source, limits, run)[path]()


@lru_cache(maxsize=1)
def _members(
    source: str | Path, limits: Ingest, run: str
) -> dict[PurePosixPath, Callable[[], bytes]]:
    """An archive, opened once by each process."""
    return {file.path: file.read for file in iter_files(source, limits) if file.refusal is None}


@lru_cache(maxsize=1)
def load(config: Config, version: str, folder: Path) -> Recogniser:
    """The model, loaded once for each process.

    Args:
        config: names the registry.
        version: in the registry.
        folder: where the driver found it. A worker on the same machine reads it there and needs no
            MLflow, whose import alone takes seconds.

    Raises:
        ModelError: it is missing or damaged.
    """
    if folder.is_dir():
        return Recogniser.load(folder)
    return registry.load_recogniser(config, version)[0]


@lru_cache(maxsize=1)
def preparing(config: Config, version: str, folder: Path) -> Prepare:
    """What prepares captures as the model needs them: here, or by the code in its bundle.

    Arguments as for `load`.

    Raises:
        ModelError: only the code in its bundle can, and there is none.
    """
    recogniser = load(config, version, folder)
    if recogniser.prepares_here:
        return prepare_batch
    run_id = registry.require(config, version).run_id
    return earlier_code(config, recogniser, run_id).prepare_batch


@owner_only()
def recognise_chunk(chunk: Chunk) -> pa.RecordBatch:
    """One row for each file, in their order: `COLUMNS`, and the embeddings where asked for."""
    if chunk.parallel:
        torch.set_num_threads(1)
    recogniser = load(chunk.config, chunk.model, chunk.folder)
    rows = [_row(file) for file in chunk.files]
    with one_thread():
        for modality in Modality:
            chosen = [n for n, row in enumerate(rows) if row["modality"] == modality.value]
            _recognise(recogniser, chunk, modality, [(rows[n], chunk.files[n]) for n in chosen])
    return pa.RecordBatch.from_pylist(rows, schema=chunk.schema)


def _row(file: SourceFile) -> Row:
    capture = parse(file.path)
    failure = None if capture else UNKNOWN_MODALITY
    return {
        "path": str(file.path),
        "modality": capture.modality.value if capture else None,
        "position": capture.position if capture else None,
        "quality": 0.0,
        "failure": file.refusal.reason if file.refusal else failure,
    }


def _recognise(
    recogniser: Recogniser, chunk: Chunk, modality: Modality, work: Sequence[tuple[Row, SourceFile]]
) -> None:
    """Fill in what captures of one modality show, or why there is nothing to be seen."""
    if not work:
        return
    read = [(row, _content(row, file)) for row, file in work]
    whole = [(row, data) for row, data in read if data is not None]
    bits = [bits_of(PurePosixPath(row["path"]), chunk.config.source) for row, _ in whole]
    own = with_own_shapes(chunk.config, recogniser)
    prepare = preparing(chunk.config, chunk.model, chunk.folder)
    batch = prepare([data for _, data in whole], modality, own.preprocess, own.ingest, bits)
    for (row, _), quality, failure in zip(whole, batch.quality, batch.failures, strict=True):
        row["quality"], row["failure"] = float(quality), failure
    acquired = [row for row, _ in whole if row["failure"] is None]
    if modality in recogniser.modalities:
        _name(recogniser, modality, batch, acquired)
    else:
        for row in acquired:
            row["failure"] = NOT_IN_MODEL


def _content(row: Row, file: SourceFile) -> bytes | None:
    if row["failure"]:
        return None
    try:
        return file.read()
    except CaptureRefused as refusal:
        row["failure"] = refusal.reason
        return None


def _name(
    recogniser: Recogniser, modality: Modality, batch: PreparedBatch, rows: Sequence[Row]
) -> None:
    """Fill in the subject that fits best, its probability and the embedding."""
    vectors = recogniser.embed(modality, batch.images, batch.masks, batch=_BATCH)
    present = np.zeros((len(rows), len(Modality)), dtype=np.bool_)
    present[:, tuple(Modality).index(modality)] = True
    chances = recogniser.closed_set({modality: vectors}, present)
    best = chances.argmax(axis=1)
    for number, row in enumerate(rows):
        row["subject_id"] = recogniser.subjects[best[number]]
        row["probability"] = float(chances[number, best[number]])
        row["embedding"] = vectors[number].tolist()
