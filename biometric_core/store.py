"""Delta tables and files under one storage root.

Rows are keyed by content (`schemas.KEYS`): writing the same thing again changes nothing. Pixels
are binary: deltalake turns `FixedSizeList<uint8>` into int8 and silently nulls values above 127.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError
from filelock import FileLock

from biometric_core.config import Config
from biometric_core.errors import ConfigError, DataError
from biometric_core.schemas import KEYS, TABLES


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` aside and rename it to `path`, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class Store:
    """The tables of record (`schemas.TABLES`) and the files beside them.

    Args:
        root: a local folder, made when missing.

    Raises:
        ConfigError: the root is a URL of a kind this version can't write to.
    """

    def __init__(self, root: str | Path) -> None:
        text = str(root).removeprefix("file://")
        if "://" in text:
            raise ConfigError(f"storage.root {text!r}: only a local folder is supported")
        self.root = Path(text).resolve()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # personal data

    @classmethod
    def of(cls, config: Config) -> "Store":
        """The store that `config.storage.root` names."""
        return cls(config.storage.root)

    def path(self, *parts: str) -> Path:
        """A path under the root; its parent folders exist afterwards."""
        path = self.root.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def version(self, name: str) -> int | None:
        """The table's current Delta version, None before its first row."""
        return self._open(name).version() if self._exists(name) else None

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
        schema = TABLES[name]
        if not self._exists(name):
            empty = schema.empty_table()
            return empty if columns is None else empty.select(columns)
        dataset = self._open(name, version).to_pyarrow_dataset()
        wanted = schema if columns is None else pa.schema([schema.field(c) for c in columns])
        written = [name for name in wanted.names if name in dataset.schema.names]
        table = dataset.to_table(columns=written, filter=filter)
        for name in set(wanted.names) - set(written):
            table = table.append_column(name, pa.nulls(table.num_rows))
        return table.select(wanted.names).cast(wanted)

    def append_new(self, name: str, rows: pa.Table) -> int:
        """Append the rows whose key the table lacks, in one commit.

        Returns:
            How many rows were appended; 0 leaves the table's version as it was.

        Raises:
            DataError: the rows don't have the table's schema.
        """
        try:
            rows = rows.select(TABLES[name].names).cast(TABLES[name])
        except (KeyError, pa.ArrowInvalid) as error:
            raise DataError(f"rows for table {name}: {error}") from error
        # Anti-join and append are two steps: two writers at once would both find a key missing.
        with FileLock(self.path("locks", f"{name}.lock")):
            fresh = self._without_known(name, rows)
            if fresh.num_rows:
                table = str(self.root / "tables" / name)
                write_deltalake(table, fresh, mode="append", schema_mode="merge")
        return int(fresh.num_rows)

    def replace(self, name: str, rows: pa.Table, where: str) -> None:
        """Put `rows` in the place of those that match, in one commit.

        Args:
            name: of the table.
            rows: at least one; each must match `where`.
            where: SQL condition on the table's columns: "day = '2026-01-07'".

        Raises:
            DataError: the rows don't have the table's schema, or don't match `where`.
        """
        rows = _conformed(name, rows)
        with FileLock(self.path("locks", f"{name}.lock")):
            predicate = where if self._exists(name) else None
            try:
                write_deltalake(
                    str(self.root / "tables" / name), rows, mode="overwrite", predicate=predicate
                )
            except DeltaError as error:
                raise DataError(f"rows for table {name} where {where}: {error}") from error

    def delete(self, name: str, where: str) -> None:
        """Remove the rows that match `where` (SQL), in one commit; older versions keep them."""
        with FileLock(self.path("locks", f"{name}.lock")):
            if self._exists(name):
                self._open(name).delete(where)

    def _without_known(self, name: str, rows: pa.Table) -> pa.Table:
        keys = list(KEYS[name])
        index = pa.array(np.arange(rows.num_rows, dtype=np.int64))
        numbered = rows.select(keys).append_column("_row", index)
        first = numbered.group_by(keys).aggregate([("_row", "min")])
        fresh = first.join(self.read(name, columns=keys), keys=keys, join_type="left anti")
        return rows.take(np.sort(fresh["_row_min"].to_numpy()))

    def _exists(self, name: str) -> bool:
        if name not in TABLES:
            raise DataError(f"no table {name!r}; there are {', '.join(TABLES)}")
        return DeltaTable.is_deltatable(str(self.root / "tables" / name))

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(str(self.root / "tables" / name), version=version)
        except (DeltaError, OSError) as error:
            raise DataError(f"table {name} (version {version or 'latest'}): {error}") from error


def _conformed(name: str, rows: pa.Table) -> pa.Table:
    try:
        return rows.select(TABLES[name].names).cast(TABLES[name])
    except (KeyError, pa.ArrowInvalid) as error:
        raise DataError(f"rows for table {name}: {error}") from error
