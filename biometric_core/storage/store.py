"""Delta tables under one storage root, and the files beside them.

Rows are keyed by content (`schemas.KEYS`): writing the same thing again changes nothing. Pixels
are binary: deltalake turns `FixedSizeList<uint8>` into int8 and silently nulls values above 127.

There is no lock. A writer looks at version N and commits N + 1, which fails if somebody else was
there first: it then looks again. So any number of processes and machines may write at once.
"""

import hashlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from biometric_core.config import Config
from biometric_core.errors import DataError, StorageError
from biometric_core.schemas import KEYS, TABLES
from biometric_core.storage.delta import (
    CONFIGURATION,
    PartFile,
    batches,
    conformed,
    evolve,
    explained,
    keep_log,
    one_line,
    schema_of,
    unique,
    unknown,
)
from biometric_core.storage.files import Files, is_remote, writable
from biometric_core.storage.folders import fit_for_tables, local_path
from biometric_core.storage.private import close_store, owner_only

_log = logging.getLogger(__name__)
_ATTEMPTS = 50
# A file of a whole chunk of features has 4 to 7 MB: it stays as it is (docs/decisions/0009).
_SMALL_BYTES = dict.fromkeys(TABLES, 16 * 2**20) | {"features": 2**20}
_LONGEST_WAIT = 2.0  # seconds
_IF_UNCHANGED = CommitProperties(max_commit_retries=0)
Complete = Callable[[pa.Table], pa.Table]
T = TypeVar("T")


