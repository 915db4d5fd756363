"""Files of a source to rows of `captures`; what can't be one goes to `quarantine`."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.intake import CLUTTER, DUPLICATE, UNREAD, Examined, Intake
from biometric_core.data.known_images import (
    Provenance,
    keep_digests,
    known_images,
    owners_of,
)
from biometric_core.data.namespaces import kind_of, namespace_of, remarks
from biometric_core.data.pseudonyms import Pseudonymiser, another_key
from biometric_core.data.splits import assign, stored_splits
from biometric_core.errors import CaptureRefused, ConfigError, DataError
from biometric_core.monitoring.watched import TAKEN_OTHERWISE, taken_otherwise
from biometric_core.parallel.progress import track
from biometric_core.parallel.thread_limits import usable_cores
from biometric_core.parallel.windowed import map_threads
from biometric_core.schemas import TABLES
from biometric_core.sources.reader import SourceFiles, open_source
from biometric_core.sources.sensor_folders import sensor_named_by
from biometric_core.storage.files import is_remote
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.times import in_future, valid_time

_log = logging.getLogger(__name__)
_FILES_PER_COMMIT = 8192  # of those seen, so that a run done again makes the same commits
_REMOTE_THREADS = 16  # they wait for the object store, not for a processor


@dataclass(frozen=True)
class IngestResult:
    """What a run of `ingest` saw and did.

    Attributes:
        seen: files of the source.
        added: new captures.
        known: files whose image the same subject has already.
        refused: files that are no capture.
        duplicates: how many of them are the image of another subject.
        quarantined: refused files that were not in the table yet.
        reasons: refused files by reason.
        subjects: in the whole table.
        splits: subjects of the whole table by split.
        namespace: of the source's people: equal names in one are one person.
    """

    seen: int
    added: int
    known: int
    refused: int
    duplicates: int
    quarantined: int
    reasons: dict[str, int]
    subjects: int
    splits: dict[str, int]
    namespace: str


@owner_only()
def ingest(
    config: Config,
    *,
    source: str,
    captured_at: datetime | None = None,
    sensor: str | None = None,
    kind: str = "folder",
) -> IngestResult:
    """Take the captures of a source in; doing it again adds nothing.

    Images are copied under the storage root by content, so the record no longer needs the source.
    One image in two formats, or from two sensors, is known; of another subject it is a duplicate.
    Files are taken in the order of their paths, some thousands a commit: a run that was cut short
    and is done again ends with the tables of an undisturbed one. Several at once are safe. A file
    that was refused before and is accepted now leaves the quarantine.

    Args:
        config: limits, gates and shares of the splits.
        source: a folder, a .zip, or either as `s3://...`, in a layout `sources.layouts` knows.
        captured_at: when they were taken, 1970 to 2100, UTC without a zone; now when None.
        sensor: what took those in no folder of a sensor; None: the source's own folder says, or
            `source.sensor`.
        kind: kind of source for the record, never a name or path; `inbox` is what is watched.

    Raises:
        SourceError: the source is missing, empty, no data set, or a sensor's with no fit name.
        ConfigError: another pseudonym key than the store's, no namespace, or no such time.
        StorageError: no space left, or the storage root can't be written to.
        DataError: a gate failed (too many refused files or duplicates, too few subjects); what was
            accepted and what was refused is in the tables all the same.
    """
    files = open_source(source, config.ingest)
    record = {
        "captured_at": _checked(captured_at) if captured_at else datetime.now(UTC),
        "source": kind_of(config, source, kind),
        "sensor": sensor or sensor_named_by(source) or config.source.sensor,
    }
    result = _Run(config, source, files, record).take_all()
    _check_gates(config, result)
    return result


def _checked(captured_at: datetime) -> datetime:
    try:
        time = valid_time(captured_at)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"captured_at {captured_at.isoformat()} {error}") from None
    if in_future(time):
        _log.warning(
            "captured_at %s lies in the future: is it right? The captures are taken in as of then",
            time.isoformat(),
        )
    return time


class _Run:
    """One run: whose each known image is, and what is not committed yet.

    Args:
        config: limits, shares of the splits, and what it says of the source.
        source: where the files are.
        files: of the source.
        record: columns of `captures` that are the same for the whole run; `sensor` is of the files
            that lie in no folder of one.
    """

    def __init__(
        self,
        config: Config,
        source: str,
        files: SourceFiles,
        record: Mapping[str, Any],
    ) -> None:
        self.config, self.files = config, files
        remote = is_remote(source) or is_remote(config.storage.root)
        self.threads = _REMOTE_THREADS if remote else usable_cores()
        self.store = Store.of(config)
        self.names = Pseudonymiser.of(self.store)
        self.known_images = known_images(self.store, config.ingest, self.threads)
        self.before = frozenset(self.known_images.people)
        kind = str(record["source"])
        namespace = namespace_of(config, kind, files, self.known_images.provenances)
        place = source if is_remote(source) else str(Path(source).resolve())
        origin = self.names.of_source(place)
        self.record = {**record, "namespace": namespace, "origin": origin}
        self.intake = Intake(config, self.store, self.known_images, self.names, self.record)
        self.fresh: list[Examined] = []
        self.accepted: list[tuple[PurePath, str]] = []  # path and content
        self.quarantine: list[dict[str, Any]] = []
        self.met: set[str] = set()  # subjects of the source
        self.seen = self.added = self.known = self.quarantined = self.unwatched = 0
        self.reasons: Counter[str] = Counter()

    def take_all(self) -> IngestResult:
        """Examine the files in threads, and take them in the order of their paths."""
        examined = map_threads(self.intake, self.files, self.threads)
        for file in track(examined, total=len(self.files), description="taking captures in"):
            self.take(file)
        self.commit()
        self._tell()
        result = self.result()
        _log.info(
            "took in %d captures, %d known, %d refused", result.added, result.known, result.refused
        )
        return result

    def take(self, file: Examined) -> None:
        """Add one file, as a capture or as a refused file; of equal images the first one counts."""
        self.seen += 1
        owner = self.known_images.owner(file.content, file.pixels)
        if file.refusal is not None:
            self._refuse(file, file.refusal)
        elif owner is not None:
            self._repeat(file, owner)
        else:
            self.known_images.owners |= dict.fromkeys((file.content, file.pixels), file.subject)
            self.fresh.append(file)
            self.accepted.append((file.path, file.content))
        self.met.update((file.subject,) if file.subject else ())
        if self.seen % _FILES_PER_COMMIT == 0:
            self.commit()

    def _repeat(self, file: Examined, owner: str) -> None:
        if owner == file.subject:
            self.known += 1
            self.accepted.append((file.path, file.content))
        else:
            refusal = CaptureRefused(DUPLICATE, "another subject has this very image")
            self._refuse(file, refusal)

    def _refuse(self, file: Examined, refusal: CaptureRefused) -> None:
        self.reasons[refusal.reason] += 1
        self.quarantine.append(
            {
                "file_id": self._file_id(file.path, file.content),
                "reason": refusal.reason,
                "detail": refusal.detail,
                "modality": file.modality,
                "source": self.record["source"],
                "captured_at": self.record["captured_at"],
                "bytes": file.size,
            }
        )

    def _file_id(self, path: PurePath, content: str) -> str:
        return self.names.of_file(self.record["namespace"], path, content)

    def commit(self) -> None:
        """Write what was taken: captures in one commit, then the refused files in others."""
        self._require_key()
        appended: set[str] = set()

        def complete(rows: pa.Table) -> pa.Table:
            appended.clear()
            appended.update(rows["capture_id"].to_pylist())
            return self._with_splits(rows)

        rows = [{**self.record, **file.row} for file in self.fresh]
        added = self.store.append_new("captures", _table("captures", rows), complete)
        self.added += added
        if not added:
            appended.clear()
        keep_digests(self.store, {f.content: f.pixels for f in self.fresh if f.content in appended})
        if added < len(rows):
            self._taken_meanwhile([f for f in self.fresh if f.content not in appended])
        self.quarantined += self.store.append_new(
            "quarantine", _table("quarantine", self.quarantine)
        )
        self._release()
        contents = [content for _, content in self.accepted]
        self.unwatched += taken_otherwise(self.store, self.record["source"], contents)
        self.fresh, self.accepted, self.quarantine = [], [], []

    def _release(self) -> None:
        """Remove the rows of `quarantine` that are of accepted files; a plain run has none."""
        if self.store.version("quarantine") is None:
            return
        ids = {self._file_id(path, c) for path, read in self.accepted for c in (read, UNREAD)}
        ids -= {row["file_id"] for row in self.quarantine}  # in a zip a name may come twice
        among = pc.field("file_id").isin(pa.array(sorted(ids), pa.string()))
        rows = self.store.read("quarantine", ["file_id"], among)
        if rows.num_rows:
            found = ", ".join(f"'{one}'" for one in rows["file_id"].to_pylist())
            self.store.delete("quarantine", f"file_id IN ({found})")

    def _taken_meanwhile(self, files: list[Examined]) -> None:
        """Somebody else took these images in since this run began."""
        owners = owners_of(self.store, [file.content for file in files])
        self.known_images.owners |= owners
        for file in files:
            self._repeat(file, owners[file.content])

    def _require_key(self) -> None:
        """Refuse another pseudonym key than the store's before anything is written by it.

        An older store doesn't tell its key: it takes the one by which somebody is found again.
        """
        if self.names.require(self.store):
            return
        if self.met & self.before:
            self.names.keep(self.store)
        elif self.reasons[DUPLICATE] > self.config.ingest.max_duplicates_share * self.seen:
            raise another_key(self.store)

    def _tell(self) -> None:
        """Say what a person should know of whom the source's people were taken for."""
        if respelled := self.intake.respelled:
            _log.warning(
                "%d people of the source are in the store by another spelling of their name, from "
                "an earlier version: they keep the pseudonym they have; %d of them are another "
                "person there as well, by the spelling of now, and stay so",
                *(len(respelled), len(self.intake.doubled)),
            )
        if self.unwatched:
            _log.warning(TAKEN_OTHERWISE, self.unwatched)
        if self.added and not self.names.require(self.store):
            _log.warning(
                "whether the pseudonym key is the one that %s was made with can't be told: nobody "
                "of the source is in it; if they should be, it is another key",
                self.store.root,
            )
        source = Provenance(*(self.record[name] for name in ("namespace", "source", "origin")))
        again = len(self.met & self.before)
        known = self.known_images.provenances
        for remark in remarks(source, known, again) if self.added else ():
            _log.warning("%s", remark)

    def _with_splits(self, rows: pa.Table) -> pa.Table:
        first = rows.group_by("subject_id").aggregate([("capture_id", "min")])
        smallest = dict(
            zip(first["subject_id"].to_pylist(), first["capture_id_min"].to_pylist(), strict=True)
        )
        splits = assign(stored_splits(self.store), smallest, self.config.splits)
        column = pa.array([splits[subject] for subject in rows["subject_id"].to_pylist()])
        return rows.set_column(rows.schema.get_field_index("split"), "split", column)

    def result(self) -> IngestResult:
        """What the run did, and whom the tables hold now."""
        splits = stored_splits(self.store)
        return IngestResult(
            seen=self.seen,
            added=self.added,
            known=self.known,
            refused=self.reasons.total(),
            duplicates=self.reasons[DUPLICATE],
            quarantined=self.quarantined,
            reasons=dict(self.reasons),
            subjects=len(splits),
            splits=dict(Counter(splits.values())),
            namespace=self.record["namespace"],
        )


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES[name])


def _check_gates(config: Config, result: IngestResult) -> None:
    offered = result.seen - result.reasons.get(CLUTTER, 0)
    limits = config.ingest
    refused = result.refused - result.reasons.get(CLUTTER, 0)
    if offered and result.duplicates / offered > limits.max_duplicates_share:
        raise DataError(
            f"{result.duplicates} of {offered} files are the image of another subject "
            f"(ingest.max_duplicates_share is {limits.max_duplicates_share}): check whether the "
            "source names its subjects otherwise than an earlier one, or is in another "
            f"source.namespace (these are in {result.namespace})"
        )
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
