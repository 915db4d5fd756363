"""Batch inference: a folder, zip or list of images to one table, one row for each of them."""

import csv
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biometric_core.config import Config, Ingest, Preprocess
from biometric_core.errors import CaptureRefused, ConfigError, SourceError
from biometric_core.executors import Executor, choose
from biometric_core.preprocess import SECONDS_PER_CAPTURE
from biometric_core.progress import track
from biometric_core.recogniser import Recogniser, require_preprocessing
from biometric_core.schemas import Modality, Sample
from biometric_core.source_sets import prepare_files
from biometric_core.sources.files import SourceFile, iter_files
from biometric_core.sources.layouts import SourceCapture, is_clutter, parse
from biometric_core.tracking import registry

_log = logging.getLogger(__name__)
_CHUNKS_AT_A_TIME = 16
UNKNOWN_MODALITY = "unknown_modality"
NOT_IN_MODEL = "modality_not_in_model"
T = TypeVar("T")
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


@dataclass(frozen=True)
class PredictResult:
    """What was written.

    Attributes:
        out: the table's path.
        rows: one for each file that is not clutter.
        failures: how many by reason; each has its row.
        model_version: of the registry.
        seconds: wall clock.
        captures_per_second: rows a second.
    """

    out: str
    rows: int
    failures: dict[str, int]
    model_version: str
    seconds: float
    captures_per_second: float


class _Writer(Protocol):
    def write(self, rows: list[dict[str, Any]]) -> None: ...


def predict(
    config: Config,
    *,
    source: str,
    out: str,
    model: str = "champion",
    embeddings: bool = False,
) -> PredictResult:
    """Recognise every image of a source.

    Args:
        config: names registry and limits.
        source: a folder, a .zip, or a .txt with one path a line (relative to the list). What an
            image shows follows from its path (`sources.layouts`).
        out: a .parquet or .csv file; it appears whole or not at all.
        model: alias or version in the registry.
        embeddings: add the embedding (in CSV a JSON list).

    Raises:
        ConfigError: `out` has another suffix.
        SourceError: the source can't be read.
        ModelError: there is no such model, or it needs another preprocessing.
    """
    start = time.monotonic()
    target = Path(out)
    if target.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"predict writes .parquet or .csv, not {target.suffix or 'no suffix'!r}")
    recogniser, version = registry.load_recogniser(config, model)
    config = config.model_copy(update={"preprocess": _settings(recogniser, config)})
    require_preprocessing(recogniser, config)
    files = [file for file in _files(Path(source), config.ingest) if not is_clutter(file.path)]
    failures: Counter[str] = Counter()
    schema = COLUMNS.append(EMBEDDING) if embeddings else COLUMNS
    with _open(target, schema) as writer:
        for rows in _rows(files, recogniser, config, embeddings):
            writer.write(rows)
            failures.update(row["failure"] for row in rows if row["failure"])
    seconds = time.monotonic() - start
    _log.info("%d rows, %d failures", len(files), failures.total())
    rate = round(len(files) / max(seconds, 1e-9), 1)
    return PredictResult(out, len(files), dict(failures), version, round(seconds, 2), rate)


def _settings(recogniser: Recogniser, config: Config) -> Preprocess:
    """How to work as configured here; what is made as the model was trained."""
    shapes = recogniser.settings.model_dump(include={"iris_shape", "fingerprint_shape"})
    return config.preprocess.model_copy(update=shapes)


def _files(source: Path, limits: Ingest) -> Iterator[SourceFile]:
    if source.suffix != ".txt":
        yield from iter_files(source, limits)
        return
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the list {source} can't be read: {error}") from error
    for line in lines:
        if line.strip():
            path = source.parent / line.strip()
            read = partial(_read_bounded, path, limits.max_file_bytes)
            yield SourceFile(PurePosixPath(line.strip()), 0, read)


