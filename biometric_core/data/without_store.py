"""A source straight to capture sets, without the store: for cross-validation and studies."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from biometric_core.config import Config, Ingest, Preprocess
from biometric_core.data.capture_sets import CaptureSet, Sets, from_columns
from biometric_core.data.same_pixels import first_of_each_image, pixels_digest
from biometric_core.errors import CaptureRefused, DataError, FailureToAcquire
from biometric_core.imaging.decoding import decode
from biometric_core.imaging.iris import paint_out
from biometric_core.imaging.iris.paint_out import PaintedSample, PaintOut
from biometric_core.imaging.preparation import SECONDS_PER_CAPTURE, prepare
from biometric_core.parallel.chunks import map_chunks
from biometric_core.parallel.executors import Executor, choose
from biometric_core.parallel.progress import track
from biometric_core.parallel.thread_limits import one_thread
from biometric_core.schemas import Modality, Sample
from biometric_core.sources.layouts import SourceCapture, identified, is_clutter, layout
from biometric_core.sources.reader import iter_files
from biometric_core.sources.sensor_folders import bits_of

_log = logging.getLogger(__name__)
# Nobody asks when a study's captures were taken: all of one day, visits go by impression numbers.
_UNDATED = datetime(1970, 1, 1)

Prepare = Callable[[bytes, Modality, Preprocess, Ingest, int | None], Sample]
Bits = int | None


@dataclass(frozen=True)
class _Chunk:
    files: tuple[tuple[Modality, bytes, Bits], ...]
    settings: Preprocess
    limits: Ingest
    prepare: Prepare


@dataclass(frozen=True)
class SourceSets:
    """What a source holds, prepared.

    Attributes:
        sets: acquired captures by modality; subjects keep the source's names.
        layout: `kaggle`, `flat` or `fvc`, of most files.
        captures: files by modality, acquired or not.
        failures: failures to acquire by modality and reason.
        left_out: files that could not be read as captures, by reason.
        painted_refused: eyes that could not be acquired painted, where irises are painted out.
    """

    sets: Mapping[Modality, CaptureSet]
    layout: str
    captures: Mapping[Modality, int]
    failures: Mapping[Modality, Mapping[str, int]]
    left_out: Mapping[str, int]
    painted_refused: int = 0


def capture_sets_from_source(config: Config, source: str) -> dict[Modality, CaptureSet]:
    """The capture sets of `prepare_source`."""
    return dict(prepare_source(config, source).sets)


def prepare_source(config: Config, source: str, painted: PaintOut | None = None) -> SourceSets:
    """Prepare every capture of a folder or zip, in memory; the split is empty.

    Subjects keep the source's names: the result is for figures, never for a table or log.

    Args:
        config: `preprocess`, `ingest` and `source.bits` decide.
        source: a folder or a .zip.
        painted: what is painted over in each eye before it is prepared.

    Raises:
        SourceError: the source is missing or no data set.
        DataError: not one capture could be acquired.
    """
    left_out = Counter[str]()
    found = list(_captures(source, config, left_out))
    files = [(capture, data) for _, capture, data, _ in found]
    executor = choose(config, len(files), SECONDS_PER_CAPTURE)
    how = partial(prepare_painted, painted) if painted else prepare
    work = [(capture.modality, data, bits) for _, capture, data, bits in found]
    done = prepare_files(work, config, executor, how)
    samples = list(track(done, total=len(files), description="preparing"))
    pairs = list(zip(files, samples, strict=True))
    acquired = [(capture, data, s) for (capture, data), s in pairs if isinstance(s, Sample)]
    failures = _failures((capture.modality, sample) for (capture, _), sample in pairs)
    counts = {modality.value: dict(reasons) for modality, reasons in failures.items()}
    _log.info("acquired %d of %d captures; failures: %s", len(acquired), len(files), counts)
    if not acquired:
        raise DataError(f"no capture could be acquired: {counts}; left out: {dict(left_out)}")
    present = {capture.modality for capture, _, _ in acquired}
    return SourceSets(
        sets={m: _to_set(m, [a for a in acquired if a[0].modality is m]) for m in sorted(present)},
        layout=Counter(name for name, *_ in found).most_common(1)[0][0],
        captures=Counter(capture.modality for capture, _ in files),
        failures=failures,
        left_out=left_out,
        painted_refused=sum(isinstance(s, PaintedSample) and bool(s.refusal) for s in samples),
    )


def _failures(
    prepared: Iterable[tuple[Modality, Sample | str]],
) -> dict[Modality, Counter[str]]:
    """How many captures could not be acquired, by modality and reason."""
    failures: dict[Modality, Counter[str]] = {}
    for modality, sample in prepared:
        if isinstance(sample, str):
            failures.setdefault(modality, Counter())[sample] += 1
    return failures


def _captures(
    source: str, config: Config, left_out: Counter[str]
) -> Iterator[tuple[str, SourceCapture, bytes, Bits]]:
    """Layout, capture, content and bits (as configured) of each file; others count by reason."""
    for file in iter_files(source, config.ingest):
        if is_clutter(file.path):
            continue
        try:
            capture = identified(file.path)
            if capture is None or file.refusal is not None:
                left_out[file.refusal.reason if file.refusal else "unknown_layout"] += 1
            else:
                bits = bits_of(file.path, config.source)
                yield str(layout(file.path)), capture, file.read(), bits
        except CaptureRefused as refusal:
            left_out[refusal.reason] += 1
    if left_out:
        _log.warning("left out of the source: %s", dict(left_out))


def prepare_painted(
    what: PaintOut,
    data: bytes,
    modality: Modality,
    settings: Preprocess,
    limits: Ingest,
    bits: Bits = None,
) -> Sample:
    """As `preparation.prepare`, with the iris painted out of eyes."""
    if modality is Modality.IRIS:
        return paint_out.prepare(decode(data, limits, bits), settings.iris_shape, what)
    return prepare(data, modality, settings, limits, bits)


def prepare_files(
    files: Sequence[tuple[Modality, bytes, Bits]],
    config: Config,
    executor: Executor,
    how: Prepare = prepare,
) -> Iterator[Sample | str]:
    """For the bytes of each file a sample, or the reason code why there is none; in order."""
    size = config.preprocess.chunk_size
    chunks = [
        _Chunk(tuple(files[start : start + size]), config.preprocess, config.ingest, how)
        for start in range(0, len(files), size)
    ]
    for samples in map_chunks(_prepare_chunk, chunks, executor, config):
        yield from samples


def _prepare_chunk(chunk: _Chunk) -> list[Sample | str]:
    with one_thread():
        return [_prepared(data, modality, bits, chunk) for modality, data, bits in chunk.files]


def _prepared(data: bytes, modality: Modality, bits: Bits, chunk: _Chunk) -> Sample | str:
    try:
        return chunk.prepare(data, modality, chunk.settings, chunk.limits, bits)
    except (CaptureRefused, FailureToAcquire) as failure:
        return failure.reason


def _to_set(modality: Modality, acquired: list[tuple[SourceCapture, bytes, Sample]]) -> CaptureSet:
    # The same image twice would meet itself in a comparison, in whatever format it is stored. An
    # eye that is painted over has no image of its own.
    unique: dict[str, tuple[str, SourceCapture, Sample]] = {}
    strangers = 0
    for capture, data, sample in acquired:
        capture_id = _digest(data)
        painted = isinstance(sample, PaintedSample)
        same = capture_id if painted else pixels_digest(sample.image, sample.mask)
        _, first, _ = unique.setdefault(same, (capture_id, capture, sample))
        strangers += first.subject != capture.subject
    if strangers:
        _log.warning("%d images occur under two subjects: the first counts", strangers)
    captures = [capture for _, capture, _ in unique.values()]
    samples = [sample for _, _, sample in unique.values()]
    columns: dict[str, list[object]] = {
        "capture_id": [capture_id for capture_id, _, _ in unique.values()],
        "subject_id": [capture.subject for capture in captures],
        "position": [capture.position for capture in captures],
        "impression": [capture.impression for capture in captures],
        "sex": [capture.sex for capture in captures],
        "sensor": ["" for _ in captures],
        "split": ["" for _ in captures],
        "captured_at": [_UNDATED for _ in captures],
    }
    return from_columns(
        modality,
        columns,
        images=np.stack([sample.image for sample in samples]),
        masks=np.stack([sample.mask for sample in samples]),
        quality=np.array([sample.quality["overall"] for sample in samples], np.float32),
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def merged(sources: Sequence[Sets], painted: bool = False) -> dict[Modality, CaptureSet]:
    """The captures of all sources; an image that occurs in several counts once.

    Subjects become `<number of the source>:<name>`: equal names in two sources are two people.

    Args:
        sources: by modality, the captures of each.
        painted: eyes are painted over, so that no image tells one from another.
    """
    found = {}
    for modality in Modality:
        parts = list(_named_apart(sources, modality))
        if parts:
            columns: dict[str, npt.NDArray[Any]] = {
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in vars(parts[0])
                if name != "modality"
            }
            _, unique = np.unique(columns["capture_id"], return_index=True)
            together = CaptureSet(modality, **columns)
            if len(parts) > 1 and not painted:
                unique = np.intersect1d(unique, first_of_each_image(together))
                unique = unique[np.argsort(together.capture_id[unique])]
            found[modality] = together.select(unique)
    return found


def _named_apart(sources: Sequence[Sets], modality: Modality) -> Iterator[CaptureSet]:
    for number, sets in enumerate(sources):
        if modality in sets:
            names = [f"{number}:{name}" for name in sets[modality].subject_id]
            yield replace(sets[modality], subject_id=np.array(names, dtype=np.str_))
