"""Captures to fixed-size, normalised images: the parallel, resumable part of the pipeline."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.feature_files import Prepared, chunks_of, prepare_chunk
from biometric_core.data.rereading import replace_outdated
from biometric_core.errors import ConfigError
from biometric_core.imaging.preparation import SECONDS_PER_CAPTURE, preprocess_version
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor, choose
from biometric_core.parallel.progress import track
from biometric_core.schemas import Modality
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store

_log = logging.getLogger(__name__)
_ROWS_PER_COMMIT = 8192


@dataclass(frozen=True)
class PreprocessResult:
    """What a run of `preprocess` did.

    Attributes:
        prepared: captures that have a sample now.
        failed: captures that could not be acquired.
        known: captures that this version had seen.
        failures: failures to acquire by reason.
        executor: where the work was done.
        seconds: wall clock.
        captures_per_second: prepared and failed ones.
        version: the preprocessing version.
        reread: known captures whose files are read otherwise now (`data.rereading`).
    """

    prepared: int
    failed: int
    known: int
    failures: dict[str, int]
    executor: str
    seconds: float
    captures_per_second: float
    version: str
    reread: int = 0


@owner_only()
def preprocess(config: Config, *, executor: str | None = None) -> PreprocessResult:
    """Prepare every capture that this preprocessing version has not seen.

    A run that was killed goes on with the chunks that are missing. Of two runs at once each does
    what the other has not committed.

    Args:
        config: `preprocess` and `ray` decide shapes, executor and bounds.
        executor: overrides `preprocess.executor`.

    Raises:
        ConfigError: there is no such executor.
        StorageError: the disk is full; what was prepared stays, the next run goes on from there.
        ServiceError: Ray is out of reach, or workers keep being killed.
    """
    start, config = time.monotonic(), _with_executor(config, executor)
    store, version = Store.of(config), preprocess_version(config)
    reread = replace_outdated(store, config)
    todo, seen, known = _missing(store, version)
    _tell_older(store, version, todo)
    chosen = choose(config, todo.num_rows, SECONDS_PER_CAPTURE)
    prepared, failures = 0, Counter[str]()
    while todo.num_rows:
        for done in _committed(store, todo, seen, chosen, config):
            prepared += done.part.rows
            failures.update(done.failures)
        todo, seen, _ = _missing(store, version)  # rows where somebody else committed meanwhile
    failed, seconds = failures.total(), time.monotonic() - start
    _log.info("prepared %d captures, %d failed to acquire, %s", prepared, failed, chosen)
    return PreprocessResult(
        prepared=prepared - failed,
        failed=failed,
        known=known,
        failures=dict(failures),
        executor=chosen.value,
        seconds=round(seconds, 2),
        captures_per_second=round(prepared / seconds, 1),
        version=version,
        reread=reread,
    )


def _with_executor(config: Config, executor: str | None) -> Config:
    if executor is None:
        return config
    if executor not in ("auto", *Executor):
        names = ", ".join(("auto", *Executor))
        raise ConfigError(f"no executor {executor!r}: there are {names}")
    section = config.preprocess.model_copy(update={"executor": executor})
    return config.model_copy(update={"preprocess": section})


def _missing(store: Store, version: str) -> tuple[pa.Table, int | None, int]:
    """Captures to prepare, the feature table's version that lacks them, and how many it has."""
    seen = store.version("features")
    known = pc.field("modality").isin([modality.value for modality in Modality])
    captures = store.read("captures", ["capture_id", "modality", "uri", "sensor"], known)
    prepared = pc.field("preprocess_version") == version
    done = store.read("features", ["capture_id"], prepared, seen)
    todo = captures.join(done, keys="capture_id", join_type="left anti")
    order = [("modality", "ascending"), ("capture_id", "ascending")]
    return todo.sort_by(order), seen, captures.num_rows - todo.num_rows


def _tell_older(store: Store, version: str, todo: pa.Table) -> None:
    """Say where captures are prepared again because the preprocessing changed."""
    if not todo.num_rows:
        return
    versions = store.read("features", ["preprocess_version"])["preprocess_version"]
    for older in versions.value_counts().to_pylist():
        if older["values"] != version:
            _log.warning(
                "%d captures were prepared by version %s: they stay readable, and are prepared "
                "by version %s beside it",
                *(older["counts"], older["values"], version),
            )


def _committed(
    store: Store, todo: pa.Table, seen: int | None, executor: Executor, config: Config
) -> Iterator[Prepared]:
    """Chunks as they become part of the table; ends early where somebody else commits."""
    chunks = chunks_of(todo, config, store.root)
    group: list[Prepared] = []
    with closing(map_chunks(prepare_chunk, chunks, executor, config)) as results:
        shown = track(
            results,
            total=todo.num_rows,
            description="preparing captures",
            count=lambda done: done.part.rows,
        )
        for done in shown:
            group.append(done)
            if sum(one.part.rows for one in group) >= _ROWS_PER_COMMIT:
                if not store.append_files("features", [one.part for one in group], seen):
                    return
                yield from group
                seen, group = (seen or 0) + 1, []
    if group and store.append_files("features", [one.part for one in group], seen):
        yield from group
