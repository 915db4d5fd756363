"""Captures to fixed-size, normalised images: the parallel, resumable part of the pipeline."""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from biometric_core.config import Config, Ingest, Preprocess
from biometric_core.errors import CaptureRefused, ConfigError, FailureToAcquire
from biometric_core.executors import Executor, choose, map_chunks
from biometric_core.progress import track
from biometric_core.schemas import TABLES, Modality, Sample
from biometric_core.store import Store, atomic_write

_log = logging.getLogger(__name__)
# Raise it when a prepared image would differ: older rows stay readable, newer ones are made beside.
ALGORITHM = "2"
SECONDS_PER_CAPTURE = 0.012  # measured on one core; only decides which executor is worth its start
_CHUNKS_PER_COMMIT = 64


@dataclass(frozen=True)
class PreprocessResult:
    """What a run of `preprocess` did; `failures` counts failures to acquire by reason."""

    prepared: int
    failed: int
    known: int
    failures: dict[str, int]
    executor: str
    seconds: float
    captures_per_second: float
    version: str


@dataclass(frozen=True)
class Work:
    """One chunk: captures to prepare, and where the result goes."""

    captures: tuple[tuple[str, str, str], ...]  # capture id, modality, path
    settings: Preprocess
    limits: Ingest
    version: str
    out: str


def preprocess_version(config: Config) -> str:
    """Name of the preprocessing: the algorithm's version and the shapes it makes."""
    shapes = (config.preprocess.iris_shape, config.preprocess.fingerprint_shape)
    return "-".join([ALGORITHM, *(f"{height}x{width}" for height, width in shapes)])


def prepare(data: bytes, modality: Modality, settings: Preprocess, limits: Ingest) -> Sample:
    """Decode one capture's file and prepare it.

    Raises:
        CaptureRefused: the bytes are no acceptable image.
        FailureToAcquire: the image holds no usable iris or fingerprint.
    """
    from biometric_core import fingerprint, iris
    from biometric_core.quality import decode

    gray = decode(data, limits)
    if modality is Modality.IRIS:
        return iris.prepare(gray, settings.iris_shape)
    return fingerprint.prepare(gray, settings.fingerprint_shape)


def preprocess(config: Config, *, executor: str | None = None) -> PreprocessResult:
    """Prepare every capture that this preprocessing version has not seen.

    Work goes in chunks whose results are files of their own: a run that was killed goes on with the
    chunks that are missing, and the table changes in whole commits only.

    Args:
        config: `preprocess` and `ray` decide shapes, executor and bounds.
        executor: overrides `preprocess.executor`.
    """
    store = Store.of(config)
    # One run at a time: two would remove each other's chunks.
    with FileLock(store.path("locks", "preprocess.lock")):
        result = _preprocess(store, config, executor)
        for chunk in store.path("staging", "chunk").parent.glob("*.arrow"):
            chunk.unlink()  # of a killed run, superseded because captures came since
    return result


def _preprocess(store: Store, config: Config, executor: str | None) -> PreprocessResult:
    start = time.monotonic()
    version = preprocess_version(config)
    todo, known = _missing(store, version)
    if executor:
        if executor not in ("auto", *Executor):
            names = ", ".join(("auto", *Executor))
            raise ConfigError(f"no executor {executor!r}: there are {names}")
        section = config.preprocess.model_copy(update={"executor": executor})
        config = config.model_copy(update={"preprocess": section})
    chosen = choose(config, len(todo), SECONDS_PER_CAPTURE)
    chunks = list(_chunks(store, todo, config, version))
    failures: dict[str, int] = {}
    for group in range(0, len(chunks), _CHUNKS_PER_COMMIT):
        _commit(store, chunks[group : group + _CHUNKS_PER_COMMIT], chosen, config, failures)
    failed, seconds = sum(failures.values()), time.monotonic() - start
    _log.info("prepared %d captures, %d failed to acquire, %s", len(todo), failed, chosen)
    rate = round(len(todo) / seconds, 1)
    return PreprocessResult(
        len(todo) - failed, failed, known, failures, chosen.value, round(seconds, 2), rate, version
    )


def prepare_chunk(work: Work) -> str:
    """Prepare one chunk and write it as an Arrow file (a worker's task); returns its path."""
    import cv2

    cv2.setNumThreads(1)  # the parallelism is over chunks
    out = Path(work.out)
    if not out.exists():
        rows = [_row(work, *capture) for capture in work.captures]
        table = pa.Table.from_pylist(rows, schema=TABLES["features"])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        atomic_write(out, sink.getvalue())
    return work.out


def _row(work: Work, capture_id: str, modality: str, path: str) -> dict[str, object]:
    row: dict[str, object] = {
        "capture_id": capture_id,
        "preprocess_version": work.version,
        "modality": modality,
    }
    empty = {"height": 0, "width": 0, "image": b"", "mask": b"", "quality": 0.0}
    try:
        sample = prepare(Path(path).read_bytes(), Modality(modality), work.settings, work.limits)
    except (FailureToAcquire, CaptureRefused) as failure:
        return {**row, **empty, "failure": failure.reason}
    except OSError:  # deleted or unreadable: one capture must not stop all others
        return {**row, **empty, "failure": "unreadable"}
    height, width = sample.image.shape
    return {
        **row,
        "height": height,
        "width": width,
        "image": sample.image.tobytes(),
        "mask": sample.mask.tobytes(),
        "quality": float(np.float32(sample.quality["overall"])),
        "failure": None,
    }


def _missing(store: Store, version: str) -> tuple[pa.Table, int]:
    captures = store.read("captures", ["capture_id", "modality", "uri"])
    done = store.read("features", ["capture_id"], pc.field("preprocess_version") == version)
    todo = captures.join(done, keys="capture_id", join_type="left anti").sort_by("capture_id")
    return todo, captures.num_rows - todo.num_rows


def _chunks(store: Store, todo: pa.Table, config: Config, version: str) -> Iterator[Work]:
    captures = [
        (row["capture_id"], row["modality"], str(store.root / row["uri"]))
        for row in todo.to_pylist()
    ]
    size = config.preprocess.chunk_size
    for start in range(0, len(captures), size):
        chunk = tuple(captures[start : start + size])
        # The name is the content: a retried or repeated chunk meets its own file.
        ids = "".join([version, *(capture_id for capture_id, _, _ in chunk)])
        name = hashlib.sha256(ids.encode()).hexdigest()[:32]
        out = store.path("staging", f"{name}.arrow")
        yield Work(chunk, config.preprocess, config.ingest, version, str(out))


def _commit(
    store: Store,
    chunks: Sequence[Work],
    executor: Executor,
    config: Config,
    failures: dict[str, int],
) -> None:
    results = map_chunks(prepare_chunk, chunks, executor, config)
    paths = list(track(results, total=len(chunks), description="preparing captures"))
    tables = [pa.ipc.open_file(path).read_all() for path in paths]
    rows = pa.concat_tables(tables)
    store.append_new("features", rows)
    for reason in rows["failure"].drop_null().to_pylist():
        failures[reason] = failures.get(reason, 0) + 1
    for path in paths:
        Path(path).unlink(missing_ok=True)
