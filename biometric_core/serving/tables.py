"""Tables of batch inference: .parquet, .csv or Delta, each there as a whole or not at all."""

import csv
import json
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from biometric_core.errors import ConfigError
from biometric_core.storage.delta import explained
from biometric_core.storage.files import aside, writable
from biometric_core.storage.folders import require_fit

Write = Callable[[Path, pa.Schema, Iterable[pa.RecordBatch]], None]
DELTA = ".delta"
_FORMULA = ("=", "+", "-", "@", "'")
_BLANKS = ("\t", "\r", "\n")


def writer(out: str) -> Write:
    """The function that writes the kind of table that the path `out` names.

    Raises:
        ConfigError: it names none, or one on an object store.
        StorageError: Delta can't take the name of the folder.
    """
    if "://" in out:
        raise ConfigError(f"predict writes to a local disk, not to {out}: name a file or folder")
    target = Path(out)
    if target.suffix in _FILES:
        return _FILES[target.suffix]
    if target.suffix == DELTA or (target.is_dir() and DeltaTable.is_deltatable(str(target))):
        require_fit(target.resolve())
        return _delta
    raise ConfigError(
        f"predict writes .parquet, .csv or a Delta table ({DELTA}, or a folder that is one), "
        f"not {target.suffix or 'no suffix'!r}"
    )


def _parquet(target: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with _aside(target) as path, pq.ParquetWriter(path, schema) as table:
        for batch in batches:
            table.write_batch(batch)


def _csv(target: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with _aside(target) as path, path.open("w", newline="", encoding="utf-8") as file:
        # Text in quotes: a program that takes ; for the separator would find other cells in it.
        table = csv.DictWriter(file, schema.names, quoting=csv.QUOTE_NONNUMERIC)
        table.writeheader()
        for batch in batches:
            table.writerows(_flat(row) for row in batch.to_pylist())


def _flat(row: dict[str, object]) -> dict[str, object]:
    """CSV has no lists: an embedding is JSON. Nor types: text must not be run as a formula."""
    if row.get("embedding"):
        row = row | {"embedding": json.dumps(row["embedding"])}
    return {
        name: harmless(value) if isinstance(value, str) else value for name, value in row.items()
    }


def harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe goes before one that might be.

    That is text which begins, after any blanks, with one of `= + - @` in any width, or with a tab
    or a line break; and text that begins with an apostrophe itself, so that whoever takes one
    leading apostrophe away always has the text as it was.
    """
    first = unicodedata.normalize("NFKC", text.lstrip()[:1])
    risky = first in _FORMULA or text[:1] in _BLANKS
    return f"'{text}" if text and risky else text


def _delta(target: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    # Through a file: a run that fails half-way must not leave files in the table's folder.
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        whole = Path(folder) / "rows.parquet"
        _parquet(whole, schema, batches)
        with pq.ParquetFile(whole) as rows, explained(target.name, str(target)):
            reader = pa.RecordBatchReader.from_batches(schema, rows.iter_batches())
            write_deltalake(str(target), reader, mode="overwrite", schema_mode="overwrite")


_FILES: dict[str, Write] = {".parquet": _parquet, ".csv": _csv}


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    with writable(str(target.parent)), aside(target) as path:
        yield path
