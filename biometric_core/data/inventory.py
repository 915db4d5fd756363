"""What the tables hold: counts, qualities and failures by modality, without a loop over rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biometric_core.config import Config
from biometric_core.data.intake import CLUTTER, DUPLICATE
from biometric_core.imaging.preparation import preprocess_version
from biometric_core.schemas import Float32Array, IntArray, Modality, start_of
from biometric_core.storage.store import Store

MEASURES = ("sharpness", "contrast", "brightness")
QUALITY = "quality"  # of the prepared capture
_TABLES = ("captures", "quarantine", "features")
_IDENTITY = ["subject_id", "modality", "position"]
_EXAMPLES = 3  # of each reason
_ID_DIGITS = 12


@dataclass(frozen=True)
class ModalityData:
    """What there is of one modality.

    Attributes:
        captures: rows of the captures table.
        subjects: people they are of.
        impressions: int64 (I,), captures of each eye or finger.
        measures: by name, float32: `MEASURES` of the captures, `QUALITY` of the acquired ones.
        sensors: captures by sensor.
        splits: subjects by split.
        attempted: captures that were prepared, acquired or not.
        failures: failures to acquire by reason.
    """

    captures: int
    subjects: int
    impressions: IntArray
    measures: Mapping[str, Float32Array]
    sensors: Mapping[str, int]
    splits: Mapping[str, int]
    attempted: int
    failures: Mapping[str, int]

    @property
    def failure_share(self) -> float:
        """Failure-to-acquire rate (ISO/IEC 19795-1), in [0, 1]."""
        return sum(self.failures.values()) / max(1, self.attempted)

    @property
    def median_impressions(self) -> float:
        """Captures of an eye or finger."""
        return float(np.median(self.impressions))


@dataclass(frozen=True)
class RefusedFile:
    """One row of `quarantine`, pseudonymous."""

    reason: str
    file: str
    bytes: int
    detail: str


@dataclass(frozen=True)
class DataFigures:
    """What the tables hold, at certain versions of them.

    Attributes:
        versions: of the tables by name; None where a table has no rows yet.
        preprocess_version: of the features that were looked at.
        modalities: those that have captures.
        subjects: people with captures of any modality.
        refused: files by reason, clutter left out.
        clutter: files that no data set means to hold.
        examples: a few refused files of each reason.
    """

    versions: Mapping[str, int | None]
    preprocess_version: str
    modalities: Mapping[Modality, ModalityData]
    subjects: int
    refused: Mapping[str, int]
    clutter: int
    examples: tuple[RefusedFile, ...]

    @property
    def captures(self) -> int:
        """Of all modalities."""
        return sum(data.captures for data in self.modalities.values())

    @property
    def offered(self) -> int:
        """Files that should have been captures."""
        return self.captures + sum(self.refused.values())

    @property
    def refused_share(self) -> float:
        """Of the offered files, in [0, 1]."""
        return sum(self.refused.values()) / max(1, self.offered)

    @property
    def duplicates_share(self) -> float:
        """Files that hold an image of another subject, of the offered files, in [0, 1]."""
        return self.refused.get(DUPLICATE, 0) / max(1, self.offered)


def data_figures(
    store: Store,
    config: Config,
    *,
    since: date | None = None,
    versions: Mapping[str, int | None] | None = None,
) -> DataFigures:
    """Look at the tables; images are not read.

    Args:
        store: with captures, and what was refused and prepared of them.
        config: decides which preprocessing version's features count.
        since: only captures and files of this day (UTC) or later; all when None.
        versions: of the tables; as they are now when None.
    """
    versions = versions or {name: store.version(name) for name in _TABLES}
    recent = None if since is None else pc.field("captured_at") >= start_of(since)
    columns = ["capture_id", "subject_id", "modality", "position", "sensor", "split", *MEASURES]
    captures = store.read("captures", columns, recent, versions["captures"])
    prepared = preprocess_version(config)
    columns, own = ["capture_id", "modality", "quality", "failure"], pc.field("preprocess_version")
    features = store.read("features", columns, own == prepared, versions["features"])
    if since is not None:
        features = features.filter(pc.is_in(features["capture_id"], captures["capture_id"]))
    modalities = {m: _of(m, captures, features) for m in Modality}
    told = ["file_id", "reason", "detail", "bytes"]
    refused = store.read("quarantine", told, recent, versions["quarantine"])
    reasons = counts(refused["reason"])
    return DataFigures(
        versions=versions,
        preprocess_version=prepared,
        modalities={m: data for m, data in modalities.items() if data.captures},
        subjects=int(pc.count_distinct(captures["subject_id"]).as_py()),
        clutter=reasons.pop(CLUTTER, 0),
        refused=reasons,
        examples=_examples(refused, list(reasons)),
    )


def _of(modality: Modality, captures: pa.Table, features: pa.Table) -> ModalityData:
    mine = captures.filter(pc.field("modality") == modality.value)
    done = features.filter(pc.field("modality") == modality.value)
    identities = mine.group_by(_IDENTITY).aggregate([([], "count_all")])
    splits = mine.group_by("split").aggregate([("subject_id", "count_distinct")])
    acquired = done.filter(pc.field("failure").is_null())
    measures = {name: _numbers(mine[name]) for name in MEASURES}
    return ModalityData(
        captures=mine.num_rows,
        subjects=int(pc.count_distinct(mine["subject_id"]).as_py()),
        impressions=identities["count_all"].to_numpy(),
        measures={**measures, QUALITY: _numbers(acquired["quality"])},
        sensors=counts(mine["sensor"]),
        splits=dict(sorted(zip(*(splits[c].to_pylist() for c in splits.column_names), strict=True)))
        if splits.num_rows
        else {},
        attempted=done.num_rows,
        failures=counts(done["failure"]),
    )


def _numbers(column: pa.ChunkedArray) -> Float32Array:
    return np.asarray(column.drop_null().to_numpy(), np.float32)


def counts(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each value occurs, the most frequent first; nulls don't count."""
    found = {one["values"]: one["counts"] for one in column.drop_null().value_counts().to_pylist()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _examples(refused: pa.Table, reasons: list[str]) -> tuple[RefusedFile, ...]:
    """The first of each reason by id, so that the same table shows the same."""
    found = []
    for reason in reasons:
        mine = refused.filter(pc.field("reason") == reason)
        order = pc.select_k_unstable(mine, _EXAMPLES, [("file_id", "ascending")])
        for row in mine.take(order).to_pylist():
            short = row["file_id"][:_ID_DIGITS]
            found.append(RefusedFile(reason, short, row["bytes"] or 0, row["detail"] or ""))
    return tuple(found)
