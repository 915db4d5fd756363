"""The check stage: what was taken in and prepared, as a report, and whether it is fit to train on.

`ingest` looks at one batch; this looks at everything that the tables hold, or where
`check.window_days` says so at what came last: a bad week then passes.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

import biometric_core
from biometric_core.config import Check, Config
from biometric_core.data.inventory import DataFigures, data_figures
from biometric_core.data.inventory_report import data_report
from biometric_core.errors import DataError
from biometric_core.storage.files import atomic_write
from biometric_core.storage.private import owner_only
from biometric_core.storage.store import Store
from biometric_core.tracking import runs

_log = logging.getLogger(__name__)
KIND = "data"
_DIGEST_TAG = "data_digest"


@dataclass(frozen=True)
class CheckResult:
    """What the tables hold; all gates hold, or there would be an error instead.

    Attributes:
        captures: of all modalities.
        subjects: people they are of.
        refused: refused files by reason, clutter left out.
        failures: failures to acquire by modality and reason.
        gates: each gate that was asked for, with its value and limit.
        report: path of the HTML under the storage root.
        run_id: the MLflow run with the report and the figures.
        reused: the same versions of the tables had been reported before.
    """

    captures: int
    subjects: int
    refused: dict[str, int]
    failures: dict[str, dict[str, int]]
    gates: list[str]
    report: str
    run_id: str
    reused: bool


@dataclass(frozen=True)
class Gate:
    """One gate: a figure and its limit; `since` is the first day it looks at, None for all."""

    name: str
    of: str
    value: float
    limit: float
    holds: bool
    since: date | None = None

    def __str__(self) -> str:
        sign = "at least" if self.name.startswith("min") else "at most"
        window = f" since {self.since}" if self.since else ""
        return f"{self.of}: {self.name} is {self.value:.3g}{window}, {sign} {self.limit:g}"


@owner_only()
def check(config: Config) -> CheckResult:
    """Report on the captures, refused files and features there are, then ask the gates.

    The same versions of the tables make one report and one MLflow run, however often this is run.

    Args:
        config: `check` holds the gates.

    Raises:
        DataError: there are no captures, or a gate fails; the report is there all the same.
        ServiceError: MLflow can't be reached.
    """
    store = Store.of(config)
    found = data_figures(store, config)
    if not found.captures:
        raise DataError("there are no captures yet: take some in with `biometric ingest`")
    gates = list(_asked(store, config, found))
    report, run_id, reused = _reported(store, config, found, gates)
    _log.info("%d captures of %d subjects; %s", found.captures, found.subjects, report)
    failed = [str(gate) for gate in gates if not gate.holds]
    if failed:
        raise DataError(
            f"the data fail {len(failed)} of {len(gates)} gates: {'; '.join(failed)}. See {report} "
            "under the storage root, then mend the source or set `check` in the configuration "
            "(check.window_days: by the last days alone)"
        )
    failures = {m.value: dict(data.failures) for m, data in found.modalities.items()}
    return CheckResult(
        captures=found.captures,
        subjects=found.subjects,
        refused=dict(found.refused),
        failures=failures,
        gates=[str(gate) for gate in gates],
        report=report,
        run_id=run_id,
        reused=reused,
    )


def _asked(store: Store, config: Config, found: DataFigures) -> Iterator[Gate]:
    """The gates; the shares are of the last `check.window_days` where it is set.

    The window ends on the day of the newest capture, whatever the clock says: a store that nobody
    fed for a month, or that is filled with days of last year, is judged by its last days all the
    same. What was refused later belongs to it.
    """
    days = config.check.window_days
    if days is None:
        yield from judge(found, config.check)
        return
    version = found.versions["captures"]
    newest = pc.max(store.read("captures", ["captured_at"], version=version)["captured_at"]).as_py()
    since = newest.date() - timedelta(days=days - 1)
    recent = data_figures(store, config, since=since, versions=found.versions)
    yield from judge(found, config.check, recent, since)


def judge(
    found: DataFigures,
    limits: Check,
    recent: DataFigures | None = None,
    since: date | None = None,
) -> Iterator[Gate]:
    """Each gate that is asked for, with what the data say.

    Args:
        found: of all that there is, as training takes it: of these are the counts.
        limits: the gates.
        recent: of the window, of which are the shares; all when None.
        since: the first day of the window.
    """
    shares = recent or found
    figures: list[tuple[str, str, float]] = []
    for modality, data in found.modalities.items():
        figures += [
            ("min_subjects", modality.value, data.subjects),
            ("min_impressions", modality.value, data.median_impressions),
        ]
    for modality, data in shares.modalities.items():
        figures.append(("max_failure_to_acquire", modality.value, data.failure_share))
    figures += [
        ("max_refused_share", "files", shares.refused_share),
        ("max_duplicates_share", "files", shares.duplicates_share),
    ]
    for name, of, value in figures:
        limit = getattr(limits, name)
        if limit is not None:
            least = name.startswith("min")
            holds = value >= limit if least else value <= limit
            yield Gate(name, of, value, limit, holds, None if least else since)


def _reported(
    store: Store, config: Config, found: DataFigures, gates: list[Gate]
) -> tuple[str, str, bool]:
    """Path under the storage root, MLflow run, and whether both had been there."""
    versions = {name: "none" if v is None else str(v) for name, v in found.versions.items()}
    tags = {f"{name}_version": version for name, version in versions.items()}
    tags["preprocess_version"] = found.preprocess_version
    # Other stores may log to the same MLflow.
    text = json.dumps([store.root, tags, config.check.model_dump()], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    name = "-".join(f"{table}-{version}" for table, version in versions.items())
    path = store.path("reports", "data", f"{name}-{digest[:8]}.html")
    known = runs.find_run(config, tag=_DIGEST_TAG, value=digest, status=("FINISHED",))
    if known and store.files.exists(f"reports/data/{path.name}"):
        return f"reports/data/{path.name}", known.run_id, True
    _write(path, found, gates, tags)
    uri = store.publish(path)
    own = {**tags, runs.KIND: KIND, _DIGEST_TAG: digest}
    own["passed"] = str(all(gate.holds for gate in gates)).lower()
    again = known.run_id if known else None
    with runs.run(config, name=f"data {path.stem}", tags=own, run_id=again) as run:
        run.log_metrics(metrics(found))
        run.log_files([path], "report")
    return uri, run.run_id, False


def _write(path: Path, found: DataFigures, gates: list[Gate], tags: dict[str, str]) -> None:
    rows = [
        [
            g.name,
            f"{g.of} since {g.since}" if g.since else g.of,
            f"{g.value:.3g}",
            f"{g.limit:g}",
            "holds" if g.holds else "**fails**",
        ]
        for g in gates
    ]
    facts = {name.replace("_", " "): value for name, value in tags.items()}
    facts["made at"] = datetime.now(UTC).isoformat(timespec="seconds")
    facts["made by"] = f"biometric-core {biometric_core.__version__}"
    atomic_write(path, data_report(found, rows, facts).encode())


def metrics(found: DataFigures) -> dict[str, Any]:
    """The figures by name, as MLflow keeps them."""
    values: dict[str, Any] = {
        "captures": found.captures,
        "subjects": found.subjects,
        "refused": sum(found.refused.values()),
        "refused_share": found.refused_share,
        "duplicates_share": found.duplicates_share,
    }
    for modality, data in found.modalities.items():
        values |= {
            f"{modality}_captures": data.captures,
            f"{modality}_subjects": data.subjects,
            f"{modality}_identities": len(data.impressions),
            f"{modality}_impressions_median": data.median_impressions,
            f"{modality}_failure_to_acquire": data.failure_share,
        }
        means = {name: v.mean() for name, v in data.measures.items() if len(v)}
        values |= {f"{modality}_{name}_mean": float(mean) for name, mean in means.items()}
    return values