class Store:
    """The tables of record (`schemas.TABLES`) and the files beside them.

    Args:
        root: a local folder, made when missing, or `s3://bucket/prefix`.
        work: local folder for locks, caches and checkpoints where the root is an object store.

    Attributes:
        root: as text.
        files: whatever is no table.

    Raises:
        ConfigError: the root is a URL of a kind this version can't write to.
        StorageError: Delta can't take the name of the folder.
    """

    def __init__(self, root: str | Path, work: str | Path = "var/work") -> None:
        self.files = Files(root if is_remote(root) else fit_for_tables(local_path(root)))
        self.root = self.files.root
        name = hashlib.sha256(self.root.encode()).hexdigest()[:12]
        self._work = self.files.local or Path(work).resolve() / name
        with writable(self.root), owner_only():  # personal data
            self._work.mkdir(parents=True, exist_ok=True)
            close_store(self._work)

    @classmethod
    def of(cls, config: Config) -> "Store":
        """The store that `config.storage` names."""
        return cls(config.storage.root, config.storage.work)

    def path(self, *parts: str) -> Path:
        """A local path for working files; its parent folders exist afterwards."""
        path = self._work.joinpath(*parts)
        with owner_only():
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self, path: Path) -> str:
        """Make a file made at `path(...)` part of the record; returns its path under the root."""
        uri = path.relative_to(self._work).as_posix()
        if self.files.local is None:
            self.files.write(uri, path.read_bytes())
        return uri

    def version(self, name: str) -> int | None:
        """The table's current Delta version, None before its first row."""
        table = self._open(name)
        return None if table is None else table.version()

    def read(
        self,
        name: str,
        columns: list[str] | None = None,
        filter: pc.Expression | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table, of an older `version` if given; empty before its first row.

        A column that came to the schema after the table was written is null there.

        Raises:
            DataError: that version doesn't exist (any more), or the table is damaged.
        """
        schema = schema_of(name, columns)
        return pa.Table.from_batches(self.scan(name, columns, filter, version), schema)

    def scan(
        self,
        name: str,
        columns: list[str] | None = None,
        filter: pc.Expression | None = None,
        version: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """As `read`, in pieces, so that memory stays bounded; in no particular order."""
        wanted = schema_of(name, columns)
        table = self._open(name, version)
        if table is None:
            return
        try:
            yield from batches(table, wanted, filter)
        except OSError as error:
            where = f"table {name} (version {table.version()})"
            raise self._unreadable(where, error) from error

    def append_new(self, name: str, rows: pa.Table, complete: Complete | None = None) -> int:
        """Append the rows whose key the table lacks, in one commit; others may write meanwhile.

        Args:
            name: of the table.
            rows: of the table's schema; of equal keys the first row counts.
            complete: fills in what depends on the tables as they are now; gets the rows to append,
                and may be called again where somebody else commits first.

        Returns:
            How many rows were appended; 0 leaves the table's version as it was.

        Raises:
            DataError: the rows don't have the table's schema.
            StorageError: the disk is full, or the table never came to rest.
        """
        keys = list(KEYS[name])
        rows = unique(conformed(name, rows), keys)

        def attempt(table: DeltaTable) -> int:
            fresh = unknown(rows, table, keys)
            if fresh.num_rows:
                fresh = complete(fresh) if complete else fresh
                write_deltalake(table, fresh, mode="append", commit_properties=_IF_UNCHANGED)
            return int(fresh.num_rows)

        return self._persistently(name, attempt) if rows.num_rows else 0

    def append_files(self, name: str, parts: Sequence[PartFile], version: int | None) -> bool:
        """Make files in the table's folder part of it, if nobody wrote since `version`.

        Returns:
            Whether it happened; if not, look again at what the table lacks.

        Raises:
            StorageError: a file isn't there, or the disk is full.
        """
        self._require(name, parts)
        actions: list[AddAction | RemoveAction] = [part.action() for part in parts]

        def attempt(table: DeltaTable) -> bool:
            if table.version() != (version or 0):
                return False
            table.create_write_transaction(
                actions, "append", table.schema(), commit_properties=_IF_UNCHANGED
            )
            return True

        return self._persistently(name, attempt)

    def _require(self, name: str, parts: Sequence[PartFile]) -> None:
        """Raise StorageError unless all files are where the table would look for them."""
        folder = f"tables/{name}"
        lost = [p for p in parts if self.files.size(f"{folder}/{p.path}") != p.size]
        if lost:
            raise StorageError(
                f"{len(lost)} of {len(parts)} files that workers wrote are not in {self.root}/"
                f"{folder}: every machine of the Ray cluster must see the same storage.root"
            )

    def replace(self, name: str, rows: pa.Table, where: str) -> None:
        """Put `rows` in the place of those that match, in one commit.

        Args:
            name: of the table.
            rows: each must match `where`.
            where: SQL condition on the table's columns: "day = '2026-01-07'".

        Raises:
            DataError: the rows don't have the table's schema, or don't match `where`.
        """
        rows = conformed(name, rows)
        self._persistently(
            name, lambda table: write_deltalake(table, rows, mode="overwrite", predicate=where)
        )

    def delete(self, name: str, where: str) -> None:
        """Remove the rows that match `where` (SQL), in one commit; older versions keep them.

        Put nothing in their place: `DeltaTable.delete` writes what stays in another type of text
        (string_view), in which filters of Arrow find nothing and fail.
        """
        if self._open(name) is not None:
            self.replace(name, TABLES[name].empty_table(), where)

    @owner_only()
    def compact(self, name: str) -> int:
        """Put small files of a table together, in one commit; older versions keep theirs.

        Returns:
            How many files were replaced; 0 too where others wrote meanwhile: the next run does it.

        Raises:
            StorageError: the disk is full.
        """
        table = self._open(name)
        if table is None:
            return 0
        properties = WriterProperties(compression="ZSTD", compression_level=1)
        with explained(name, self.root):
            try:
                keep_log(table)  # before a commit that may make Delta tidy it up
                done = table.optimize.compact(
                    target_size=_SMALL_BYTES[name], writer_properties=properties
                )
            except CommitFailedError as error:
                _log.warning("table %s not compacted: %s", name, one_line(error))
                return 0
        return int(done["numFilesRemoved"])

    @owner_only()
    def vacuum(self, name: str, keep_versions: Iterable[int], hours: int) -> int:
        """Delete the files of a table that only forgotten versions need, and files of no version.

        Versions younger than `hours` stay readable, and those in `keep_versions` for ever.

        Args:
            name: of the table.
            keep_versions: those that can't be read any more are left out, with a warning.
            hours: a file that no version names must be older too: somebody may be about to commit.

        Returns:
            How many files were deleted.
        """
        table = self._open(name)
        if table is None:
            return 0
        how: dict[str, Any] = {
            "retention_hours": hours,
            "enforce_retention_duration": False,
            "full": True,
            "keep_versions": self._readable(name, keep_versions),
        }
        with explained(name, self.root):
            # Delta lists what earlier runs have deleted as well, and would commit for nothing.
            there = {uri.split("/", 2)[-1] for uri, _ in self.files.list(f"tables/{name}")}
            stale = there.intersection(table.vacuum(dry_run=True, **how))
            if stale:
                table.vacuum(dry_run=False, **how)
        return len(stale)

    def _readable(self, name: str, versions: Iterable[int]) -> list[int]:
        """Those that Delta's log still tells of, in order; others must not stop the vacuum."""
        found = []
        for version in sorted(set(versions)):
            try:
                self._open(name, version)
            except DataError as error:
                _log.warning("a version that a model names is lost: %s", error)
            else:
                found.append(version)
        return found

    @owner_only()
    def _persistently(self, name: str, attempt: Callable[[DeltaTable], T]) -> T:
        """Call `attempt` with the table as it is now, again where somebody else commits first."""
        for number in range(_ATTEMPTS):
            with explained(name, self.root):
                table = self._open(name)
                seen = None if table is None else table.version()
                try:
                    return attempt(self._brought_up(name, table))
                except CommitFailedError:
                    if self.version(name) == seen:  # nobody was faster: it is something else
                        raise
            time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.02 * 2**number)))
        raise StorageError(
            f"table {name}: others committed first {_ATTEMPTS} times; run fewer writers at once"
        )

    def _open(self, name: str, version: int | None = None) -> DeltaTable | None:
        schema_of(name)
        try:
            return DeltaTable(self._address(name), version, self._options())
        except (DeltaError, OSError) as error:
            # Of a version whose log is gone Delta says that there is no table.
            if isinstance(error, TableNotFoundError) and version is None:
                return None
            where = f"table {name} (version {'latest' if version is None else version})"
            raise self._unreadable(where, error) from error

    def _unreadable(self, where: str, error: Exception) -> DataError | StorageError:
        if isinstance(error, FileNotFoundError):
            return DataError(
                f"{where} can't be read: {one_line(error)}; its files were vacuumed or deleted"
            )
        if isinstance(error, OSError) and self.files.local is None:
            return StorageError(f"{where} can't be reached: {one_line(error)}; run again")
        return DataError(f"{where} can't be read: {one_line(error)}")

    def _brought_up(self, name: str, table: DeltaTable | None) -> DeltaTable:
        """The table, made or brought to the present schema where needed."""
        if table is None:
            DeltaTable.create(
                self._address(name),
                TABLES[name],
                mode="ignore",
                configuration=CONFIGURATION,
                storage_options=self._options(),
            )
            table = DeltaTable(self._address(name), None, self._options())
        evolve(name, table)
        return table

    def _address(self, name: str) -> str:
        return f"{self.root}/tables/{name}"

    def _options(self) -> dict[str, str] | None:
        if self.files.local is not None:
            return None
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return {"allow_http": str(plain).lower(), "aws_conditional_put": "etag"}
