"""A store as a version before namespaces, fingerprints of keys and digests of pixels left it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from biometric_core.config import Config
from biometric_core.data.pseudonyms import Pseudonymiser
from biometric_core.stages.ingest import ingest
from biometric_core.storage.store import Store
from tests.support.tiny_store import changed

NEW_COLUMNS = ["namespace", "origin"]


def taken_in_before(
    config: Config, source: Path, read_as: Mapping[str, str] | None = None
) -> Store:
    """The captures of a source in a store of then.

    Args:
        config: names the store.
        source: is taken in.
        read_as: how the version of then read names that are read otherwise now.
    """
    ingest(changed(config, "source", namespace="default"), source=str(source))
    store = Store.of(config)
    names = Pseudonymiser.of(store)
    older = {
        names.of_subject("default", now): names.of_subject("default", then)
        for now, then in (read_as or {}).items()
    }
    rows = store.read("captures").drop_columns(NEW_COLUMNS)
    subjects = pa.array([older.get(one, one) for one in rows["subject_id"].to_pylist()])
    place = rows.schema.get_field_index("subject_id")
    rows = rows.set_column(place, "subject_id", subjects)
    table = DeltaTable(f"{store.root}/tables/captures")
    write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite")
    shutil.rmtree(f"{store.root}/tables/pixel_digests")
    Path(store.root, "secrets", "pseudonym.fingerprint").unlink()
    return store
