"""Files of a source to rows of `captures`; what can't be one goes to `quarantine`."""

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock

from biometric_core.config import Config
from biometric_core.errors import CaptureRefused, DataError
from biometric_core.progress import track
from biometric_core.pseudonym import Pseudonymiser
from biometric_core.quality import decode, measure
from biometric_core.schemas import TABLES
from biometric_core.sources.files import SourceFile, iter_files
from biometric_core.sources.layouts import SourceCapture, is_clutter, parse
from biometric_core.splits import assign
from biometric_core.store import Store, atomic_write

_log = logging.getLogger(__name__)
CLUTTER = "clutter"  # files no data set means to hold: counted, but no sign of bad data


@dataclass(frozen=True)
class IngestResult:
    """What a run of `ingest` saw and did; `reasons` counts this batch's refused files by reason."""

    seen: int
    added: int
    known: int
    refused: int
    quarantined: int
    reasons: dict[str, int]
    subjects: int
    splits: dict[str, int]


def ingest(
    config: Config,
    *,
    source: str,
    captured_at: datetime | None = None,
    sensor: str | None = None,
    kind: str = "folder",
) -> IngestResult:
    """Take the captures of a folder or zip in; doing it again adds nothing.

    Images are copied under the storage root by content, so the record no longer needs the source.

    Args:
        config: limits, gates and shares of the splits.
        source: a folder or .zip in a layout `sources.layouts` knows.
        captured_at: when the captures were taken; now when None.
        sensor: what took them; `source.sensor` of the configuration when None.
        kind: kind of source for the record; never a name or path.

    Raises:
        SourceError: the source is missing or no data set.
        DataError: a gate failed (too many refused files, too few subjects); what was accepted and
            what was refused is in the tables all the same.
    """
    taken_at = captured_at or datetime.now(UTC)
    run = _Ingest(config, taken_at, sensor or config.source.sensor, kind)
    files = iter_files(Path(source), config.ingest)
    for file in track(files, total=None, description="taking captures in"):
        run.take(file)
    result = run.commit()
    _log.info(
        "took in %d captures, %d known, %d refused", result.added, result.known, result.refused
    )
    _check_gates(config, result)
    return result


class _Ingest:
    """One run: what the tables know already, and the rows this source adds."""

    def __init__(self, config: Config, captured_at: datetime, sensor: str, kind: str) -> None:
        self.config = config
        self.store = Store.of(config)
        self.record = {"sensor": sensor, "captured_at": captured_at, "source": kind}
        self.names = Pseudonymiser.of(self.store)
        rows = self.store.read("captures", ["capture_id", "subject_id"]).to_pylist()
        self.owner = {row["capture_id"]: row["subject_id"] for row in rows}
        self.splits: dict[str, str] = {}
        self.captures: list[dict[str, Any]] = []
        self.quarantine: list[dict[str, Any]] = []
        self.seen = self.known = 0

    def take(self, file: SourceFile) -> None:
        """Add one file to the batch, as a capture or as a refused file."""
        self.seen += 1
        data, source = b"", None
        try:
            if is_clutter(file.path):
                raise CaptureRefused(CLUTTER, "not part of a data set")
            if file.refusal is not None:
                raise file.refusal
            source = parse(file.path)
            data = file.read()
            if source is None:
                raise CaptureRefused("unknown_layout", "the path names no subject and position")
            self._capture(data, source)
        except CaptureRefused as refusal:
            self._refuse(file, data, source, refusal)

    def _capture(self, data: bytes, source: SourceCapture) -> None:
        capture_id = hashlib.sha256(data).hexdigest()
        subject = self.names.of_subject(self.config.source.namespace, source.subject)
        owner = self.owner.get(capture_id)
        if owner == subject:
            self.known += 1
            return
        if owner is not None:
            raise CaptureRefused(
                "duplicate_of_other_subject", "another subject has this very image"
            )
        gray = decode(data, self.config.ingest)
        quality = measure(gray)
        if quality["contrast"] < self.config.ingest.min_contrast:
            raise CaptureRefused("low_contrast", f"standard deviation {quality['contrast']:.1f}")
        uri = f"images/{capture_id[:2]}/{capture_id}"
        atomic_write(self.store.path(uri), data)
        self.owner[capture_id] = subject
        self.captures.append(
            {
                **self.record,
                "capture_id": capture_id,
                "subject_id": subject,
                "modality": source.modality.value,
                "position": source.position,
                "impression": source.impression,
                "sex": source.sex,
                "uri": uri,
                "width": gray.shape[1],
                "height": gray.shape[0],
                **{name: quality[name] for name in ("sharpness", "contrast", "brightness")},
            }
        )

    def _refuse(
        self, file: SourceFile, data: bytes, source: SourceCapture | None, refusal: CaptureRefused
    ) -> None:
        content = hashlib.sha256(data).hexdigest()
        self.quarantine.append(
            {
                "file_id": self.names.of_file(self.config.source.namespace, file.path, content),
                "reason": refusal.reason,
                "detail": refusal.detail,
                "modality": source.modality.value if source else None,
                "source": self.record["source"],
                "captured_at": self.record["captured_at"],
                "bytes": file.size,
            }
        )

    def commit(self) -> IngestResult:
        """Write the batch: captures in one commit, then the refused files in another.

        Under a lock: two batches at once must not put a subject in two splits.
        """
        with FileLock(self.store.path("locks", "ingest.lock")):
            return self._commit()

    def _commit(self) -> IngestResult:
        rows = self.store.read("captures", ["subject_id", "split"]).to_pylist()
        self.splits = {row["subject_id"]: row["split"] for row in rows}
        first: dict[str, str] = {}
        for row in self.captures:
            subject, capture_id = row["subject_id"], row["capture_id"]
            first[subject] = min(capture_id, first.get(subject, capture_id))
        self.splits |= assign(self.splits, first, self.config.splits)
        for row in self.captures:
            row["split"] = self.splits[row["subject_id"]]
        added = self._append("captures", self.captures)
        quarantined = self._append("quarantine", self.quarantine)
        return IngestResult(
            seen=self.seen,
            added=added,
            known=self.known,
            refused=len(self.quarantine),
            quarantined=quarantined,
            reasons=dict(Counter(row["reason"] for row in self.quarantine)),
            subjects=len(self.splits),
            splits=dict(Counter(self.splits.values())),
        )

    def _append(self, table: str, rows: list[dict[str, Any]]) -> int:
        return self.store.append_new(table, pa.Table.from_pylist(rows, schema=TABLES[table]))


def _check_gates(config: Config, result: IngestResult) -> None:
    refused = result.refused - result.reasons.get(CLUTTER, 0)
    offered = result.seen - result.reasons.get(CLUTTER, 0)
    limits = config.ingest
    if offered and refused / offered > limits.max_refused_share:
        raise DataError(
            f"{refused} of {offered} files were refused (ingest.max_refused_share is "
            f"{limits.max_refused_share}): {result.reasons}; the quarantine table has each reason"
        )
    if result.subjects < limits.min_subjects:
        raise DataError(
            f"{result.subjects} subjects in the captures table, ingest.min_subjects is "
            f"{limits.min_subjects}: add captures or check the layout of the source"
        )
