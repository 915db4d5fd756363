"""What one preprocessing version hasn't seen of the store's captures, and how it gets to see it."""

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.feature_files import Chunk, Prepared, chunks_of, prepare_chunk
from biometric_core.data.rereading import replace_outdated
from biometric_core.imaging.earlier_code import EarlierCode
from biometric_core.imaging.preparation import SECONDS_PER_CAPTURE, preprocess_version
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor, choose, processes
from biometric_core.parallel.progress import track
from biometric_core.parallel.windowed import map_threads
from biometric_core.schemas import Modality
from biometric_core.storage.store import Store

_ROWS_PER_COMMIT = 8192


@dataclass(frozen=True)
class Missing:
    """What a preprocessing version has not seen.

    Attributes:
        captures: capture_id, modality, uri and sensor of each, by modality and id.
        seen: version of the feature table that lacks them; None where there is no table yet.
        known: how many captures it has seen.
    """

    captures: pa.Table
    seen: int | None
    known: int


@dataclass(frozen=True)
class Done:
    """What was done for one preprocessing version.

    Attributes:
        rows: captures that were seen now, acquired or not.
        failures: failures to acquire among them, by reason.
        known: captures that this version had seen.
        executor: where the work was done.
        reread: known captures whose files are read otherwise now (`rereading`).
    """

    rows: int
    failures: Counter[str]
    known: int
    executor: Executor
    reread: int = 0


def missing(store: Store, version: str) -> Missing:
    """The captures that a preprocessing version has not seen."""
    seen = store.version("features")
    known = pc.field("modality").isin([modality.value for modality in Modality])
    captures = store.read("captures", ["capture_id", "modality", "uri", "sensor"], known)
    prepared = pc.field("preprocess_version") == version
    done = store.read("features", ["capture_id"], prepared, seen)
    todo = captures.join(done, keys="capture_id", join_type="left anti")
    order = [("modality", "ascending"), ("capture_id", "ascending")]
    return Missing(todo.sort_by(order), seen, captures.num_rows - todo.num_rows)


def prepare_missing(store: Store, config: Config, earlier: EarlierCode | None = None) -> Done:
    """Prepare every capture that a preprocessing version has not seen.

    Of two processes at once each does what the other has not committed; one that was killed leaves
    chunks that the next finds.

    Args:
        store: with captures.
        config: decides shapes, limits and executor.
        earlier: the code that prepares them; that of this package when None.

    Raises:
        ModelError: the code of another release doesn't run here.
        StorageError: the disk is full; what was prepared stays.
        ServiceError: Ray is out of reach, or workers keep being killed.
    """
    version = earlier.version if earlier else preprocess_version(config)
    reread = 0 if earlier else replace_outdated(store, config)
    work = missing(store, version)
    executor = choose(config, work.captures.num_rows, SECONDS_PER_CAPTURE)
    known, rows, failures = work.known, 0, Counter[str]()
    while work.captures.num_rows:
        chunks = chunks_of(work.captures, config, store.root, earlier)
        if earlier:  # its work is done in processes of its own
            results = _side_by_side(chunks, processes(config))
        else:
            results = map_chunks(prepare_chunk, chunks, executor, config)
        for done in _committed(store, results, work):
            rows += done.part.rows
            failures.update(done.failures)
        work = missing(store, version)  # rows where somebody else committed meanwhile
    return Done(rows, failures, known, executor, reread)


def _side_by_side(chunks: Iterator[Chunk], count: int) -> Generator[Prepared, None, None]:
    yield from map_threads(prepare_chunk, chunks, count, together=1)


def _committed(
    store: Store, results: Generator[Prepared, None, None], work: Missing
) -> Iterator[Prepared]:
    """Chunks as they become part of the table; ends early where somebody else commits."""
    group: list[Prepared] = []
    seen = work.seen
    with closing(results):
        shown = track(
            results,
            total=work.captures.num_rows,
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
