"""Feature rows of captures that earlier releases read otherwise: found once, and replaced.

The preprocessing itself is the same, so its version is, and all other rows stay as they are.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.feature_files import Chunk, chunks_of, fresh_rows
from biometric_core.imaging.earlier_reading import READING, may_differ
from biometric_core.imaging.preparation import SECONDS_PER_CAPTURE, preprocess_version
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import choose
from biometric_core.parallel.thread_limits import usable_cores
from biometric_core.parallel.windowed import map_threads
from biometric_core.schemas import Modality
from biometric_core.storage.store import Store

_log = logging.getLogger(__name__)
_REMOTE_THREADS = 16  # they wait for the object store, not for a processor
_FOLDER = "reading"
_SAME = ("failure", "image", "mask")  # a row whose values of these are equal stays


def replace_outdated(store: Store, config: Config) -> int:
    """Bring the feature rows of this preprocessing version up to how files are read now.

    Each store is gone through once for each version; a file in it remembers that. A run that was
    cut short is done again from the beginning, and finds less to do.

    Args:
        store: with captures.
        config: decides the preprocessing version, the limits and the executor.

    Returns:
        How many rows were replaced.

    Raises:
        StorageError: images can't be read just now, or the disk is full.
    """
    version = preprocess_version(config)
    marker = f"{_FOLDER}/{READING}-{version}.json"
    if store.files.exists(marker):
        return 0
    suspects = _suspects(store, config, version)
    replaced = 0
    executor = choose(config, suspects.num_rows, SECONDS_PER_CAPTURE)
    chunks = list(chunks_of(suspects, config, store.root))
    with closing(map_chunks(fresh_rows, chunks, executor, config)) as results:
        for chunk, rows in zip(chunks, results, strict=True):
            replaced += _replace(store, chunk, rows)
    if replaced:
        _log.warning(
            "%d captures are read otherwise than by earlier releases (orientation, depth, "
            "resolution or transparency, see docs/inputs.md): their feature rows were replaced",
            replaced,
        )
    store.files.write(marker, json.dumps({"replaced": replaced}).encode())
    return replaced


def _suspects(store: Store, config: Config, version: str) -> pa.Table:
    """Captures with a row of this version whose files may be read otherwise now."""
    done = store.read("features", ["capture_id"], pc.field("preprocess_version") == version)
    known = pc.field("modality").isin([modality.value for modality in Modality])
    columns = ["capture_id", "modality", "uri", "sensor"]
    if not done.num_rows:
        return store.read("captures", columns, known).slice(0, 0)
    captures = store.read("captures", columns, known).join(done, "capture_id", join_type="inner")

    def outdated(row: dict[str, str]) -> bool:
        try:
            data = store.files.read(row["uri"])
        except FileNotFoundError:  # deleted: what was made of it is all there is
            return False
        return may_differ(data, Modality(row["modality"]), config.ingest)

    threads = usable_cores() if store.files.local else _REMOTE_THREADS
    flags = list(map_threads(outdated, _rows(captures), threads))
    order = [("modality", "ascending"), ("capture_id", "ascending")]
    return captures.filter(pa.array(flags, pa.bool_())).sort_by(order)


def _rows(table: pa.Table) -> Iterator[dict[str, str]]:
    for batch in table.to_batches():
        yield from batch.to_pylist()


def _replace(store: Store, chunk: Chunk, rows: pa.Table) -> int:
    """Put the rows of a chunk that differ from those of the table in their place."""
    ids = [capture_id for capture_id, _ in chunk.captures]
    which = (pc.field("preprocess_version") == chunk.version) & pc.field("capture_id").isin(ids)
    there = store.read("features", ["capture_id", *_SAME], which)
    before = {row["capture_id"]: row for row in there.to_pylist()}
    after = rows.select(["capture_id", *_SAME]).to_pylist()
    other = np.array([before.get(row["capture_id"], row) != row for row in after])
    changed = rows.filter(pa.array(other))
    if changed.num_rows:
        names = _quoted(changed["capture_id"].to_pylist())
        where = f"preprocess_version = '{chunk.version}' AND capture_id IN ({names})"
        store.replace("features", changed, where)
    return int(changed.num_rows)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
