"""The maintain stage: small files together, files that nothing needs any more away.

Every version of a table that a training run or a registered model names stays readable, so that it
can be trained again on exactly the same captures. A finished training has removed its checkpoint
itself; what lies there is of one that was cut off, and goes when nobody has taken it up in time.
"""

import logging
import os
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from biometric_core.config import Config
from biometric_core.schemas import TABLES
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking import registry, runs

_log = logging.getLogger(__name__)
# What is written aside is renamed within seconds: a day later nobody is at it any more.
_HALF_WRITTEN_HOURS = 24
_VERSION_TAGS = {
    "features": "data_version",
    "captures": "captures_version",
    "probes": "probes_version",
}


@dataclass(frozen=True)
class MaintainResult:
    """What was tidied up.

    Attributes:
        compacted: small files that were put together, by table.
        deleted: files that were deleted, by table.
        kept: versions of tables that models name.
        cache_files: caches that nobody used for `storage.retention_days`.
        checkpoint_files: of trainings that nobody has taken up again for so long.
        half_written: parts of images that a process that was killed has left beside them.
        report_files: local copies of evaluations and reports on data that nobody has read for
            `storage.report_days`; MLflow keeps what was logged there.
        report_days: days whose drift report is older than that and was deleted.
        freed_bytes: by deleting tables' files, caches, checkpoints, parts and copies.
    """

    compacted: dict[str, int]
    deleted: dict[str, int]
    kept: dict[str, list[int]]
    cache_files: int
    checkpoint_files: int
    half_written: int
    report_files: int
    report_days: int
    freed_bytes: int


@dataclass(frozen=True)
class _Removed:
    files: int = 0
    bytes: int = 0

    def __add__(self, other: "_Removed") -> "_Removed":
        return _Removed(self.files + other.files, self.bytes + other.bytes)


@owner_only()
def maintain(config: Config) -> MaintainResult:
    """Compact the tables, forget old versions, remove what is stale; safe while others write.

    Images are never touched, nor is a row of a table.

    Args:
        config: `storage.retention_days` says how long a version stays that no model names, and
            caches and checkpoints that nobody uses; `storage.report_days` how long reports stay.
            `mlflow` must be where the models are. Where it knows no model no version is deleted: it
            may be the wrong one, or there is nothing to train again yet.

    Raises:
        ServiceError: MLflow can't be reached; nothing was deleted.
        DataError: a table is damaged.
        StorageError: the disk is full or read-only.
    """
    from biometric_core.monitoring.report.workspace import forget_reports

    store, kept = Store.of(config), named_versions(config)
    hours, report_hours = 24 * config.storage.retention_days, 24 * config.storage.report_days
    compacted = {name: store.compact(name) for name in TABLES}
    deleted, freed = _forget_versions(store, kept, hours)
    caches = _remove(_caches(store), hours)
    checkpoints = _remove(_entries(store, "checkpoints"), hours)
    parts = _remove(_half_written(store), _HALF_WRITTEN_HOURS)
    reports = _remove(_local_reports(store), report_hours)
    oldest = datetime.now(UTC).date() - timedelta(days=config.storage.report_days)
    result = MaintainResult(
        compacted={name: count for name, count in compacted.items() if count},
        deleted=deleted,
        kept={name: sorted(versions) for name, versions in kept.items()},
        cache_files=caches.files,
        checkpoint_files=checkpoints.files,
        half_written=parts.files,
        report_files=reports.files,
        report_days=forget_reports(config, before=oldest),
        freed_bytes=freed + (caches + checkpoints + parts + reports).bytes,
    )
    _log.info("%s", result)
    return result


def named_versions(config: Config) -> dict[str, set[int]]:
    """Versions of tables by name that a training run or a registered model was made from."""
    named = [run.tags for run in runs.find_runs(config, tag=runs.KIND, value="training")]
    named += [version.tags for version in registry.versions(config)]
    return {
        table: {int(tags[tag]) for tags in named if tags.get(tag, "").isdigit()}
        for table, tag in _VERSION_TAGS.items()
    }


def _forget_versions(
    store: Store, kept: Mapping[str, set[int]], hours: int
) -> tuple[dict[str, int], int]:
    """Files that were deleted, by table, and bytes that are free now."""
    if not any(kept.values()):
        _log.warning("MLflow knows no model: no version of a table is deleted")
        return {}, 0
    before = _table_bytes(store)
    deleted = {name: store.vacuum(name, kept.get(name, ()), hours) for name in TABLES}
    found = {name: count for name, count in deleted.items() if count}
    return found, max(0, before - _table_bytes(store))


def _table_bytes(store: Store) -> int:
    return sum(size for _, size in store.files.list("tables"))


def _caches(store: Store) -> list[Path]:
    return [*_entries(store, "cache", apart="runs"), *_entries(store, "cache", "runs")]


def _half_written(store: Store) -> list[Path]:
    """Parts of images that are written aside."""
    return sorted(store.path("images", "any").parent.rglob(".*"))


def _local_reports(store: Store) -> list[Path]:
    return [*_entries(store, "evaluation"), *_entries(store, "reports", "data")]


def _entries(store: Store, *place: str, apart: str | None = None) -> list[Path]:
    """What lies in a folder for working files; `apart` is looked at by itself."""
    folder = store.path(*place, "any").parent
    return sorted(entry for entry in folder.iterdir() if entry.name != apart)


def _remove(entries: Iterable[Path], hours: int) -> "_Removed":
    """Remove files, and folders as a whole, that nobody used for so long."""
    limit = time.time() - 3600 * hours
    removed = _Removed()
    for entry in entries:
        files = _files(entry)
        used = [max(status.st_atime, status.st_mtime) for status in files.values()]
        if max(used, default=limit) >= limit:
            continue
        for path, status in files.items():
            path.unlink(missing_ok=True)
            removed = _Removed(removed.files + 1, removed.bytes + status.st_size)
        _remove_empty(entry)
    return removed


def _remove_empty(entry: Path) -> None:
    """Remove what is left of a folder; one that somebody has just written to again stays."""
    for folder, _, _ in os.walk(entry, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()


def _files(entry: Path) -> dict[Path, os.stat_result]:
    """A file, or those in a folder at any depth; what vanishes meanwhile is left out."""
    inside = [Path(folder, name) for folder, _, names in os.walk(entry) for name in names]
    found = {}
    for path in (entry, *inside):
        with suppress(FileNotFoundError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found[path] = status
    return found