def _read_bounded(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise CaptureRefused("unreadable", error.strerror or type(error).__name__) from error


def _rows(
    files: Sequence[SourceFile], recogniser: Recogniser, config: Config, embeddings: bool
) -> Iterator[list[dict[str, Any]]]:
    """Rows in the order of `files`, a group at a time, so that memory stays bounded."""
    executor = choose(config, len(files), SECONDS_PER_CAPTURE)
    groups = _parts(files, config.preprocess.chunk_size * _CHUNKS_AT_A_TIME)
    for group in track(groups, total=len(groups), description="recognising"):
        captures = [parse(file.path) for file in group]
        outcomes = _acquire(group, captures, executor, config)
        found = list(zip(group, captures, outcomes, strict=True))
        rows = [_row(recogniser, *one) for one in found]
        for modality in recogniser.modalities:
            chosen = [
                (row, outcome)
                for row, outcome in zip(rows, outcomes, strict=True)
                if row["modality"] == modality.value and isinstance(outcome, Sample)
            ]
            _recognise(recogniser, modality, chosen, embeddings)
        yield rows


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _row(
    recogniser: Recogniser, file: SourceFile, capture: SourceCapture | None, outcome: Sample | str
) -> dict[str, Any]:
    if isinstance(outcome, str):
        quality, failure = 0.0, outcome
    else:
        quality, failure = float(outcome.quality["overall"]), None
        if capture and capture.modality not in recogniser.modalities:
            failure = NOT_IN_MODEL
    return {
        "path": str(file.path),
        "modality": capture.modality.value if capture else None,
        "position": capture.position if capture else None,
        "quality": quality,
        "failure": failure,
        "subject_id": None,
        "probability": None,
        "embedding": None,
    }


def _acquire(
    files: Sequence[SourceFile],
    captures: Sequence[SourceCapture | None],
    executor: Executor,
    config: Config,
) -> list[Sample | str]:
    """For each file a sample, or the reason why there is none."""
    outcomes: list[Sample | str] = [UNKNOWN_MODALITY] * len(files)
    work: list[tuple[int, Modality, bytes]] = []
    for number, (file, capture) in enumerate(zip(files, captures, strict=True)):
        if file.refusal is not None:
            outcomes[number] = file.refusal.reason
        elif capture is not None:
            try:
                work.append((number, capture.modality, file.read()))
            except CaptureRefused as refusal:
                outcomes[number] = refusal.reason
    done = prepare_files([(m, data) for _, m, data in work], config, executor)
    for (number, _, _), outcome in zip(work, done, strict=True):
        outcomes[number] = outcome
    return outcomes


def _recognise(
    recogniser: Recogniser,
    modality: Modality,
    chosen: Sequence[tuple[dict[str, Any], Sample]],
    embeddings: bool,
) -> None:
    """Fill in the subject that fits best, its probability and the embedding."""
    if not chosen:
        return
    images = np.stack([sample.image for _, sample in chosen])
    masks = np.stack([sample.mask for _, sample in chosen])
    vectors = recogniser.embed(modality, images, masks)
    present = np.zeros((len(chosen), len(Modality)), dtype=np.bool_)
    present[:, tuple(Modality).index(modality)] = True
    probabilities = recogniser.closed_set({modality: vectors}, present)
    for (row, _), chances, vector in zip(chosen, probabilities, vectors, strict=True):
        best = int(chances.argmax())
        row["subject_id"] = recogniser.subjects[best]
        row["probability"] = float(chances[best])
        row["embedding"] = vector.tolist() if embeddings else None


class _ParquetTable:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self.writer = pq.ParquetWriter(path, schema)

    def write(self, rows: list[dict[str, Any]]) -> None:
        self.writer.write_table(pa.Table.from_pylist(rows, schema=self.schema))

    def close(self) -> None:
        self.writer.close()


class _CsvTable:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.file = path.open("w", newline="", encoding="utf-8")
        self.writer = csv.DictWriter(self.file, schema.names, extrasaction="ignore")
        self.writer.writeheader()

    def write(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            vector = row["embedding"]
            self.writer.writerow({**row, "embedding": json.dumps(vector) if vector else None})

    def close(self) -> None:
        self.file.close()


@contextmanager
def _open(target: Path, schema: pa.Schema) -> Iterator[_Writer]:
    """A table beside `target` that takes its name once it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        table = (_ParquetTable if target.suffix == ".parquet" else _CsvTable)(aside, schema)
        try:
            yield table
        finally:
            table.close()
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
