"""What the store needs of Delta: rows in pieces, keys that are new, schemas that grow."""

import errno
import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction
from pyarrow import fs

from biometric_core.errors import DataError
from biometric_core.schemas import TABLES
from biometric_core.storage.files import writable

_log = logging.getLogger(__name__)
_BATCH_ROWS = 8192
# Delta forgets its log after 30 days by default, and time travel ends there. `biometric maintain`
# decides which versions stay.
CONFIGURATION = {"delta.logRetentionDuration": "interval 36500 days"}


@dataclass(frozen=True)
class PartFile:
    """A Parquet file that a worker wrote into a table's folder, not yet part of the table.

    Attributes:
        path: relative to the table's folder.
        size: bytes.
        rows: how many.
        statistics: JSON; by it readers skip the file.
    """

    path: str
    size: int
    rows: int
    statistics: str

    @classmethod
    def of(cls, path: str, size: int, rows: pa.Table) -> "PartFile":
        """The file at `path`; `rows` may lack columns that nobody filters by."""
        bounds = {name: pc.min_max(rows[name]).as_py() for name in rows.column_names}
        statistics = {
            "numRecords": rows.num_rows,
            "minValues": {name: v["min"] for name, v in bounds.items() if v["min"] is not None},
            "maxValues": {name: v["max"] for name, v in bounds.items() if v["max"] is not None},
            # Of a column without any statistics pyarrow concludes that no value is null.
            "nullCount": {name: rows[name].null_count for name in rows.column_names},
        }
        return cls(path, size, rows.num_rows, json.dumps(statistics))

    def action(self) -> AddAction:
        """The entry that makes it part of the table."""
        now = int(time.time() * 1000)
        return AddAction(self.path, self.size, {}, now, True, self.statistics)


def schema_of(name: str, columns: Sequence[str] | None = None) -> pa.Schema:
    """The schema of a table, of some columns if given; DataError where there is no such table."""
    if name not in TABLES:
        raise DataError(f"no table {name!r}; there are {', '.join(TABLES)}")
    schema = TABLES[name]
    return schema if columns is None else pa.schema([schema.field(c) for c in columns])


def conformed(name: str, rows: pa.Table) -> pa.Table:
    """The rows in the table's schema; DataError where they don't fit it."""
    try:
        return rows.select(schema_of(name).names).cast(TABLES[name])
    except (KeyError, pa.ArrowInvalid) as error:
        raise DataError(f"rows for table {name}: {error}") from error


def batches(
    table: DeltaTable, wanted: pa.Schema, filter: pc.Expression | None
) -> Iterator[pa.RecordBatch]:
    """Rows of a table version, in the schema `wanted`; columns it doesn't have yet are null."""
    # Without a file system of Arrow's own its threads call into Python, and a process that ends
    # meanwhile is aborted, crashes or hangs.
    system, folder = fs.FileSystem.from_uri(table.table_uri)
    dataset = table.to_pyarrow_dataset(filesystem=fs.SubTreeFileSystem(folder, system))
    written = [name for name in wanted.names if name in dataset.schema.names]
    for batch in dataset.to_batches(columns=written, filter=filter, batch_size=_BATCH_ROWS):
        if not batch.num_rows:
            continue
        columns = [
            batch.column(field.name).cast(field.type)
            if field.name in written
            else pa.nulls(batch.num_rows, field.type)
            for field in wanted
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=wanted)


def unique(rows: pa.Table, keys: list[str]) -> pa.Table:
    """The first row of each key, in the order they came."""
    index = pa.array(np.arange(rows.num_rows, dtype=np.int64))
    numbered = rows.select(keys).append_column("_row", index)
    first = numbered.group_by(keys).aggregate([("_row", "min")])
    return rows.take(np.sort(first["_row_min"].to_numpy()))


def unknown(rows: pa.Table, table: DeltaTable, keys: list[str]) -> pa.Table:
    """The rows whose key the table lacks, in the order they came."""
    index = pa.array(np.arange(rows.num_rows, dtype=np.int64))
    numbered = rows.select(keys).append_column("_row", index)
    same = pc.field(keys[0]).isin(rows[keys[0]].combine_chunks().unique())
    known = pa.Table.from_batches(
        batches(table, numbered.select(keys).schema, same), numbered.select(keys).schema
    )
    fresh = numbered.join(known, keys=keys, join_type="left anti")
    return rows.take(np.sort(fresh["_row"].to_numpy()))


def evolve(name: str, table: DeltaTable) -> None:
    """Add the columns that came to the schema after the table was written.

    Raises:
        DataError: a column is of another type, or of a newer version of this package.
        CommitFailedError: somebody else did so at the same time; look again.
    """
    written = {field.name: field for field in table.schema().fields}
    expected = {field.name: field for field in Schema.from_arrow(TABLES[name]).fields}
    for column, field in written.items():
        if column not in expected or field.type != expected[column].type:
            raise DataError(
                f"table {name} has the column {column} of type {field.type}, which this "
                "version of the package doesn't write: upgrade it, or use another storage.root"
            )
    missing = [field for column, field in expected.items() if column not in written]
    if missing:
        names = ", ".join(field.name for field in missing)
        _log.warning("table %s: column %s added, empty in older rows", name, names)
        table.alter.add_columns(missing)
    keep_log(table)


def keep_log(table: DeltaTable) -> None:
    """Make Delta keep the log of a table that an older version of this package made.

    Raises:
        CommitFailedError: somebody else did so at the same time; look again.
    """
    if not CONFIGURATION.keys() <= table.metadata().configuration.keys():
        table.alter.set_table_properties(CONFIGURATION)


@contextmanager
def explained(name: str, root: str) -> Iterator[None]:
    """What deltalake raises, in our words; a conflict is not an error here."""
    with writable(root):
        try:
            yield
        except (DeltaError, OSError) as error:
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, f"table {name}") from error
            raise DataError(f"table {name} can't be written: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """The message of an error without its line breaks."""
    return " ".join(str(error).split())
