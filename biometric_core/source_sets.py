"""A source straight to capture sets, without the store: for cross-validation and studies."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from biometric_core.config import Config, Ingest, Preprocess
from biometric_core.dataset import CaptureSet, from_columns
from biometric_core.errors import CaptureRefused, DataError, FailureToAcquire
from biometric_core.executors import Executor, choose, map_chunks
from biometric_core.preprocess import SECONDS_PER_CAPTURE, prepare
from biometric_core.progress import track
from biometric_core.schemas import Modality, Sample
from biometric_core.sources.files import iter_files
from biometric_core.sources.layouts import SourceCapture, is_clutter, parse

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Chunk:
    files: tuple[tuple[Modality, bytes], ...]
    settings: Preprocess
    limits: Ingest


def capture_sets_from_source(config: Config, source: str) -> dict[Modality, CaptureSet]:
    """Prepare every acquirable capture of a folder or zip, in memory.

    Subjects keep the source's names here: the result is for figures, never for a table or log.
    The split column is empty.

    Raises:
        SourceError: the source is missing or no data set.
        DataError: not one capture could be acquired.
    """
    files = list(_captures(Path(source), config.ingest))
    executor = choose(config, len(files), SECONDS_PER_CAPTURE)
    done = prepare_files([(capture.modality, data) for capture, data in files], config, executor)
    samples = list(track(done, total=len(files), description="preparing"))
    pairs = zip(files, samples, strict=True)
    acquired = [(capture, data, s) for (capture, data), s in pairs if isinstance(s, Sample)]
    failures = Counter(sample for sample in samples if isinstance(sample, str))
    _log.info("acquired %d of %d captures; failures: %s", len(acquired), len(files), dict(failures))
    if not acquired:
        raise DataError(f"no capture of the source could be acquired: {dict(failures)}")
    present = {capture.modality for capture, _, _ in acquired}
    return {m: _to_set(m, [a for a in acquired if a[0].modality is m]) for m in sorted(present)}


def _captures(source: Path, limits: Ingest) -> Iterator[tuple[SourceCapture, bytes]]:
    for file in iter_files(source, limits):
        if file.refusal is None and not is_clutter(file.path) and (capture := parse(file.path)):
            try:
                yield capture, file.read()
            except CaptureRefused as refusal:
                _log.warning("left out a file of the source: %s", refusal)


def prepare_files(
    files: Sequence[tuple[Modality, bytes]], config: Config, executor: Executor
) -> Iterator[Sample | str]:
    """For the bytes of each file a sample, or the reason code why there is none; in order."""
    size = config.preprocess.chunk_size
    chunks = [
        _Chunk(tuple(files[start : start + size]), config.preprocess, config.ingest)
        for start in range(0, len(files), size)
    ]
    for samples in map_chunks(_prepare_chunk, chunks, executor, config):
        yield from samples


def _prepare_chunk(chunk: _Chunk) -> list[Sample | str]:
    return [_prepared(data, m, chunk.settings, chunk.limits) for m, data in chunk.files]


def _prepared(
    data: bytes, modality: Modality, settings: Preprocess, limits: Ingest
) -> Sample | str:
    try:
        return prepare(data, modality, settings, limits)
    except (CaptureRefused, FailureToAcquire) as failure:
        return failure.reason


def _to_set(modality: Modality, acquired: list[tuple[SourceCapture, bytes, Sample]]) -> CaptureSet:
    # The same image twice would meet itself in a comparison.
    unique = {hashlib.sha256(data).hexdigest(): (capture, s) for capture, data, s in acquired}
    captures = [capture for capture, _ in unique.values()]
    samples = [sample for _, sample in unique.values()]
    columns: dict[str, list[object]] = {
        "capture_id": list(unique),
        "subject_id": [capture.subject for capture in captures],
        "position": [capture.position for capture in captures],
        "impression": [capture.impression for capture in captures],
        "sex": [capture.sex for capture in captures],
        "sensor": ["" for _ in captures],
        "split": ["" for _ in captures],
        "captured_at": [datetime.now(UTC).replace(tzinfo=None) for _ in captures],
    }
    return from_columns(
        modality,
        columns,
        images=np.stack([sample.image for sample in samples]),
        masks=np.stack([sample.mask for sample in samples]),
        quality=np.array([sample.quality["overall"] for sample in samples], np.float32),
    )
