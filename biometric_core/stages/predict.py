"""Batch inference: a folder, zip or list of images to one table, one row for each of them."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from uuid import uuid4

import pyarrow as pa

from biometric_core.config import Config, Ingest
from biometric_core.errors import SourceError
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor, choose
from biometric_core.parallel.progress import track
from biometric_core.serving.batch import Chunk, preparing, readable_anywhere, recognise_chunk
from biometric_core.serving.tables import writer
from biometric_core.sources import folder as source_folder
from biometric_core.sources.layouts import is_clutter
from biometric_core.sources.reader import SourceFile, is_archive, open_source
from biometric_core.storage.files import is_remote
from biometric_core.storage.private import owner_only
from biometric_core.tracking import registry

_log = logging.getLogger(__name__)
_SECONDS_PER_CAPTURE = 0.009  # measured on one core; only decides which executor is worth its start
# What a worker could have recognised while it loads PyTorch and the model.
_STARTUP_CAPTURES = 600


@dataclass(frozen=True)
class PredictResult:
    """What was written.

    Attributes:
        out: the table's path.
        rows: one for each file that is not clutter.
        failures: how many by reason; each has its row.
        model_version: of the registry.
        executor: where the work was done.
        seconds: wall clock.
        captures_per_second: rows a second.
    """

    out: str
    rows: int
    failures: dict[str, int]
    model_version: str
    executor: str
    seconds: float
    captures_per_second: float


@owner_only()
def predict(
    config: Config, *, source: str, out: str, model: str = "champion", embeddings: bool = False
) -> PredictResult:
    """Recognise every image of a source.

    The work goes in chunks over the executor of `preprocess`; each worker reads its files itself
    and loads the model once. The rows are the same whatever the executor.

    Args:
        config: names registry, limits and executor.
        source: a folder, a .zip, either on an object store (`s3://`), or a .txt with one path a
            line (relative to the list). What an image shows follows from its path
            (`sources.layouts`). Ray workers on other machines must find it at the same path.
        out: a .parquet or .csv file, a .delta folder or a Delta table; written whole or not at all.
        model: alias or version in the registry.
        embeddings: add the embedding (in CSV a JSON list).

    Raises:
        ConfigError: `out` is of no kind that can be written, or on an object store.
        SourceError: the source can't be read.
        ModelError: there is no such model, or captures can't be prepared as it needs.
        StorageError: the disk is full or read-only.
        ServiceError: Ray can't be reached, or workers keep being killed.
    """
    start = time.monotonic()
    write = writer(out)
    folder, version = registry.recogniser_folder(config, model)
    preparing(config, version, folder)  # what is wrong with it is said before any work is done
    total, captures = _captures(source, config.ingest)
    executor = choose(config, max(0, total - _STARTUP_CAPTURES), _SECONDS_PER_CAPTURE)
    chunk = Chunk((), config, version, folder, embeddings, executor is not Executor.SEQUENTIAL)
    failures = Counter[str]()
    with closing(map_chunks(recognise_chunk, _chunks(captures, chunk), executor, config)) as done:
        write(Path(out), chunk.schema, _watched(done, total, failures))
    seconds = time.monotonic() - start
    _log.info("%d rows, %d failures, %s", total, failures.total(), executor)
    rate = round(total / max(seconds, 1e-9), 1)
    return PredictResult(
        out, total, dict(failures), version, executor.value, round(seconds, 2), rate
    )


def _watched(
    done: Iterable[pa.RecordBatch], total: int, failures: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """Pass rows on, and count."""
    description = "recognising"
    for rows in track(done, total=total, description=description, count=lambda r: int(r.num_rows)):
        failures.update(rows["failure"].drop_null().to_pylist())
        yield rows


def _captures(source: str, limits: Ingest) -> tuple[int, Iterator[SourceFile]]:
    """The files of a source, clutter left out, as any process can read them, and how many."""
    given = source if is_remote(source) else Path(source).resolve()
    if isinstance(given, Path) and given.suffix == ".txt":
        listed = [file for file in _listed(given, limits) if not is_clutter(file.path)]
        return len(listed), iter(listed)
    files, run = open_source(given, limits), uuid4().hex
    captures = (file for file in files if not is_clutter(file.path))
    if is_archive(given):
        anywhere = partial(readable_anywhere, source=given, limits=limits, run=run)
        return files.captures, map(anywhere, captures)
    return files.captures, captures


def _listed(source: Path, limits: Ingest) -> list[SourceFile]:
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the list {source} can't be read: {error}") from error
    names = [line.strip() for line in lines if line.strip()]
    paths = [source.parent / name for name in names]
    reads = [partial(source_folder.read, path, limits) for path in paths]
    return [
        SourceFile(PurePosixPath(name), 0, read) for name, read in zip(names, reads, strict=True)
    ]


def _chunks(files: Iterator[SourceFile], chunk: Chunk) -> Iterator[Chunk]:
    size = chunk.config.preprocess.chunk_size
    while part := tuple(islice(files, size)):
        yield replace(chunk, files=part)
